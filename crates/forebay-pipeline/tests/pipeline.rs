//! The pipeline from publish to finished ticket, driven by hand: no thread, no clock, no network.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "pipeline/error_actions.rs"]
mod error_actions;
#[path = "pipeline/replaced_rules.rs"]
mod replaced_rules;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{
    AckMode, HashKey, Message, OnFull, Ordering, Origin, QoS, SeededEntropy, ShardMap, Ticket, Time,
};
use forebay_metrics::Registry;
use forebay_pipeline::{
    Admission, Drained, FailureReason, LaneTable, Pipeline, PipelineConfig, Publish, Record,
    SinkEvent, Stream,
};
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};

const NOW: Time = Time::from_millis(1);

fn config() -> PipelineConfig {
    PipelineConfig {
        workers: 2,
        ingest_bytes: 8 * 1024,
        per_stream_share: 0.5,
        on_full: OnFull::Block,
        ordering: Ordering::Key,
        record_deadline: Some(Duration::from_secs(300)),
        output_bytes_per_message: 4 * 1024,
        max_streams: 4,
        stream_idle: Duration::from_secs(600),
        rule_label_limit: 10,
        ..PipelineConfig::default()
    }
}

fn rules(list: &[(&str, &str, &str, RuleSettings)]) -> Arc<RuleSet> {
    let documents = list
        .iter()
        .map(|(name, sql, stream, settings)| {
            let json = serde_json::json!({
                "sql": sql,
                "awsIotSqlVersion": "2016-03-23",
                "actions": [{"kinesis": {
                    "streamName": stream, "partitionKey": "${topic()}", "roleArn": "arn:aws:iam::1:role/r"
                }}],
            });
            let document = RuleDocument::from_json(json.to_string().as_bytes(), Some(name)).unwrap();
            (document, settings.clone())
        })
        .collect();
    Arc::new(RuleSet::build(documents, RuleLimits::default()).unwrap())
}

struct Bed {
    pipeline: Pipeline,
    tables: Vec<(Arc<Stream>, Arc<LaneTable>)>,
    slot: u32,
}

impl Bed {
    fn new(config: PipelineConfig, rules: &Arc<RuleSet>) -> Self {
        let registry = Registry::new();
        let pipeline: Pipeline =
            Pipeline::new(config, rules, &registry, &mut SeededEntropy::new(1));
        Self {
            pipeline,
            tables: Vec::new(),
            slot: 0,
        }
    }

