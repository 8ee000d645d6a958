//! The rate of one lane: two token buckets that follow what the service accepts.
//!
//! A shard takes 1 000 records and 1 MiB per second (Kinesis developer guide, quotas). The buckets refill at that rate
//! times the configured percentage times a factor. When records are throttled the factor goes down towards the rate
//! that was accepted over the last second, stays there for five seconds and then climbs by a twentieth per second.
//! So several writers of one shard find their shares without being told of each other.

use std::time::Duration;

use forebay_core::Time;
use forebay_core::limits::{RECORD_BYTES_MAX, SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};

use crate::config::RateLimit;

/// Smallest factor.
const FACTOR_MIN: f64 = 0.05;
/// The factor never falls to less than this part of itself at once: one refusal of a lane that sends little says
/// little about what the shard would accept.
const CUT_MAX: f64 = 0.5;
/// Shortest time between two cuts.
const CUT_INTERVAL: Duration = Duration::from_millis(500);
/// Time after a cut before the factor climbs again.
const HOLD: Duration = Duration::from_secs(5);
/// Climb per second.
const CLIMB: f64 = 0.05;
/// A cut that left at least this part of the share of refused records did not address their cause; another one would
/// only make the lane slow.
const SHARE_UNCHANGED: f64 = 0.8;
/// How long a cut is remembered for that comparison.
const CUT_MEMORY: Duration = Duration::from_secs(10);

/// What a lane may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Records.
    pub(crate) records: usize,
    /// Bytes, rounded up to whole KiB per lane and request.
    pub(crate) bytes: usize,
}

impl Allowance {
    /// No limit.
    pub(crate) const UNLIMITED: Allowance = Allowance {
        records: usize::MAX,
        bytes: usize::MAX,
    };
}

/// The limiter of one lane.
#[derive(Debug, Clone)]
pub(crate) struct Limiter {
    /// `None` when the rate limit is off.
    buckets: Option<Buckets>,
    window: Window,
}

#[derive(Debug, Clone)]
struct Buckets {
    records: Bucket,
    bytes: Bucket,
    factor: f64,
    updated: Time,
    last_cut: Option<Cut>,
    hold_until: Time,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    at: Time,
    refused_share: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    capacity: f64,
    /// Tokens per second at a factor of 1.
    rate: f64,
}

impl Bucket {
    fn full(capacity: f64, rate: f64) -> Self {
        Self {
            tokens: capacity,
            capacity,
            rate,
        }
    }

    fn refill(&mut self, seconds: f64, factor: f64) {
        self.tokens = (self.tokens + self.rate * factor * seconds).min(self.capacity);
    }

    /// True when `amount` may be taken: it is there, or it is more than the bucket ever holds and the bucket is full.
    fn covers(&self, amount: f64) -> bool {
        // A thousandth of a token is forgiven: refills are computed in floating point, and a timer that fires exactly
        // when the tokens should be there must find them.
        self.tokens + 1e-3 >= amount.min(self.capacity)
    }

    fn seconds_until(&self, amount: f64, factor: f64) -> f64 {
        (amount.min(self.capacity) - self.tokens).max(0.0) / (self.rate * factor)
    }
}

impl Limiter {
    /// A limiter with full buckets.
    pub(crate) fn new(limit: RateLimit, now: Time) -> Self {
        let buckets = match limit {
            RateLimit::Off => None,
            RateLimit::Percent(percent) => {
                let part = f64::from(percent) / 100.0;
                let records = f64::from(SHARD_RECORDS_PER_SECOND);
                let bytes = f64::from(SHARD_BYTES_PER_SECOND);
                Some(Buckets {
                    records: Bucket::full(records, records * part),
                    bytes: Bucket::full(bytes, bytes * part),
                    factor: 1.0,
                    updated: now,
                    last_cut: None,
                    hold_until: Time::ZERO,
                })
            }
        };
        Self {
            buckets,
            window: Window::new(now),
        }
    }

    /// Lets the bytes bucket hold a record of the stream's greatest size.
    pub(crate) fn set_record_limit(&mut self, record_bytes_max: usize) {
        if let Some(buckets) = &mut self.buckets {
            let capacity = record_bytes_max.min(RECORD_BYTES_MAX) as f64;
            buckets.bytes.capacity = capacity.max(f64::from(SHARD_BYTES_PER_SECOND));
        }
    }

