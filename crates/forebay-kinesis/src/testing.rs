//! What the unit tests share: records made by hand, and a stream to make them for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{
    AckMode, HashKey, Message, OnFull, Ordering, Origin, PartitionKey, QoS, SeededEntropy,
    ShardMap, Time,
};
use forebay_metrics::Registry;
use forebay_pipeline::{Attempts, Pipeline, PipelineConfig, Record, SinkEvent, StreamId};
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};

/// A pipeline with one rule that forwards everything to stream `s`.
pub(crate) fn pipeline() -> Pipeline {
    let document = br#"{"sql": "SELECT * FROM '#'", "actions": [
        {"kinesis": {"roleArn": "arn:aws:iam::1:role/r", "streamName": "s", "partitionKey": "${topic()}"}}]}"#;
    let document = RuleDocument::from_json(document, Some("all")).expect("a legal document");
    let rules = RuleSet::build(
        vec![(document, RuleSettings::default())],
        RuleLimits::default(),
    );
    let config = PipelineConfig {
        workers: 1,
        ingest_bytes: 64 << 20,
        per_stream_share: 1.0,
        on_full: OnFull::Block,
        ordering: Ordering::Key,
        record_deadline: None,
        output_bytes_per_message: 1 << 20,
        max_streams: 10,
        stream_idle: Duration::from_secs(600),
        rule_label_limit: 10,
        ..PipelineConfig::default()
    };
    let rules = Arc::new(rules.expect("a legal rule"));
    Pipeline::new(config, &rules, &Registry::new(), &mut SeededEntropy::new(1))
}

/// The id of a stream: only a pipeline gives one out.
pub(crate) fn stream_id() -> StreamId {
    static ID: OnceLock<StreamId> = OnceLock::new();
    *ID.get_or_init(|| {
        let mut pipeline = pipeline();
        let message = Message {
            topic: "t",
            payload: &Bytes::from_static(b"x"),
            client_id: None,
            timestamp_ms: 0,
            origin: &Origin::UNKNOWN,
        };
        pipeline.intakes[0].publish_detached(
            &message,
            QoS::AtMostOnce,
            AckMode::Accept,
            Time::ZERO,
        );
        pipeline.intakes[0].flush();
        while pipeline.sequencer.step(Time::ZERO) {}
        match pipeline.sink.next_event() {
            Some(SinkEvent::Opened(stream)) => stream.id(),
            other => panic!("no stream was opened: {other:?}"),
        }
    })
}

/// A record of `stored` mode with this place, key and payload.
pub(crate) fn record(seq: u64, key: &str, data: &[u8], now: Time) -> Record {
    Record {
        seq,
        log: 0,
        in_log: false,
        lane: 0,
        stream: stream_id(),
        rule: 0,
        partition_key: PartitionKey::new(key).expect("a legal key"),
        hash: HashKey::of_partition_key(key),
        explicit: false,
        data: Bytes::copy_from_slice(data),
        admitted: now,
        received_ms: 0,
        deadline: Time::NEVER,
        ack: AckMode::Stored,
        ticket: None,
        charge: Record::charge_for(data.len(), key.len()),
        ends_publish: true,
        error: None,
        attempts: Attempts::default(),
    }
}

/// An evenly split map.
pub(crate) fn map(shards: u32) -> Arc<ShardMap> {
    Arc::new(ShardMap::even(shards).expect("at least one shard"))
}
