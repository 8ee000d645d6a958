//! Loom's atomics in place of the standard library's, and queues that promise what crossbeam's promise and no more.
//!
//! Loom takes a sequentially consistent access for a release or acquire one and reports faults that cannot happen; it
//! knows sequentially consistent fences. So each such access has a fence here, before what it reads and behind what it
//! writes, and a store is a swap, whose place among the writes of others is certain. That is exact where all accesses
//! of a hand-over are sequentially consistent, and a little too strong for a weaker one beside them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;

pub(crate) use loom::sync::atomic::fence;
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// An access with what its order means besides.
fn ordered<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
    let fenced = order == Ordering::SeqCst;
    if fenced {
        fence(Ordering::SeqCst);
    }
    let result = access();
    if fenced {
        fence(Ordering::SeqCst);
    }
    result
}

macro_rules! atomic {
    ($name:ident, $of:ty) => {
        pub(crate) struct $name(loom::sync::atomic::$name);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // A look at the value would be one more access of the model.
                f.write_str(stringify!($name))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(<$of>::default())
            }
        }

        impl $name {
            pub(crate) fn new(value: $of) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $of {
                ordered(order, || self.0.load(order))
            }
        }
    };
}

macro_rules! store {
    ($name:ident, $of:ty) => {
        impl $name {
            pub(crate) fn store(&self, value: $of, order: Ordering) {
                if order == Ordering::SeqCst {
                    self.swap(value, order);
                } else {
                    self.0.store(value, order);
                }
            }
        }
    };
}

macro_rules! read_modify_write {
    ($name:ident, $of:ty, $($method:ident),+) => {
        impl $name {
            $(
                pub(crate) fn $method(&self, value: $of, order: Ordering) -> $of {
                    ordered(order, || self.0.$method(value, order))
                }
            )+
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);
store!(AtomicBool, bool);
store!(AtomicU8, u8);
store!(AtomicU64, u64);
store!(AtomicUsize, usize);
read_modify_write!(AtomicBool, bool, swap);
read_modify_write!(AtomicU8, u8, swap, fetch_max);
read_modify_write!(AtomicU32, u32, fetch_add, fetch_sub);
read_modify_write!(AtomicU64, u64, swap, fetch_add, fetch_sub);
read_modify_write!(AtomicUsize, usize, swap, fetch_add, fetch_sub);

impl AtomicU64 {
    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        ordered(success, || {
            self.0.compare_exchange(current, new, success, failure)
        })
    }

    pub(crate) fn fetch_update(
        &self,
        success: Ordering,
        failure: Ordering,
        mut update: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        let mut known = self.load(failure);
        loop {
            let Some(new) = update(known) else {
                return Err(known);
            };
            match self.compare_exchange(known, new, success, failure) {
                Ok(old) => return Ok(old),
                Err(newer) => known = newer,
            }
        }
    }
}

/// The standard library's cell: what was set is seen with everything before it, and no sooner than that.
pub(crate) struct SetOnce<T> {
    value: std::sync::OnceLock<T>,
    is_set: loom::sync::atomic::AtomicBool,
}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            is_set: loom::sync::atomic::AtomicBool::new(false),
        }
    }
}

impl<T> SetOnce<T> {
    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn get(&self) -> Option<&T> {
        match self.is_set.load(Ordering::Acquire) {
            true => self.value.get(),
            false => None,
        }
    }
}

/// A queue in the order of its ends, which are what threads see of it. Whoever finds it empty, or full, has looked
/// behind a sequentially consistent fence, as in crossbeam's queues; nothing else is promised to them. The contents lie
/// in a lock that loom does not know: it is taken and left between two accesses that loom sees.
struct Ends<T> {
    head: loom::sync::atomic::AtomicUsize,
    tail: loom::sync::atomic::AtomicUsize,
    contents: std::sync::Mutex<VecDeque<T>>,
}

impl<T> Ends<T> {
    fn new() -> Self {
        Self {
            head: loom::sync::atomic::AtomicUsize::new(0),
            tail: loom::sync::atomic::AtomicUsize::new(0),
            contents: std::sync::Mutex::default(),
        }
    }

    fn contents(&self) -> std::sync::MutexGuard<'_, VecDeque<T>> {
        self.contents
            .try_lock()
            .expect("threads of a model take turns")
    }

    fn push(&self, item: T, capacity: usize) -> Result<(), T> {
        loop {
            let tail = self.tail.load(Ordering::Relaxed);
            let mut head = self.head.load(Ordering::Acquire);
            if tail >= head.saturating_add(capacity) {
                fence(Ordering::SeqCst);
                head = self.head.load(Ordering::Acquire);
                if tail >= head.saturating_add(capacity) {
                    return Err(item);
                }
            }
            if self.moves(&self.tail, tail) {
                self.contents().push_back(item);
                return Ok(());
            }
        }
    }

    fn pop(&self) -> Option<T> {
        loop {
            let head = self.head.load(Ordering::Relaxed);
            if self.tail.load(Ordering::Acquire) == head {
                fence(Ordering::SeqCst);
                if self.tail.load(Ordering::Acquire) == head {
                    return None;
                }
            }
            if self.moves(&self.head, head) {
                return self.contents().pop_front();
            }
        }
    }

    /// Moves an end by one unless somebody else did.
    fn moves(&self, end: &loom::sync::atomic::AtomicUsize, from: usize) -> bool {
        end.compare_exchange(from, from + 1, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn len(&self) -> usize {
        fence(Ordering::SeqCst);
        let tail = self.tail.load(Ordering::Acquire);
        tail.saturating_sub(self.head.load(Ordering::Acquire))
    }
}

pub(crate) struct Bounded<T> {
    ends: Ends<T>,
    capacity: usize,
}

impl<T> Bounded<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ends: Ends::new(),
            capacity,
        }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.ends.push(item, self.capacity)
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.ends.pop()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

pub(crate) struct Unbounded<T>(Ends<T>);

impl<T> Unbounded<T> {
    pub(crate) fn new() -> Self {
        Self(Ends::new())
    }

    pub(crate) fn push(&self, item: T) {
        let pushed = self.0.push(item, usize::MAX);
        assert!(pushed.is_ok(), "it takes everything");
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
