//! Queues between the ends of the pipeline whose bound is kept by whoever puts something in.

use std::fmt;

use crate::sync::Unbounded;

/// A lock-free queue for any number of writers and readers.
///
/// It takes everything, because a writer that could be refused would have to wait or to lose something. Each use says
/// at its field what bounds it.
pub(crate) struct Mailbox<T>(Unbounded<T>);

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self(Unbounded::new())
    }

    pub(crate) fn push(&self, item: T) {
        self.0.push(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("len", &self.0.len())
            .finish()
    }
}
