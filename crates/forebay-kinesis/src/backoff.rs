//! How long to wait before the next attempt.

use std::time::Duration;

use forebay_core::{Entropy, Time};

/// What a delay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backoff {
    /// The service refused for its rate.
    Throttled,
    /// The outcome is not known.
    Ambiguous,
    /// Nothing was sent: the first repetition is immediate, on a fresh connection.
    NotSent,
    /// The stream is held: time to the next probe.
    Hold,
    /// The shard map could not be had.
    Discovery,
}

/// Longest lower bound that the service can set with `x-amz-retry-after`, above the delay of our own.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

impl Backoff {
    /// The delay after `failures` failures in a row, the first one being 1.
    ///
    /// Attempts after a failure use the full range down to zero, so that many lanes that failed together do not
    /// return together; probes of a held stream keep their pace within a quarter.
    pub(crate) fn delay(self, failures: u32, entropy: &mut dyn Entropy) -> Duration {
        let failures = failures.max(1);
        match self {
            Self::Throttled => jittered(exponential(100, failures, 5_000), entropy),
            Self::Ambiguous => jittered(exponential(50, failures, 10_000), entropy),
            Self::NotSent if failures == 1 => Duration::ZERO,
            Self::NotSent => jittered(exponential(50, failures, 5_000), entropy),
            Self::Hold => {
                let pace = exponential(1_000, failures, 15_000);
                let quarter = pace / 4;
                (pace - quarter + jittered(quarter * 2, entropy)).min(Duration::from_secs(15))
            }
            Self::Discovery => {
                let steps = failures.min(16) - 1;
                let pace = Duration::from_secs(1).mul_f64(1.5_f64.powi(steps.cast_signed()));
                let pace = pace.min(Duration::from_secs(15));
                // Half of it is certain: a refused control call is never repeated in a tight loop.
                pace / 2 + jittered(pace / 2, entropy)
            }
        }
    }
}

/// `base_ms` doubled with every failure after the first, at most `cap_ms`.
fn exponential(base_ms: u64, failures: u32, cap_ms: u64) -> Duration {
    let doublings = (failures - 1).min(20);
    Duration::from_millis(base_ms.saturating_mul(1 << doublings).min(cap_ms))
}

/// A delay from zero to `max`, both included.
fn jittered(max: Duration, entropy: &mut dyn Entropy) -> Duration {
    let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(entropy.below(nanos + 1))
}

/// Retries a lane may spend beside new records: a fifth of its rate and ten per second. While it is overdrawn the lane
/// sends only retries, so that what is refused again and again does not keep a flow of new records company.
#[derive(Debug, Clone)]
pub(crate) struct RetryBudget {
    tokens: f64,
    updated: Time,
}

/// Retries per second that a lane always has.
const RETRIES_PER_SECOND: f64 = 10.0;
/// Part of the lane's rate that may be retries.
const RETRY_SHARE: f64 = 0.2;

impl RetryBudget {
    /// A full budget.
    pub(crate) fn new(now: Time) -> Self {
        Self {
            tokens: RETRIES_PER_SECOND,
            updated: now,
        }
    }

    /// True while new records may be sent, for a lane that sends `rate` records per second.
    pub(crate) fn allows_new(&mut self, rate: f64, now: Time) -> bool {
        let per_second = RETRIES_PER_SECOND + RETRY_SHARE * rate;
        let refill = now.since(self.updated).as_secs_f64() * per_second;
        self.updated = now;
        self.tokens = (self.tokens + refill).min(per_second);
        self.tokens >= 0.0
    }

    /// Counts retries that are sent. The debt is bounded by one second of a busy lane.
    pub(crate) fn spend(&mut self, retries: usize) {
        self.tokens = (self.tokens - retries as f64).max(-500.0);
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::SeededEntropy;

    use super::*;

    #[test]
    fn delays_grow_to_their_cap_and_keep_their_range() {
        let mut entropy = SeededEntropy::new(1);
        for (kind, first_ms, cap_ms) in [
            (Backoff::Throttled, 100, 5_000),
            (Backoff::Ambiguous, 50, 10_000),
            (Backoff::NotSent, 0, 5_000),
            (Backoff::Hold, 1_250, 15_000),
            (Backoff::Discovery, 1_000, 15_000),
        ] {
            for _ in 0..200 {
                assert!(
                    kind.delay(1, &mut entropy) <= Duration::from_millis(first_ms),
                    "{kind:?}"
                );
                assert!(
                    kind.delay(40, &mut entropy) <= Duration::from_millis(cap_ms),
                    "{kind:?}"
                );
            }
            let longest = (0..500)
                .map(|_| kind.delay(40, &mut entropy))
                .max()
                .unwrap();
            assert!(
                longest > Duration::from_millis(cap_ms * 9 / 10),
                "{kind:?} reaches {longest:?}"
            );
        }
    }

    #[test]
    fn a_held_stream_is_probed_at_most_eight_times_in_its_first_minute() {
        for seed in 0..200 {
            let mut entropy = SeededEntropy::new(seed);
            let mut at = Duration::ZERO;
            let mut probes = 0;
            for failures in 1.. {
                at += Backoff::Hold.delay(failures, &mut entropy);
                if at > Duration::from_secs(60) {
                    break;
                }
                probes += 1;
            }
            assert!((4..=8).contains(&probes), "seed {seed}: {probes} probes");
        }
    }

    #[test]
    fn an_overdrawn_budget_recovers_with_time() {
        let start = Time::from_millis(1_000);
        let mut budget = RetryBudget::new(start);
        assert!(budget.allows_new(0.0, start));
        budget.spend(30);
        assert!(!budget.allows_new(0.0, start));
        assert!(!budget.allows_new(0.0, start + Duration::from_secs(1)));
        assert!(budget.allows_new(0.0, start + Duration::from_millis(2_100)));
    }
}
