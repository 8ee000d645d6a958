//! Buffers of request bodies, used again: a fresh one of some hundred KiB per request would cost its page faults.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Buffers that are kept while they are not in use.
const KEPT_MAX: usize = 16;
/// Largest buffer that is kept.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Where buffers wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyPool(Arc<Mutex<Vec<Vec<u8>>>>);

impl BodyPool {
    /// An empty buffer with room for `capacity` bytes.
    pub(crate) fn take(&self, capacity: usize) -> Vec<u8> {
        let kept = self
            .0
            .lock()
            .expect("no panic while the pool is locked")
            .pop();
        let mut buffer = kept.unwrap_or_default();
        buffer.clear();
        buffer.reserve(capacity);
        buffer
    }

    /// The buffer's content as bytes; the buffer comes back when the last of them is dropped.
    pub(crate) fn freeze(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Pooled {
            buffer,
            pool: self.clone(),
        })
    }
}

struct Pooled {
    buffer: Vec<u8>,
    pool: BodyPool,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // A poisoned lock only means that this buffer is freed.
        if self.buffer.capacity() <= KEPT_BYTES_MAX
            && let Ok(mut kept) = self.pool.0.lock()
            && kept.len() < KEPT_MAX
        {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_nobody_reads_it_any_more() {
        let pool = BodyPool::default();
        let mut buffer = pool.take(100);
        buffer.extend_from_slice(b"body");
        let address = buffer.as_ptr();
        let body = pool.freeze(buffer);
        let clone = body.clone();
        drop(body);
        assert_eq!(&clone[..], b"body");
        drop(clone);
        let again = pool.take(10);
        assert_eq!(again.as_ptr(), address);
        assert!(again.is_empty());
        drop(pool.freeze(Vec::with_capacity(KEPT_BYTES_MAX + 1)));
        assert_eq!(pool.take(0).capacity(), 0);
    }
}
