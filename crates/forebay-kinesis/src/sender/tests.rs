//! The sender with a real pipeline in front and a scripted service behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_core::{
    AckMode, Clock, HashKey, Message, Origin, QoS, Shard, ShardMap, StreamName, SystemClock,
};
use forebay_metrics::Registry;
use forebay_pipeline::{Intake, PipelineControl, SequencerThread};

use super::{SenderSetup, SenderThread};
use crate::api::{EntryAnswer, KinesisApi, PutRecordsAnswer, StreamSummary};
use crate::classify::{CallError, CallFailure};
use crate::config::{BatchSettings, KinesisConfig, RateLimit};
use crate::testing::pipeline;

/// What the next calls get; stored and served normally when nothing is scripted.
#[derive(Debug, Default)]
struct Script {
    lists: VecDeque<CallError>,
    puts: VecDeque<CallError>,
    /// Every so many records one is throttled; 0 for never.
    throttle_every: usize,
    shards: u32,
}

#[derive(Debug, Default)]
struct Service {
    script: Mutex<Script>,
    stored: Mutex<BTreeMap<String, Vec<String>>>,
    served: Mutex<usize>,
    refreshed: Mutex<usize>,
}

impl Service {
    fn map(&self) -> ShardMap {
        ShardMap::even(self.script.lock().unwrap().shards.max(1)).unwrap()
    }

    fn stored(&self) -> BTreeMap<String, Vec<String>> {
        self.stored.lock().unwrap().clone()
    }

    fn put(&self, body: &[u8]) -> Result<PutRecordsAnswer, CallError> {
        let refused = self.script.lock().unwrap().puts.pop_front();
        if let Some(error) = refused {
            return Err(error);
        }
        let map = self.map();
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["StreamName"], "s");
        let records = body["Records"].as_array().unwrap();
        Ok(PutRecordsAnswer {
            entries: records
                .iter()
                .map(|record| self.store(&map, record))
                .collect(),
        })
    }

    fn store(&self, map: &ShardMap, record: &serde_json::Value) -> EntryAnswer {
        let every = self.script.lock().unwrap().throttle_every;
        let mut served = self.served.lock().unwrap();
        *served += 1;
        if every > 0 && served.is_multiple_of(every) {
            let code = "ProvisionedThroughputExceededException".into();
            return EntryAnswer::Refused {
                code,
                message: "scripted".into(),
            };
        }
        let key = record["PartitionKey"].as_str().unwrap().to_owned();
        let data = STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
        let data = String::from_utf8(data).unwrap();
        let shard = map
            .shard(map.lookup(HashKey::of_partition_key(&key)))
            .id()
            .into();
        self.stored
            .lock()
            .unwrap()
            .entry(key)
            .or_default()
            .push(data);
        EntryAnswer::Stored { shard }
    }
}

/// The service as the sender gets it.
struct Double(Arc<Service>);

impl KinesisApi for Double {
    async fn put_records(
        &self,
        _stream: &StreamName,
        body: Bytes,
        _timeout: Duration,
    ) -> Result<PutRecordsAnswer, CallError> {
        tokio::task::yield_now().await;
        self.0.put(&body)
    }

    async fn list_shards(&self, _stream: &StreamName) -> Result<Vec<Shard>, CallError> {
        let refused = self.0.script.lock().unwrap().lists.pop_front();
        refused.map_or_else(|| Ok(self.0.map().shards().to_vec()), Err)
    }

    async fn describe_summary(&self, _stream: &StreamName) -> Result<StreamSummary, CallError> {
        Err(refused("AccessDeniedException"))
    }

    fn refresh_credentials(&self) {
        *self.0.refreshed.lock().unwrap() += 1;
    }
}

fn refused(code: &str) -> CallError {
    CallError::local(CallFailure::Service(400), code, "scripted")
}

struct Stand {
    service: Arc<Service>,
    intake: Intake,
    control: PipelineControl,
    sender: SenderThread,
    registry: Registry,
    clock: Arc<SystemClock>,
    sent: u64,
    _sequencer: SequencerThread,
}

impl Stand {
    fn new(script: Script) -> Self {
        let service = Arc::new(Service {
            script: Mutex::new(script),
            ..Service::default()
        });
        let mut pipeline = pipeline();
        let clock = Arc::new(SystemClock::new());
        let registry = Registry::new();
        let setup = SenderSetup {
            port: pipeline.sink,
            config: KinesisConfig {
                batch: BatchSettings {
                    rate_limit: RateLimit::Off,
                    ..BatchSettings::default()
                },
                ..KinesisConfig::default()
            },
            registry: registry.clone(),
            clock: Arc::clone(&clock) as _,
            tick: Box::new(|| {}),
        };
        let double = Double(Arc::clone(&service));
        let sender = SenderThread::start_with(setup, || async { double }).unwrap();
        let sequencer =
            SequencerThread::start(pipeline.sequencer, Arc::clone(&clock) as _, || {}).unwrap();
        Self {
            service,
            intake: pipeline.intakes.remove(0),
            control: pipeline.control,
            sender,
            registry,
            clock,
            sent: 0,
            _sequencer: sequencer,
        }
    }

