//! Memory for packets that are larger than a read buffer and have not come to their end, for all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pool.
#[derive(Debug)]
pub(crate) struct PartialPool {
    used: AtomicUsize,
    max: usize,
}

impl PartialPool {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or nothing when there is not as much left. The first taker always gets what it needs, or a
    /// packet larger than the pool could never come.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<PartialCharge> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used == 0 || used + bytes <= self.max).then_some(used + bytes)
            })
            .ok()
            .map(|_| PartialCharge {
                pool: Arc::clone(self),
                bytes,
            })
    }
}

/// Bytes taken from the pool; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct PartialCharge {
    pool: Arc<PartialPool>,
    bytes: usize,
}

impl Drop for PartialCharge {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let pool = Arc::new(PartialPool::new(100));
        let first = pool.take(80).unwrap();
        assert!(pool.take(30).is_none());
        let second = pool.take(20).unwrap();
        assert_eq!(pool.used(), 100);
        drop(first);
        drop(second);
        assert_eq!(pool.used(), 0);
        assert!(pool.take(500).is_some());
    }
}
