//! Atomics, locks and queues of the hand-overs between threads.
//!
//! They are those of the standard library and of crossbeam. A test build with `--cfg forebay_loom` puts loom's in their
//! place, so that `models` can try the code of this crate in every order in which threads may run and with every value
//! that a load may see. The flag is not named `loom`, as it reaches all dependencies, and some of them change
//! themselves under that name.

#[cfg(all(test, forebay_loom))]
mod modelled;

#[cfg(all(test, forebay_loom))]
pub(crate) use modelled::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Bounded, Mutex, MutexGuard, SetOnce,
    Unbounded, fence,
};
#[cfg(not(all(test, forebay_loom)))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, OnceLock as SetOnce,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence},
};

/// A queue with a bound.
#[cfg(not(all(test, forebay_loom)))]
pub(crate) type Bounded<T> = crossbeam::queue::ArrayQueue<T>;

#[cfg(not(all(test, forebay_loom)))]
#[expect(
    clippy::disallowed_types,
    reason = "what is put in already holds something bounded: room in a budget, an open slot of an acknowledgement \
              ring, or the one entry of its kind that a stream may have"
)]
/// A queue whose bound is kept by whoever puts something in.
pub(crate) type Unbounded<T> = crossbeam::queue::SegQueue<T>;
