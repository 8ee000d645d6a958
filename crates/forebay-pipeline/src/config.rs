//! What the pipeline is told when it is built.

use std::time::Duration;

use forebay_core::{OnFull, OnSpoolFailure, Ordering};

/// Sizes and defaults of a pipeline. The values are valid when it is made; nothing checks them again.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Ingest workers, at least 1.
    pub workers: usize,
    /// Bytes of records that may be admitted and not settled.
    pub ingest_bytes: u64,
    /// Bytes of records of the log that lanes and sender may hold; the others wait on the disk.
    pub lanes_bytes: u64,
    /// Bytes that may be read back from the log ahead of the lanes.
    pub refill_bytes: u64,
    /// Part of `ingest_bytes`, and of `lanes_bytes`, that one stream may hold, above 0 and at most 1.
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
    /// Longest time that a small group waits for more before it is written to the log.
    pub commit_max_delay: Duration,
    /// What publishes get while the log cannot be written.
    pub on_spool_failure: OnSpoolFailure,
    /// Whether QoS 0 goes to the log where the mode of its rule is `spool`.
    pub spool_qos0: bool,
    /// Label values of rules in metrics; further rules count as `other`.
    pub rule_label_limit: usize,
}

impl Default for PipelineConfig {
    /// The product's defaults, for one worker.
    fn default() -> Self {
        Self {
            workers: 1,
            ingest_bytes: 64 << 20,
            lanes_bytes: 64 << 20,
            refill_bytes: 32 << 20,
            per_stream_share: 0.25,
            on_full: OnFull::default(),
            ordering: Ordering::Key,
            record_deadline: Some(Duration::from_secs(300)),
            output_bytes_per_message: 16 << 20,
            max_streams: 10_000,
            stream_idle: Duration::from_secs(600),
            commit_max_delay: Duration::from_millis(1),
            on_spool_failure: OnSpoolFailure::default(),
            spool_qos0: false,
            rule_label_limit: 500,
        }
    }
}
