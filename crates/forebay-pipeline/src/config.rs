//! What the pipeline is told when it is built.

use std::time::Duration;

use forebay_core::{OnFull, Ordering};

/// Sizes and defaults of a pipeline. The values are valid when it is made; nothing checks them again.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Ingest workers, at least 1.
    pub workers: usize,
    /// Bytes of records that may be admitted and not settled.
    pub ingest_bytes: u64,
    /// Part of `ingest_bytes` that one stream may hold, above 0 and at most 1.
    pub per_stream_share: f64,
    /// What happens without room where the rule says nothing.
    pub on_full: OnFull,
    /// Least ordering of every stream.
    pub ordering: Ordering,
    /// How long a record that nobody was promised is tried; `None` for ever.
    pub record_deadline: Option<Duration>,
    /// Bytes of output that one message may produce over all rules.
    pub output_bytes_per_message: u64,
    /// Streams in use at the same time.
    pub max_streams: usize,
    /// Time without a record after which a stream is let go.
    pub stream_idle: Duration,
    /// Label values of rules in metrics; further rules count as `other`.
    pub rule_label_limit: usize,
}
