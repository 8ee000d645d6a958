//! Byte budgets: what is admitted and not yet settled.
//!
//! A message reserves room for all its records at once or not at all. Whoever finds no room registers as a waiter
//! before it looks again, and whoever gives room back looks for waiters afterwards: both with sequentially consistent
//! operations, so that at least one of the two sees the other.

use std::sync::atomic::Ordering;

#[cfg(all(test, forebay_loom))]
use crate::models::{Fault, is_planted};
use crate::sync::AtomicU64;

/// Marks a budget that takes nothing any more.
const CLOSED: u64 = u64::MAX;

/// A number of bytes that may be held at the same time.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

/// Why a reservation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Not enough bytes are free at the moment.
    Full,
    /// The budget was closed: its owner is gone.
    Closed,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// When they are not free now; nothing was taken then.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), NoRoom> {
        #[cfg(all(test, forebay_loom))]
        if is_planted(Fault::LookThenTake) {
            self.look(bytes)?;
            self.used.fetch_add(bytes, Ordering::SeqCst);
            return Ok(());
        }
        let taken = self
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                if used == CLOSED {
                    return None;
                }
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            });
        match taken {
            Ok(_) => Ok(()),
            Err(CLOSED) => Err(NoRoom::Closed),
            Err(_) => Err(NoRoom::Full),
        }
    }

    /// Takes `bytes` whether they are free or not: for what is bounded by another budget.
    ///
    /// # Errors
    /// When the budget was closed; nothing was taken then.
    pub(crate) fn overdraw(&self, bytes: u64) -> Result<(), NoRoom> {
        let taken = self
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                (used != CLOSED).then(|| used + bytes)
            });
        taken.map(|_| ()).map_err(|_| NoRoom::Closed)
    }

    /// Looks whether `bytes` are free now, and takes nothing.
    ///
    /// # Errors
    /// When they are not.
    pub(crate) fn look(&self, bytes: u64) -> Result<(), NoRoom> {
        match self.used.load(Ordering::SeqCst) {
            CLOSED => Err(NoRoom::Closed),
            used if used.saturating_add(bytes) > self.limit => Err(NoRoom::Full),
            _ => Ok(()),
        }
    }

    /// Gives `bytes` back.
    ///
    /// # Panics
    /// In debug builds when more is given back than was taken.
    pub(crate) fn release(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        debug_assert!(
            before != CLOSED && before >= bytes,
            "released {bytes} of {before} bytes"
        );
    }

    /// Closes the budget if nothing of it is in use: every later reservation fails with [`NoRoom::Closed`].
    pub(crate) fn close_if_unused(&self) -> bool {
        #[cfg(all(test, forebay_loom))]
        if is_planted(Fault::LookThenClose) {
            let unused = self.used.load(Ordering::SeqCst) == 0;
            if unused {
                self.used.store(CLOSED, Ordering::SeqCst);
            }
            return unused;
        }
        self.used
            .compare_exchange(0, CLOSED, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Bytes in use now.
    pub(crate) fn used(&self) -> u64 {
        match self.used.load(Ordering::SeqCst) {
            CLOSED => 0,
            used => used,
        }
    }

    /// Bytes that can be in use at most.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_up_to_the_limit_and_closes_only_when_unused() {
        let budget = Budget::new(10);
        assert_eq!(budget.reserve(10), Ok(()));
        assert_eq!(budget.reserve(1), Err(NoRoom::Full));
        assert_eq!(budget.overdraw(5), Ok(()));
        assert_eq!(budget.used(), 15);
        budget.release(5);
        assert!(!budget.close_if_unused());
        budget.release(10);
        assert!(budget.close_if_unused());
        assert_eq!(budget.reserve(1), Err(NoRoom::Closed));
        assert_eq!(budget.overdraw(1), Err(NoRoom::Closed));
        assert_eq!(budget.used(), 0);
    }
}
