//! How fast a listener accepts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use forebay_core::Time;

/// Connections that a listener accepts per second, those included that are refused afterwards: a storm of clients that
/// come again costs no more than that. Shared by the workers that accept for it.
#[derive(Debug)]
pub(crate) struct AcceptRate {
    state: Mutex<(f64, Time)>,
    per_second: f64,
    burst: f64,
}

impl AcceptRate {
    pub(crate) fn new(per_second: u32, burst: u32, now: Time) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            state: Mutex::new((burst, now)),
            per_second: f64::from(per_second.max(1)),
            burst,
        }
    }

    /// Takes one connection, or says how long to wait for the next.
    pub(crate) fn take(&self, now: Time) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = *state;
        let tokens = self
            .burst
            .min(tokens + now.since(since).as_secs_f64() * self.per_second);
        if tokens < 1.0 {
            *state = (tokens, now);
            return Err(Duration::from_secs_f64((1.0 - tokens) / self.per_second));
        }
        *state = (tokens - 1.0, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_pauses_when_the_burst_is_used_up() {
        let rate = AcceptRate::new(10, 2, Time::ZERO);
        assert_eq!(rate.take(Time::ZERO), Ok(()));
        assert_eq!(rate.take(Time::ZERO), Ok(()));
        assert_eq!(rate.take(Time::ZERO), Err(Duration::from_millis(100)));
        assert_eq!(rate.take(Time::from_millis(100)), Ok(()));
    }
}