    /// Publishes `count` numbered messages over 20 topics, which are their keys.
    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            let topic = format!("t/{}", self.sent % 20);
            let payload = Bytes::from(format!("{:08}", self.sent));
            self.sent += 1;
            let message = Message {
                topic: &topic,
                payload: &payload,
                client_id: None,
                timestamp_ms: 0,
                origin: &Origin::UNKNOWN,
            };
            self.intake.publish_detached(
                &message,
                QoS::AtLeastOnce,
                AckMode::Stored,
                self.clock.now(),
            );
        }
        self.intake.flush();
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = self.clock.now() + Duration::from_secs(30);
        while !condition(self) {
            assert!(
                self.clock.now() < deadline,
                "{what} did not happen: {:?}",
                self.sender.status()
            );
            std::thread::yield_now();
        }
    }

    fn until_stored(&self) {
        let all = |stand: &Self| {
            stand.service.stored().values().map(Vec::len).sum::<usize>() as u64 == stand.sent
        };
        self.until("storing everything", all);
        self.until("settling everything", |stand| {
            stand.control.conservation().difference() == 0 && stand.control.pending() == 0
        });
    }

    fn check_order(&self) {
        for (key, stored) in self.service.stored() {
            let mut sorted = stored.clone();
            sorted.sort();
            assert_eq!(stored, sorted, "order of {key}");
        }
    }
}

#[test]
fn everything_published_is_stored_once_in_order_and_settled() {
    let mut stand = Stand::new(Script {
        shards: 4,
        ..Script::default()
    });
    for _ in 0..10 {
        stand.publish(500);
    }
    stand.until_stored();
    stand.check_order();
    stand.until("showing it", |stand| {
        let text = stand.registry.render();
        let sum: u64 = text
            .lines()
            .filter(|line| line.starts_with("forebay_kinesis_user_records_stored_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        sum == stand.sent && text.contains("forebay_kinesis_shards_open{stream=\"s\"} 4")
    });
    let status = stand.sender.status();
    assert_eq!(
        (status.len(), status[0].name.as_str(), status[0].shards),
        (1, "s", 4)
    );
    assert_eq!(status[0].blocked, None);
}

#[test]
fn a_stream_that_appears_later_gets_what_was_published_before() {
    let missing = vec![refused("ResourceNotFoundException"); 2];
    let mut stand = Stand::new(Script {
        shards: 1,
        lists: missing.clone().into(),
        puts: missing.into(),
        ..Script::default()
    });
    stand.publish(100);
    stand.until("being blocked", |stand| {
        stand
            .sender
            .status()
            .first()
            .and_then(|stream| stream.blocked.clone())
            .as_deref()
            == Some("ResourceNotFoundException")
    });
    assert!(
        stand.registry.render().contains(
            "forebay_kinesis_blocked{stream=\"s\",reason=\"ResourceNotFoundException\"} 1"
        )
    );
    stand.until_stored();
    stand.until("not being blocked", |stand| {
        stand.sender.status()[0].blocked.is_none()
    });
}

#[test]
fn a_stream_whose_shards_may_not_be_listed_is_written_through_virtual_lanes() {
    let lists = vec![refused("AccessDeniedException"); 1_000];
    let mut stand = Stand::new(Script {
        shards: 2,
        lists: lists.into(),
        ..Script::default()
    });
    stand.publish(100);
    stand.until_stored();
    stand.check_order();
    stand.until("the refusal being shown", |stand| {
        let status = stand.sender.status();
        let error = status.first().and_then(|stream| stream.last_error.as_ref());
        error.is_some_and(|error| error.code == "AccessDeniedException")
    });
    assert_eq!(stand.sender.status()[0].blocked, None);
}

#[test]
fn expired_credentials_are_asked_for_again_and_nothing_fails() {
    let puts = vec![refused("ExpiredTokenException"); 1];
    let mut stand = Stand::new(Script {
        shards: 2,
        puts: puts.into(),
        ..Script::default()
    });
    stand.publish(50);
    stand.until_stored();
    assert_eq!(*stand.service.refreshed.lock().unwrap(), 1);
    stand.check_order();
}

#[test]
fn throttled_records_are_stored_in_the_end() {
    let mut stand = Stand::new(Script {
        shards: 2,
        throttle_every: 3,
        ..Script::default()
    });
    stand.publish(300);
    stand.until_stored();
    let text = stand.registry.render();
    assert!(
        text.contains("code=\"ProvisionedThroughputExceededException\""),
        "{text}"
    );
    assert!(!text.contains(
        "forebay_kinesis_possible_duplicates_total{stream=\"s\",source=\"ambiguous\"} 1"
    ));
}

#[test]
fn another_number_of_shards_is_noticed_and_nothing_is_lost() {
    let mut stand = Stand::new(Script {
        shards: 1,
        ..Script::default()
    });
    stand.publish(200);
    stand.until_stored();
    stand.service.script.lock().unwrap().shards = 8;
    stand.publish(400);
    stand.until("a new map", |stand| {
        stand
            .sender
            .status()
            .first()
            .is_some_and(|stream| stream.shards == 8 && stream.map_epoch == 2)
    });
    stand.publish(400);
    stand.until_stored();
    stand.check_order();
}

#[test]
fn a_drain_sends_what_lingers() {
    let mut stand = Stand::new(Script {
        shards: 2,
        ..Script::default()
    });
    stand.publish(10);
    stand.control.begin_drain();
    stand.until_stored();
    assert!(!stand.sender.is_finished());
}
