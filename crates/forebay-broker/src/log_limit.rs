//! Keeps repeated log lines rare and says how many were left out.

use std::time::Duration;

use forebay_core::Time;

/// Lines at once.
const BURST: u32 = 20;
/// Afterwards one line per this time.
const EVERY: Duration = Duration::from_millis(500);

/// The limit of one kind of line on one worker.
#[derive(Debug)]
pub(crate) struct LogLimit {
    left: u32,
    since: Time,
    suppressed: u64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self {
            left: BURST,
            since: Time::ZERO,
            suppressed: 0,
        }
    }
}

impl LogLimit {
    /// Whether a line may be written now, and if so how many were left out since the last one.
    pub(crate) fn allow(&mut self, now: Time) -> Option<u64> {
        let refill = now.since(self.since).as_millis() / EVERY.as_millis();
        if refill > 0 {
            self.left = BURST.min(
                self.left
                    .saturating_add(u32::try_from(refill).unwrap_or(BURST)),
            );
            self.since = now;
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_trickle_that_counts_what_it_hides() {
        let mut limit = LogLimit::default();
        let allowed = (0..100)
            .filter(|_| limit.allow(Time::ZERO).is_some())
            .count();
        assert_eq!(allowed, 20);
        assert_eq!(limit.allow(Time::from_millis(600)), Some(80));
        assert_eq!(limit.allow(Time::from_millis(600)), None);
        assert_eq!(limit.allow(Time::from_millis(60_000)), Some(1));
    }
}
