//! Keeps repeated log lines apart.

use std::time::Duration;

use forebay_core::Time;

/// Lets one line through per interval and counts those it kept back.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogGate {
    next: Time,
    suppressed: u64,
}

impl LogGate {
    /// `Some(kept back since the last line)` when a line may be written now.
    pub(crate) fn pass(&mut self, interval: Duration, now: Time) -> Option<u64> {
        if now < self.next {
            self.suppressed += 1;
            return None;
        }
        self.next = now + interval;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_says_how_many_were_kept_back() {
        let mut gate = LogGate::default();
        let interval = Duration::from_secs(1);
        assert_eq!(gate.pass(interval, Time::from_millis(1)), Some(0));
        assert_eq!(gate.pass(interval, Time::from_millis(500)), None);
        assert_eq!(gate.pass(interval, Time::from_millis(1_000)), None);
        assert_eq!(gate.pass(interval, Time::from_millis(1_001)), Some(2));
    }
}