    /// What may be sent at `now`. A first record that is larger than the bucket ever holds is allowed when the bucket
    /// is full; ask [`covers`](Self::covers) for it.
    pub(crate) fn allowance(&mut self, now: Time) -> Allowance {
        let Some(buckets) = &mut self.buckets else {
            return Allowance::UNLIMITED;
        };
        buckets.advance(now);
        // The small addend is the one that `covers` forgives.
        Allowance {
            records: (buckets.records.tokens + 1e-3).max(0.0) as usize,
            bytes: (buckets.bytes.tokens + 1e-3).max(0.0) as usize,
        }
    }

    /// True when a part of this size may be sent at `now`.
    pub(crate) fn covers(&mut self, records: usize, bytes: usize, now: Time) -> bool {
        let Some(buckets) = &mut self.buckets else {
            return true;
        };
        buckets.advance(now);
        buckets.records.covers(records as f64) && buckets.bytes.covers(charged_bytes(bytes))
    }

    /// Takes the tokens of a part that is sent now. The buckets may go below zero.
    pub(crate) fn charge(&mut self, records: usize, bytes: usize) {
        if let Some(buckets) = &mut self.buckets {
            buckets.records.tokens -= records as f64;
            buckets.bytes.tokens -= charged_bytes(bytes);
        }
    }

    /// When a part of this size may be sent, `now` if it may be sent at once.
    pub(crate) fn ready_at(&mut self, records: usize, bytes: usize, now: Time) -> Time {
        let Some(buckets) = &mut self.buckets else {
            return now;
        };
        buckets.advance(now);
        let factor = buckets.factor;
        let seconds = buckets
            .records
            .seconds_until(records as f64, factor)
            .max(buckets.bytes.seconds_until(charged_bytes(bytes), factor));
        now + Duration::from_secs_f64(seconds)
    }

    /// Takes note of an answer: what the service accepted and how many records it throttled.
    pub(crate) fn answered(
        &mut self,
        accepted: usize,
        accepted_bytes: usize,
        throttled: usize,
        now: Time,
    ) {
        self.window.add(accepted, accepted_bytes, throttled, now);
        if throttled > 0
            && let Some(buckets) = &mut self.buckets
        {
            buckets.advance(now);
            buckets.cut(&self.window.rates(now), now);
            buckets.records.tokens = buckets.records.tokens.min(0.0);
            buckets.bytes.tokens = buckets.bytes.tokens.min(0.0);
        }
    }

    /// The factor in force, from 0.05 to 1; 1 when the rate limit is off.
    pub(crate) fn factor(&self) -> f64 {
        self.buckets.as_ref().map_or(1.0, |buckets| buckets.factor)
    }

    /// Records per second that the lane is good for: its limit, or what was accepted lately where there is none.
    pub(crate) fn rate(&self, now: Time) -> f64 {
        match &self.buckets {
            Some(buckets) => buckets.records.rate * buckets.factor,
            None => self.window.rates(now).records,
        }
    }

    /// Part of the unadapted rate that was accepted over the last second: `(records, bytes)`.
    pub(crate) fn utilization(&self, now: Time) -> (f64, f64) {
        let rates = self.window.rates(now);
        (
            rates.records / f64::from(SHARD_RECORDS_PER_SECOND),
            rates.bytes / f64::from(SHARD_BYTES_PER_SECOND),
        )
    }
}

impl Buckets {
    fn advance(&mut self, now: Time) {
        let seconds = now.since(self.updated).as_secs_f64();
        if seconds == 0.0 {
            return;
        }
        // The climb of this span counts from its beginning: at most a twentieth per second too early.
        let climbing = now.since(self.hold_until.max(self.updated)).as_secs_f64();
        if self.factor < 1.0 {
            self.factor = (self.factor + CLIMB * climbing).min(1.0);
        }
        self.records.refill(seconds, self.factor);
        self.bytes.refill(seconds, self.factor);
        self.updated = now;
    }

