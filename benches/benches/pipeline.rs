//! The way of a message through the pipeline without network: rules, keys, budgets, staging, dealing, settlement and
//! the finished publish. One iteration is a group of messages over 1 000 keys and 16 shards; divide by the group.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::{
    AckMode, Message, OnFull, Ordering, Origin, QoS, SeededEntropy, ShardMap, Ticket, Time,
};
use forebay_metrics::Registry;
use forebay_pipeline::{Drained, LaneTable, Pipeline, PipelineConfig, Publish, SinkEvent, Stream};
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};

const GROUP: usize = 1000;
const KEYS: usize = 1000;
const SHARDS: u32 = 16;
/// 256 bytes of telemetry.
const PAYLOAD: &[u8] = include_bytes!("telemetry-256.json");

fn rules(sql: &str) -> Arc<RuleSet> {
    let document = serde_json::json!({
        "sql": sql,
        "awsIotSqlVersion": "2016-03-23",
        "actions": [{"kinesis": {
            "streamName": "telemetry", "partitionKey": "${topic()}", "roleArn": "arn:aws:iam::1:role/r"
        }}],
    });
    let document = RuleDocument::from_json(document.to_string().as_bytes(), Some("bench"))
        .expect("the document is well formed");
    let rules = vec![(document, RuleSettings::default())];
    Arc::new(RuleSet::build(rules, RuleLimits::default()).expect("the statement is well formed"))
}

struct Bed {
    pipeline: Pipeline,
    lanes: Option<(Arc<Stream>, Arc<LaneTable>)>,
    topics: Vec<String>,
    payload: Bytes,
    drained: Drained,
}

impl Bed {
    fn new(sql: &str) -> Self {
        let config = PipelineConfig {
            workers: 1,
            ingest_bytes: 64 * 1024 * 1024,
            per_stream_share: 1.0,
            on_full: OnFull::Block,
            ordering: Ordering::Key,
            record_deadline: None,
            output_bytes_per_message: 1024 * 1024,
            max_streams: 10,
            stream_idle: Duration::from_secs(600),
            rule_label_limit: 10,
            ..PipelineConfig::default()
        };
        let mut entropy = SeededEntropy::new(1);
        let pipeline: Pipeline = Pipeline::new(config, &rules(sql), &Registry::new(), &mut entropy);
        let topics = (0..KEYS)
            .map(|key| format!("dt/device-{key}/telemetry"))
            .collect();
        let payload = Bytes::from_static(PAYLOAD);
        Self {
            pipeline,
            lanes: None,
            topics,
            payload,
            drained: Drained::default(),
        }
    }

    fn publish(&mut self) {
        let intake = &mut self.pipeline.intakes[0];
        for (slot, topic) in self.topics.iter().cycle().take(GROUP).enumerate() {
            let message = Message {
                topic,
                payload: &self.payload,
                client_id: Some("device"),
                timestamp_ms: 1,
                origin: &Origin::UNKNOWN,
            };
            let ticket = Ticket {
                worker: 0,
                connection: 1,
                generation: 1,
                slot: slot as u32,
            };
            let publish = Publish {
                qos: QoS::AtLeastOnce,
                ticket,
                listener_ack: AckMode::Stored,
                may_reject: true,
                packet_id: 1,
            };
            black_box(intake.publish(&message, publish, Time::ZERO));
        }
        intake.flush();
    }

    fn deal(&mut self) {
        while self.pipeline.sequencer.step(Time::ZERO) {}
        while let Some(event) = self.pipeline.sink.next_event() {
            match event {
                SinkEvent::Opened(stream) => {
                    let map = ShardMap::even(SHARDS).expect("a legal number of shards");
                    self.pipeline
                        .sink
                        .install_map(&stream, Arc::new(map), Vec::new());
                    while self.pipeline.sequencer.step(Time::ZERO) {}
                }
                SinkEvent::Lanes { stream, table } => self.lanes = Some((stream, table)),
                _ => {}
            }
        }
    }

    /// Takes what the lanes have and settles it, as the answer to a request would.
    fn settle(&mut self) {
        let (stream, table) = self.lanes.as_ref().expect("the stream has lanes");
        let mut settlement = self.pipeline.sink.settlement();
        for lane in &table.lanes {
            while let Some(batch) = lane.pop() {
                for record in batch {
                    settlement.stored(stream, record);
                }
            }
        }
        settlement.flush();
        self.drained.clear();
        self.pipeline.intakes[0].drain(&mut self.drained, Time::ZERO);
        assert_eq!(self.drained.finished.len(), GROUP);
    }
}

fn pipeline(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(GROUP as u64));
    for (name, sql) in [
        ("verbatim", "SELECT * FROM 'dt/#'"),
        ("spliced", "SELECT *, topic(2) AS device FROM 'dt/#'"),
        (
            "selected",
            "SELECT device, temperature FROM 'dt/#' WHERE temperature > 20",
        ),
    ] {
        let mut bed = Bed::new(sql);
        group.bench_function(BenchmarkId::new("publish to settled", name), |bencher| {
            bencher.iter(|| {
                bed.publish();
                bed.deal();
                bed.settle();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