    fn publish(
        &mut self,
        worker: usize,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> (Admission, Ticket) {
        self.slot += 1;
        let ticket = Ticket {
            worker: worker as u16,
            connection: 7,
            generation: 1,
            slot: self.slot,
        };
        let payload = Bytes::copy_from_slice(payload);
        let message = Message {
            topic,
            payload: &payload,
            client_id: Some("c"),
            timestamp_ms: 1_700_000_000_000,
            origin: &Origin::UNKNOWN,
        };
        let publish = Publish {
            qos,
            ticket,
            listener_ack: AckMode::Stored,
            may_reject: true,
            packet_id: 1,
        };
        let admission = self.pipeline.intakes[worker].publish(&message, publish, NOW);
        (admission, ticket)
    }

    /// Steps the sequencer until it is at rest and answers every opened stream with a map of `shards` shards.
    fn run(&mut self, shards: u32) {
        for intake in &mut self.pipeline.intakes {
            intake.flush();
        }
        loop {
            let worked = self.pipeline.sequencer.step(NOW);
            let mut news = false;
            while let Some(event) = self.pipeline.sink.next_event() {
                news = true;
                match event {
                    SinkEvent::Opened(stream) if shards > 0 => {
                        let map = Arc::new(ShardMap::even(shards).unwrap());
                        self.pipeline.sink.install_map(&stream, map, Vec::new());
                    }
                    SinkEvent::Lanes { stream, table } => {
                        self.tables
                            .retain(|(known, _)| known.name() != stream.name());
                        self.tables.push((stream, table));
                    }
                    SinkEvent::Closed(id) => self.tables.retain(|(known, _)| known.id() != id),
                    _ => {}
                }
            }
            if !worked && !news {
                return;
            }
        }
    }

    fn take(&self, stream: &str) -> Vec<Vec<Record>> {
        let (_, table) = self
            .tables
            .iter()
            .find(|(s, _)| s.name().as_str() == stream)
            .unwrap();
        table
            .lanes
            .iter()
            .map(|lane| std::iter::from_fn(|| lane.pop()).flatten().collect())
            .collect()
    }

    fn settle(&self, records: impl IntoIterator<Item = Record>, failed: bool) {
        let mut settlement = self.pipeline.sink.settlement();
        for record in records {
            let (stream, _) = self
                .tables
                .iter()
                .find(|(s, _)| s.id() == record.stream)
                .unwrap();
            if failed {
                settlement.failed(stream, record, || FailureReason::Refused.into())
            } else {
                settlement.stored(stream, record)
            }
        }
        settlement.flush();
    }

    fn drain(&mut self, worker: usize) -> Drained {
        let mut drained = Drained::default();
        self.pipeline.intakes[worker].drain(&mut drained, NOW);
        drained
    }
}

fn all_of(name: &str) -> Arc<RuleSet> {
    rules(&[("all", "SELECT * FROM 'dt/#'", name, RuleSettings::default())])
}

#[test]
fn records_reach_the_lane_of_their_shard_in_order_and_finish_their_publish() {
    let mut bed = Bed::new(config(), &all_of("s"));
    let mut tickets = Vec::new();
    for index in 0..8 {
        let topic = format!("dt/key-{}", index % 4);
        let (admission, ticket) =
            bed.publish(index % 2, &topic, &[b'0' + index as u8], QoS::AtLeastOnce);
        assert_eq!(
            admission,
            Admission::Pending {
                records: 1,
                ack: AckMode::Stored
            }
        );
        tickets.push(ticket);
    }
    bed.run(3);
    let lanes = bed.take("s");
    let map = ShardMap::even(3).unwrap();
    for (lane, records) in lanes.iter().enumerate() {
        assert!(records.is_sorted_by_key(|record| record.seq));
        for record in records {
            assert_eq!(
                record.hash,
                HashKey::of_partition_key(&record.partition_key)
            );
            assert_eq!(map.lookup(record.hash), lane);
            assert_eq!(record.deadline, Time::NEVER);
        }
    }
    assert_eq!(lanes.iter().map(Vec::len).sum::<usize>(), 8);
    bed.settle(lanes.into_iter().flatten(), false);
    let mut slots: Vec<u32> = (0..2)
        .flat_map(|worker| bed.drain(worker).finished)
        .map(|finished| finished.slot)
        .collect();
    slots.sort_unstable();
    assert_eq!(
        slots,
        tickets.iter().map(|ticket| ticket.slot).collect::<Vec<_>>()
    );
    assert!(bed.pipeline.control.is_empty());
    let conservation = bed.pipeline.control.conservation();
    assert_eq!(
        (
            conservation.accepted,
            conservation.stored,
            conservation.difference()
        ),
        (8, 8, 0)
    );
}

#[test]
fn qos_0_and_accept_are_done_at_admission_and_have_a_deadline() {
    let settings = RuleSettings {
        ack: Some(AckMode::Accept),
        ..RuleSettings::default()
    };
    let mut bed = Bed::new(
        config(),
        &rules(&[("a", "SELECT * FROM 'dt/#'", "s", settings)]),
    );
    assert_eq!(
        bed.publish(0, "dt/1", b"x", QoS::AtLeastOnce).0,
        Admission::Done { matched: true }
    );
    assert_eq!(
        bed.publish(0, "other", b"x", QoS::AtLeastOnce).0,
        Admission::Done { matched: false }
    );
    bed.run(1);
    let records = bed.take("s").remove(0);
    assert_eq!(records[0].deadline, NOW + Duration::from_secs(300));
    assert!(records[0].ticket.is_none());
}

#[test]
fn the_strictest_rule_decides_and_the_publish_waits_for_every_record() {
    let accept = RuleSettings {
        ack: Some(AckMode::Accept),
        ..RuleSettings::default()
    };
    let set = rules(&[
        ("a", "SELECT * FROM 'dt/#'", "s", accept),
        ("b", "SELECT * FROM 'dt/+'", "t", RuleSettings::default()),
    ]);
    let mut bed = Bed::new(config(), &set);
    assert_eq!(
        bed.publish(0, "dt/1", b"x", QoS::ExactlyOnce).0,
        Admission::Pending {
            records: 2,
            ack: AckMode::Stored
        }
    );
    bed.run(1);
    let first = bed.take("s").remove(0);
    bed.settle(first, false);
    assert_eq!(bed.drain(0).finished.len(), 1);
    let second = bed.take("t").remove(0);
    bed.settle(second, true);
    assert!(bed.drain(0).finished[0].failed);
}

#[test]
fn a_stream_without_a_map_takes_only_its_share_and_the_others_go_on() {
    let set = rules(&[
        (
            "dead",
            "SELECT * FROM 'dead/#'",
            "dead",
            RuleSettings::default(),
        ),
        (
            "live",
            "SELECT * FROM 'dt/#'",
            "live",
            RuleSettings::default(),
        ),
    ]);
    let mut bed = Bed::new(config(), &set);
    let payload = [b'x'; 600];
    let mut parked = 0;
    for _ in 0..20 {
        if bed.publish(0, "dead/1", &payload, QoS::AtLeastOnce).0 == Admission::Parked {
            parked += 1;
        }
    }
    assert!(parked > 10, "the dead stream took more than its share");
    bed.run(0);
    assert!(matches!(
        bed.publish(0, "dt/1", &payload, QoS::AtLeastOnce).0,
        Admission::Pending { .. }
    ));
    assert!(matches!(
        bed.publish(1, "dt/2", &payload, QoS::AtLeastOnce).0,
        Admission::Pending { .. }
    ));
}

#[test]
fn parked_messages_resume_in_order_when_room_is_given_back() {
    let mut bed = Bed::new(config(), &all_of("s"));
    let payload = [b'x'; 1000];
    let mut waiting = Vec::new();
    for _ in 0..6 {
        let (admission, ticket) = bed.publish(0, "dt/1", &payload, QoS::AtLeastOnce);
        if admission == Admission::Parked {
            waiting.push(ticket.slot);
        }
    }
    assert_eq!(waiting.len(), 3);
    // A small message on the other worker waits behind them, although it would fit.
    let (admission, _) = bed.publish(1, "dt/1", b"small", QoS::AtLeastOnce);
    assert_eq!(admission, Admission::Parked);
    bed.run(1);
    assert!(bed.drain(0).resumed.is_empty());
    let records = bed.take("s").remove(0);
    bed.settle(records, false);
    let resumed = bed.drain(0).resumed;
    assert_eq!(resumed.iter().map(|r| r.slot).collect::<Vec<_>>(), waiting);
    assert!(resumed.iter().all(|r| r.admission
        == Admission::Pending {
            records: 1,
            ack: AckMode::Stored
        }));
    assert_eq!(bed.drain(1).resumed.len(), 1);
    bed.run(1);
    let records = bed.take("s").remove(0);
    assert_eq!(records.len(), 4);
    bed.settle(records, false);
    assert!(bed.pipeline.control.is_empty());
}

#[test]
fn reject_refuses_and_an_abandoned_message_makes_way() {
    let reject = RuleSettings {
        on_full: Some(OnFull::Reject),
        ..RuleSettings::default()
    };
    let set = rules(&[
        ("r", "SELECT * FROM 'r/#'", "s", reject),
        ("b", "SELECT * FROM 'b/#'", "s", RuleSettings::default()),
    ]);
    let mut bed = Bed::new(config(), &set);
    for _ in 0..3 {
        bed.publish(0, "b/1", &[b'x'; 1000], QoS::AtLeastOnce);
    }
    assert_eq!(
        bed.publish(0, "r/1", &[b'x'; 1000], QoS::AtLeastOnce).0,
        Admission::Rejected
    );
    assert_eq!(
        bed.publish(0, "b/1", &[b'x'; 1000], QoS::AtLeastOnce).0,
        Admission::Parked
    );
    assert_eq!(
        bed.publish(1, "b/1", b"small", QoS::AtLeastOnce).0,
        Admission::Parked
    );
    bed.pipeline.intakes[0].abandon(7, 1);
    assert_eq!(bed.drain(1).resumed.len(), 1);
    assert_eq!(bed.pipeline.control.parked(), 0);
}

#[test]
fn drop_newest_loses_only_the_newcomer_and_counts_it() {
    let drop = RuleSettings {
        ack: Some(AckMode::Accept),
        on_full: Some(OnFull::DropNewest),
        ..RuleSettings::default()
    };
    let registry = Registry::new();
    let set = rules(&[("d", "SELECT * FROM 'dt/#'", "s", drop)]);
    let pipeline: Pipeline = Pipeline::new(config(), &set, &registry, &mut SeededEntropy::new(1));
    let mut bed = Bed {
        pipeline,
        tables: Vec::new(),
        slot: 0,
    };
    for _ in 0..5 {
        let admission = bed.publish(0, "dt/1", &[b'x'; 1000], QoS::AtLeastOnce).0;
        assert_eq!(admission, Admission::Done { matched: true });
    }
    bed.run(1);
    assert_eq!(bed.take("s")[0].len(), 3);
    let text = registry.render();
    let line = "forebay_kinesis_user_records_failed_total{reason=\"buffer_full\"} 2";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_new_map_deals_everything_again_in_sequence_order() {
    let mut bed = Bed::new(config(), &all_of("s"));
    for index in 0..6 {
        bed.publish(0, &format!("dt/k{index}"), b"1", QoS::AtLeastOnce);
    }
    bed.run(1);
    let (stream, table) = bed.tables[0].clone();
    // The consumer holds the first batch; more arrives in the lane and in the outbox before the map changes.
    let held = table.lanes[0].pop().unwrap();
    bed.publish(1, "dt/k1", b"2", QoS::AtLeastOnce);
    bed.run(1);
    bed.publish(1, "dt/k2", b"3", QoS::AtLeastOnce);
    bed.pipeline
        .sink
        .install_map(&stream, Arc::new(ShardMap::even(4).unwrap()), held);
    bed.run(4);
    let lanes = bed.take("s");
    assert_eq!(lanes.len(), 4);
    let mut seqs: Vec<u64> = lanes.iter().flatten().map(|record| record.seq).collect();
    assert!(
        lanes
            .iter()
            .all(|lane| lane.is_sorted_by_key(|record| record.seq))
    );
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=8).collect::<Vec<u64>>());
    assert!(table.is_empty());
    assert_eq!(bed.tables[0].1.epoch, 2);
}