    fn cut(&mut self, rates: &Rates, now: Time) {
        self.hold_until = self.hold_until.max(now + HOLD);
        if let Some(cut) = self.last_cut {
            let age = now.since(cut.at);
            let unaddressed = rates.refused_share >= SHARE_UNCHANGED * cut.refused_share;
            if age < CUT_INTERVAL || (age < CUT_MEMORY && unaddressed) {
                return;
            }
        }
        let accepted = (rates.records / self.records.rate).max(rates.bytes / self.bytes.rate);
        let target = accepted.max(self.factor * CUT_MAX).max(FACTOR_MIN);
        if target < self.factor {
            self.factor = target;
            self.last_cut = Some(Cut {
                at: now,
                refused_share: rates.refused_share,
            });
        }
    }
}

/// What a part is charged: whole KiB per lane and request, as the service rounds.
fn charged_bytes(bytes: usize) -> f64 {
    (bytes.div_ceil(1024) * 1024) as f64
}

/// What was answered over the last second, in slots.
#[derive(Debug, Clone)]
struct Window {
    slots: [Slot; SLOTS],
    /// Number of the slot that is being filled, counted from the clock's origin.
    current: u64,
    since: Time,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    accepted: u64,
    bytes: u64,
    throttled: u64,
}

#[derive(Debug, Clone, Copy)]
struct Rates {
    records: f64,
    bytes: f64,
    /// Throttled records among all that were answered.
    refused_share: f64,
}

const SLOTS: usize = 10;
const SLOT_NANOS: u64 = 100_000_000;

impl Window {
    fn new(now: Time) -> Self {
        Self {
            slots: [Slot::default(); SLOTS],
            current: now.as_nanos() / SLOT_NANOS,
            since: now,
        }
    }

    fn add(&mut self, accepted: usize, bytes: usize, throttled: usize, now: Time) {
        let number = now.as_nanos() / SLOT_NANOS;
        let passed = number.saturating_sub(self.current).min(SLOTS as u64);
        for step in 1..=passed {
            self.slots[slot_index(number - passed + step)] = Slot::default();
        }
        self.current = self.current.max(number);
        let slot = &mut self.slots[slot_index(self.current)];
        slot.accepted += accepted as u64;
        slot.bytes += bytes as u64;
        slot.throttled += throttled as u64;
    }

    fn rates(&self, now: Time) -> Rates {
        let number = now.as_nanos() / SLOT_NANOS;
        let stale = number.saturating_sub(self.current).min(SLOTS as u64);
        let mut sum = Slot::default();
        for back in stale..SLOTS as u64 {
            // Slots from before the clock's origin are empty.
            let Some(number) = number.checked_sub(back) else {
                break;
            };
            let slot = self.slots[slot_index(number)];
            sum.accepted += slot.accepted;
            sum.bytes += slot.bytes;
            sum.throttled += slot.throttled;
        }
        // The window is nine whole slots and a begun one; a lane younger than that is judged by its own age.
        let begun = (now.as_nanos() % SLOT_NANOS) as f64 / 1e9;
        let seconds = (0.9 + begun)
            .min(now.since(self.since).as_secs_f64())
            .max(0.1);
        let answered = sum.accepted + sum.throttled;
        Rates {
            records: sum.accepted as f64 / seconds,
            bytes: sum.bytes as f64 / seconds,
            refused_share: sum.throttled as f64 / answered.max(1) as f64,
        }
    }
}

