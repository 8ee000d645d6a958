//! Latency percentiles.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is told apart; a longer one counts as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// Latencies in nanoseconds, three significant digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let max = u64::try_from(LATENCY_MAX.as_nanos()).expect("ten minutes fit in 64 bits");
        Self(Histogram::new_with_bounds(1, max, 3).expect("the bounds are in order"))
    }

    /// Records that `count` messages took `latency`.
    pub(crate) fn record(&mut self, latency: Duration, count: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record_n(nanos.max(1), count);
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0
            .add(&other.0)
            .expect("histograms of one shape can be added");
    }

    /// The percentiles; `None` when nothing was recorded.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e6;
        Some(Percentiles {
            count: self.0.len(),
            min_ms: self.0.min() as f64 / 1e6,
            mean_ms: self.0.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            max_ms: self.0.max() as f64 / 1e6,
        })
    }
}

/// A latency distribution, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Percentiles {
    pub count: u64,
    pub min_ms: f64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub p9999_ms: f64,
    pub max_ms: f64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.3} ms, p90 {:.3}, p99 {:.3}, p99.9 {:.3}, p99.99 {:.3}, max {:.3}",
            self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.p9999_ms, self.max_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_known_latencies_come_out_within_a_thousandth() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.percentiles(), None);
        latencies.record(Duration::from_millis(1), 98);
        latencies.record(Duration::from_millis(50), 1);
        latencies.record(Duration::from_secs(3600), 1);
        let found = latencies.percentiles().unwrap();
        assert_eq!(found.count, 100);
        assert!((found.p50_ms - 1.0).abs() < 0.002, "{found}");
        assert!((found.p99_ms - 50.0).abs() < 0.1, "{found}");
        assert!((found.max_ms - 600_000.0).abs() < 1000.0, "{found}");
    }
}