#[test]
fn a_full_ring_holds_batches_back_without_losing_or_reordering() {
    let mut config = config();
    config.ingest_bytes = 1024 * 1024;
    let mut bed = Bed::new(config, &all_of("s"));
    for index in 0..100_u32 {
        bed.publish(0, "dt/k", &index.to_be_bytes(), QoS::AtLeastOnce);
        bed.run(1);
    }
    assert_eq!(bed.pipeline.control.pending(), 100);
    let mut records = bed.take("s").remove(0);
    assert!(records.len() < 100, "the ring has a bound");
    bed.run(1);
    records.append(&mut bed.take("s").remove(0));
    let data: Vec<u32> = records
        .iter()
        .map(|r| u32::from_be_bytes(r.data.as_ref().try_into().unwrap()))
        .collect();
    assert_eq!(data, (0..100).collect::<Vec<_>>());
}

#[test]
fn idle_streams_are_let_go_and_come_back() {
    let set = rules(&[(
        "t",
        "SELECT * FROM 'dt/+'",
        "${topic(2)}",
        RuleSettings::default(),
    )]);
    let registry = Registry::new();
    let pipeline: Pipeline = Pipeline::new(config(), &set, &registry, &mut SeededEntropy::new(1));
    let mut bed = Bed {
        pipeline,
        tables: Vec::new(),
        slot: 0,
    };
    for name in ["a", "b", "c", "d"] {
        bed.publish(0, &format!("dt/{name}"), b"x", QoS::AtLeastOnce);
    }
    // One stream more than may be in use: its record fails, and the publish has nothing to wait for.
    assert_eq!(
        bed.publish(0, "dt/e", b"x", QoS::AtLeastOnce).0,
        Admission::Done { matched: true }
    );
    bed.run(1);
    for name in ["a", "b", "c"] {
        let records = bed.take(name).remove(0);
        bed.settle(records, false);
    }
    let later = NOW + Duration::from_secs(601);
    bed.pipeline.sequencer.step(later);
    let names = |bed: &Bed| -> Vec<String> {
        bed.pipeline
            .control
            .streams()
            .iter()
            .map(|s| s.name().to_string())
            .collect()
    };
    assert_eq!(names(&bed), ["d"], "a stream with a pending record stays");
    bed.publish(0, "dt/a", b"y", QoS::AtLeastOnce);
    bed.publish(1, "dt/e", b"y", QoS::AtLeastOnce);
    bed.run(1);
    assert_eq!(names(&bed), ["a", "d", "e"]);
    for (name, data) in [("a", "y"), ("d", "x"), ("e", "y")] {
        let records = bed.take(name).remove(0);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].data, data);
        bed.settle(records, false);
    }
    assert_eq!(bed.pipeline.control.conservation().difference(), 0);
}