fn slot_index(number: u64) -> usize {
    usize::try_from(number % SLOTS as u64).expect("below the number of slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard that accepts `grant` records per second and throttles the rest, asked every 10 ms by a lane that always
    /// has more. Returns (accepted, throttled) of the last of `seconds`.
    fn converge(limiter: &mut Limiter, start: Time, seconds: u64, grant: f64) -> (f64, f64) {
        let (mut accepted, mut throttled) = (0.0, 0.0);
        let mut tokens = 0.0;
        for tick in 0..seconds * 100 {
            let now = start + Duration::from_millis(tick * 10);
            if tick % 100 == 0 {
                (accepted, throttled) = (0.0, 0.0);
            }
            tokens = f64::min(tokens + grant / 100.0, grant);
            let sent = limiter.allowance(now).records;
            if sent == 0 {
                continue;
            }
            limiter.charge(sent, sent * 200);
            let stored = (sent as f64).min(tokens.floor());
            tokens -= stored;
            let refused = sent as f64 - stored;
            limiter.answered(
                stored as usize,
                stored as usize * 200,
                refused as usize,
                now,
            );
            accepted += stored;
            throttled += refused;
        }
        (accepted, throttled)
    }

    #[test]
    fn a_full_bucket_covers_a_second_and_then_the_rate_rules() {
        let start = Time::from_millis(5_000);
        let mut limiter = Limiter::new(RateLimit::Percent(100), start);
        assert_eq!(
            limiter.allowance(start),
            Allowance {
                records: 1000,
                bytes: 1024 * 1024
            }
        );
        limiter.charge(1000, 200 * 1000);
        assert!(!limiter.covers(1, 200, start));
        assert_eq!(
            limiter.ready_at(10, 0, start),
            start + Duration::from_millis(10)
        );
        assert!(limiter.covers(10, 2000, start + Duration::from_millis(10)));
    }

    #[test]
    fn bytes_are_charged_in_whole_kibibytes() {
        let start = Time::from_millis(1);
        let mut limiter = Limiter::new(RateLimit::Percent(100), start);
        for _ in 0..1024 {
            limiter.charge(0, 1);
        }
        assert!(!limiter.covers(0, 1, start));
    }

    #[test]
    fn a_record_larger_than_the_bucket_waits_until_it_is_full_and_drives_it_negative() {
        let start = Time::from_millis(1);
        let mut limiter = Limiter::new(RateLimit::Percent(100), start);
        let large = 3 * 1024 * 1024;
        assert!(limiter.covers(1, large, start));
        limiter.charge(1, large);
        assert!(!limiter.covers(1, large, start + Duration::from_secs(2)));
        assert!(limiter.covers(1, large, start + Duration::from_secs(3)));
    }

    #[test]
    fn off_has_no_buckets() {
        let now = Time::from_millis(1);
        let mut limiter = Limiter::new(RateLimit::Off, now);
        limiter.charge(1_000_000, usize::MAX / 2);
        limiter.answered(0, 0, 500, now);
        assert_eq!(limiter.allowance(now), Allowance::UNLIMITED);
        assert_eq!(limiter.ready_at(500, 1 << 20, now), now);
    }

    #[test]
    fn the_factor_settles_at_the_grant() {
        let start = Time::from_millis(60_000);
        let mut limiter = Limiter::new(RateLimit::Percent(100), start);
        let (accepted, throttled) = converge(&mut limiter, start, 10, 500.0);
        assert!((450.0..=550.0).contains(&accepted), "accepted {accepted}");
        let share = throttled / (accepted + throttled);
        assert!(share <= 0.15, "throttled {throttled} of {accepted}");
    }

    #[test]
    fn the_factor_climbs_after_the_hold_up_to_the_full_rate() {
        let start = Time::from_millis(60_000);
        let mut limiter = Limiter::new(RateLimit::Percent(100), start);
        converge(&mut limiter, start, 3, 500.0);
        let after = start + Duration::from_secs(3);
        let cut = limiter.factor();
        assert!((0.4..=0.6).contains(&cut), "factor {cut}");
        limiter.allowance(after + Duration::from_secs(4));
        assert!(
            limiter.factor() - cut < 0.11,
            "held, factor {}",
            limiter.factor()
        );
        limiter.allowance(after + Duration::from_secs(30));
        assert_eq!(limiter.factor(), 1.0);
    }

    #[test]
    fn refusals_that_do_not_depend_on_the_rate_do_not_grind_the_lane_down() {
        let start = Time::from_millis(60_000);
        let mut limiter = Limiter::new(RateLimit::Percent(100), start);
        for tick in 0..3_000 {
            let now = start + Duration::from_millis(tick * 10);
            let sent = limiter.allowance(now).records;
            limiter.charge(sent, sent * 200);
            let refused = sent * 3 / 10;
            limiter.answered(sent - refused, (sent - refused) * 200, refused, now);
        }
        assert!(limiter.factor() > 0.3, "factor {}", limiter.factor());
    }

    #[test]
    fn one_refusal_of_a_quiet_lane_halves_at_most() {
        let start = Time::from_millis(60_000);
        let mut limiter = Limiter::new(RateLimit::Percent(100), start);
        limiter.answered(1, 200, 1, start + Duration::from_secs(5));
        assert_eq!(limiter.factor(), 0.5);
    }
}
