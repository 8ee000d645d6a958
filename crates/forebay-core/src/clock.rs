//! The door for time. State machines take a [`Time`] as an argument; only threads and tasks at the edge ask a [`Clock`].

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, in nanoseconds since the clock's own origin.
///
/// Differences saturate: an earlier point minus a later one is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Time = Time(0);
    /// A point that is never reached: "no deadline".
    pub const NEVER: Time = Time(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, rhs: Duration) -> Time {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, rhs: Time) -> Duration {
        self.since(rhs)
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Now on the monotonic clock: deadlines, retries and rates use only this.
    fn now(&self) -> Time;

    /// Now on the wall clock, in milliseconds since the Unix epoch: stamps for people and for `timestamp()`.
    fn wall_millis(&self) -> i64;
}

impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The operating system's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose origin is this moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is the door for time"
    )]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The operating system's instant of a point of this clock, for timers of a runtime. Points too far in the future
    /// for the platform are cut to 30 days after the origin.
    pub fn instant(&self, time: Time) -> Instant {
        const FAR: Duration = Duration::from_secs(30 * 24 * 3600);
        self.origin + Duration::from_nanos(time.0).min(FAR)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is the door for time"
    )]
    fn now(&self) -> Time {
        Time(
            u64::try_from(Instant::now().duration_since(self.origin).as_nanos())
                .unwrap_or(u64::MAX),
        )
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this module is the door for time"
    )]
    fn wall_millis(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            })
    }
}

/// A clock that stands still until it is told to move: tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicU64,
    wall_millis: AtomicI64,
}

impl ManualClock {
    /// A clock at the origin whose wall time is `wall_millis`.
    pub fn new(wall_millis: i64) -> Self {
        Self {
            now: AtomicU64::new(0),
            wall_millis: AtomicI64::new(wall_millis),
        }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.now.fetch_add(nanos, Ordering::SeqCst);
        self.wall_millis.fetch_add(
            i64::try_from(by.as_millis()).unwrap_or(i64::MAX),
            Ordering::SeqCst,
        );
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.now.load(Ordering::SeqCst))
    }

    fn wall_millis(&self) -> i64 {
        self.wall_millis.load(Ordering::SeqCst)
    }
}