#[test]
fn a_parked_message_finds_room_although_its_stream_was_let_go_meanwhile() {
    let set = rules(&[(
        "t",
        "SELECT * FROM 'dt/+'",
        "${topic(2)}",
        RuleSettings::default(),
    )]);
    let mut bed = Bed::new(config(), &set);
    let payload = [b'x'; 1000];
    for name in ["a", "a", "a", "b", "b", "b"] {
        let (admission, _) = bed.publish(0, &format!("dt/{name}"), &payload, QoS::AtLeastOnce);
        assert!(matches!(admission, Admission::Pending { .. }));
    }
    let (admission, ticket) = bed.publish(0, "dt/c", &payload, QoS::AtLeastOnce);
    assert_eq!(admission, Admission::Parked, "the whole budget is taken");
    bed.run(1);
    let later = NOW + Duration::from_secs(601);
    bed.pipeline.sequencer.step(later);
    let streams = bed.pipeline.control.streams();
    assert_eq!(streams.len(), 2, "nobody holds room in the third");
    for name in ["a", "b"] {
        let records = bed.take(name).remove(0);
        bed.settle(records, false);
    }
    let resumed = bed.drain(0).resumed;
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0].slot, ticket.slot);
    bed.run(1);
    let records = bed.take("c").remove(0);
    assert_eq!(records.len(), 1);
    bed.settle(records, false);
    assert!(bed.pipeline.control.is_empty());
}
