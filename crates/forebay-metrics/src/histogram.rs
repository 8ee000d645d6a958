//! Histograms that cost an addition per sample and nothing between scrapes.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Upper bounds of a histogram in the raw unit of its samples, and what one raw unit is in the exposed base unit.
#[derive(Debug, Clone, Copy)]
pub struct Buckets {
    /// Upper bounds, rising, in raw units; a sample equal to a bound belongs to it.
    pub bounds: &'static [u64],
    /// Base units per raw unit: 1e-9 for nanoseconds exposed as seconds.
    pub base_per_raw: f64,
}

/// The bucket layouts in use.
pub mod buckets {
    use super::Buckets;

    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;

    /// Nanosecond samples exposed as seconds, 100 us to 60 s, a factor of about two apart.
    pub const LATENCY: Buckets = Buckets {
        bounds: &[
            100 * US,
            250 * US,
            500 * US,
            MS,
            2 * MS + 500 * US,
            5 * MS,
            10 * MS,
            25 * MS,
            50 * MS,
            100 * MS,
            250 * MS,
            500 * MS,
            S,
            2 * S + 500 * MS,
            5 * S,
            10 * S,
            30 * S,
            60 * S,
        ],
        base_per_raw: 1e-9,
    };

    /// Nanosecond samples exposed as seconds, 250 ns to 16 ms: work on one message.
    pub const EVALUATION: Buckets = Buckets {
        bounds: &[
            250,
            500,
            US,
            2 * US,
            4 * US,
            8 * US,
            16 * US,
            32 * US,
            64 * US,
            256 * US,
            MS,
            4 * MS,
            16 * MS,
        ],
        base_per_raw: 1e-9,
    };

    /// Counts of things in one request or group, 1 to 100 000.
    pub const COUNT: Buckets = Buckets {
        bounds: &[
            1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 499, 500, 1_000, 4_000, 10_000, 100_000,
        ],
        base_per_raw: 1.0,
    };

    /// Ratios in thousandths, exposed from 0.1 to 1 in steps of 0.1.
    pub const RATIO: Buckets = Buckets {
        bounds: &[100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000],
        base_per_raw: 1e-3,
    };
}

#[derive(Debug)]
struct Cells {
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Cells {
    fn new(buckets: Buckets) -> Self {
        Self {
            counts: (0..=buckets.bounds.len())
                .map(|_| AtomicU64::new(0))
                .collect(),
            sum: AtomicU64::new(0),
        }
    }
}

/// One histogram series. Cloning it gives another handle to the same series.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Buckets,
    shards: Arc<Mutex<Vec<Arc<Cells>>>>,
}

/// The part of a histogram that one thread records into. Threads that each have their own never share a cache line.
#[derive(Debug, Clone)]
pub struct HistogramShard {
    bounds: &'static [u64],
    cells: Arc<Cells>,
}

impl Histogram {
    pub(crate) fn new(buckets: Buckets) -> Self {
        Self {
            buckets,
            shards: Arc::default(),
        }
    }

    /// A part to record into, for one thread or one owner. Make it once and keep it: each one stays in the sum for as
    /// long as the histogram lives.
    pub fn shard(&self) -> HistogramShard {
        let cells = Arc::new(Cells::new(self.buckets));
        self.shards
            .lock()
            .expect("no panic while the list is locked")
            .push(Arc::clone(&cells));
        HistogramShard {
            bounds: self.buckets.bounds,
            cells,
        }
    }

    /// Appends the series in the text format, `labels` being either empty or `a="b"` pairs without braces.
    pub(crate) fn render(&self, name: &str, labels: &str, out: &mut String) {
        let mut counts = vec![0_u64; self.buckets.bounds.len() + 1];
        let mut sum = 0_u64;
        for cells in self
            .shards
            .lock()
            .expect("no panic while the list is locked")
            .iter()
        {
            for (total, cell) in counts.iter_mut().zip(&cells.counts) {
                *total += cell.load(Ordering::Relaxed);
            }
            sum += cells.sum.load(Ordering::Relaxed);
        }
        let separator = if labels.is_empty() { "" } else { "," };
        let mut cumulative = 0;
        for (bound, count) in self.buckets.bounds.iter().zip(&counts) {
            cumulative += count;
            let le = *bound as f64 * self.buckets.base_per_raw;
            // Rounded to nine digits, so that 250 us reads 0.00025 and not a binary neighbour of it.
            let le = (le * 1e9).round() / 1e9;
            write_line(
                out,
                format_args!("{name}_bucket{{{labels}{separator}le=\"{le}\"}} {cumulative}"),
            );
        }
        cumulative += counts[self.buckets.bounds.len()];
        write_line(
            out,
            format_args!("{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {cumulative}"),
        );
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        write_line(
            out,
            format_args!(
                "{name}_sum{braces} {}",
                sum as f64 * self.buckets.base_per_raw
            ),
        );
        write_line(out, format_args!("{name}_count{braces} {cumulative}"));
    }
}

fn write_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("writing to a string cannot fail");
}

impl HistogramShard {
    /// Records one sample in raw units.
    pub fn record(&self, raw: u64) {
        self.record_many(raw, 1);
    }

    /// Records the same sample `count` times.
    pub fn record_many(&self, raw: u64, count: u64) {
        let index = self.bounds.partition_point(|bound| *bound < raw);
        // Relaxed: each cell is a sum of its own, and a scrape that sees the count a moment before the sum is fine.
        self.cells.counts[index].fetch_add(count, Ordering::Relaxed);
        self.cells
            .sum
            .fetch_add(raw.saturating_mul(count), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_and_buckets_are_cumulative() {
        let histogram = Histogram::new(Buckets {
            bounds: &[1_000, 2_000],
            base_per_raw: 1e-3,
        });
        histogram.shard().record(1_000);
        histogram.shard().record_many(1_500, 2);
        histogram.shard().record(9_000);
        let mut text = String::new();
        histogram.render("x", "a=\"b\"", &mut text);
        assert_eq!(
            text,
            "x_bucket{a=\"b\",le=\"1\"} 1\nx_bucket{a=\"b\",le=\"2\"} 3\nx_bucket{a=\"b\",le=\"+Inf\"} 4\n\
             x_sum{a=\"b\"} 13\nx_count{a=\"b\"} 4\n"
        );
    }
}
