//! Parts of a pipeline for tests that need no more of it.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{AckMode, HashKey, PartitionKey, StreamName, Time};
use forebay_metrics::Registry;
use forebay_rules::{RuleLimits, RuleSet};

use crate::rule_book::RuleBook;
use crate::shared::Shared;
use crate::{Attempts, PipelineConfig, Record, Stream, StreamId};

/// What the ends of a pipeline without rules share.
pub(crate) fn shared(config: PipelineConfig) -> Arc<Shared> {
    let rules = RuleSet::build(Vec::new(), RuleLimits::default()).expect("no rule is a bad one");
    let book = RuleBook::new(&Arc::new(rules), &Registry::new(), 0).expect("there are no names");
    Arc::new(Shared::new(config, book, false))
}

/// A stream in use.
pub(crate) fn open(shared: &Shared, name: &str) -> Arc<Stream> {
    let name = StreamName::new(name).expect("a legal name");
    let opened = shared.streams.open(&name, Time::ZERO, |_| ());
    opened.expect("few streams are in use")
}

/// A record of one byte that is not in the log.
pub(crate) fn record(stream: StreamId, ack: AckMode) -> Record {
    Record {
        seq: 0,
        log: 0,
        in_log: false,
        lane: 0,
        stream,
        rule: 0,
        partition_key: PartitionKey::new("k").expect("a legal key"),
        hash: HashKey::of_partition_key("k"),
        explicit: false,
        data: Bytes::new(),
        admitted: Time::ZERO,
        received_ms: 0,
        deadline: Time::NEVER,
        ack,
        ticket: None,
        charge: 1,
        error: None,
        attempts: Attempts::default(),
        ends_publish: true,
    }
}

/// The same, in the log under this number.
pub(crate) fn logged(stream: StreamId, log: u64) -> Record {
    Record {
        log,
        in_log: true,
        ..record(stream, AckMode::Spool)
    }
}
