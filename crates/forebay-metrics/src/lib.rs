//! The one door to the metrics crates: held handles, per-thread histograms, one text exposition.
//!
//! A [`Registry`] is a value, not a global: two servers in one process keep their figures apart. Names are written in
//! full by the caller (`forebay_publish_received_total`); label values must be bounded.
//!
//! Counters and gauges are those of the `metrics` crate, behind handles that are made once. Histograms are our own: a
//! sample of the crate's histogram is pushed into a list that someone must drain, which costs more than the message it
//! measures; ours is an addition in an array that belongs to the recording thread, and threads are added up at scrape.
//!
//! ```
//! use forebay_metrics::{Registry, buckets};
//!
//! let registry = Registry::new();
//! let stored = registry.counter("forebay_example_total", "Records stored.", &[("shard", "0")]);
//! stored.increment(3);
//! let latency = registry.histogram("forebay_example_seconds", "Time to store.", &[], buckets::LATENCY);
//! latency.shard().record(1_500_000);
//! assert!(registry.render().contains("forebay_example_total{shard=\"0\"} 3"));
//! ```

mod histogram;
mod process;
mod registry;

pub use histogram::{Buckets, Histogram, HistogramShard, buckets};
pub use registry::{BatchedCounter, Counter, Gauge, Registry};
