//! A clock on which a flush takes time although the simulated disk answers at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_core::{Clock, Time};

/// Every look at it takes as long as the disk is slow: the writer looks before and after it flushes.
#[derive(Debug, Default)]
pub(super) struct PacedClock {
    now: AtomicU64,
    pace: AtomicU64,
    lag: AtomicU64,
}

impl PacedClock {
    /// Sets the time. What was lost by looking is forgotten.
    pub(super) fn set(&self, now: Time) {
        self.now.store(now.as_nanos(), Ordering::SeqCst);
        self.lag.store(0, Ordering::SeqCst);
    }

    /// Sets how long a look takes from now on.
    pub(super) fn set_pace(&self, pace: Duration) {
        let nanos = u64::try_from(pace.as_nanos()).unwrap_or(u64::MAX);
        self.pace.store(nanos, Ordering::SeqCst);
    }

    pub(super) fn is_slow(&self) -> bool {
        self.pace.load(Ordering::SeqCst) > 0
    }

    /// How long the looks since the time was set have taken.
    pub(super) fn lag(&self) -> Duration {
        Duration::from_nanos(self.lag.load(Ordering::SeqCst))
    }
}

impl Clock for PacedClock {
    fn now(&self) -> Time {
        let pace = self.pace.load(Ordering::SeqCst);
        let lag = self.lag.fetch_add(pace, Ordering::SeqCst);
        Time::from_nanos(self.now.load(Ordering::SeqCst) + lag)
    }

    fn wall_millis(&self) -> i64 {
        1_700_000_000_000
    }
}
