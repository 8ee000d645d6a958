//! A broker with a real pipeline behind it, and a sink in the test's hands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::sync::{Parker, Unparker};
use forebay_broker::{Broker, BrokerConfig, BrokerParts, BrokerStatus, RunningBroker, StartError};
use forebay_core::{
    Clock, Fs, OnFull, Ordering as RecordOrder, SeededEntropy, ShardMap, SystemClock,
};
use forebay_metrics::Registry;
use forebay_pipeline::{
    FailureReason, LaneTable, Pipeline, PipelineConfig, PipelineControl, SequencerThread,
    SinkEvent, SinkPort, Stream, Wake,
};
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};
use forebay_spool::{DiskFs, Spool};
use tempfile::TempDir;

use crate::client::Client;

/// What the sink does with records.
#[derive(Debug, Default)]
pub(crate) struct SinkSwitch {
    /// Records stay where they are.
    pub(crate) paused: AtomicBool,
    /// Records fail for good.
    pub(crate) failing: AtomicBool,
    pub(crate) settled: AtomicU64,
    stop: AtomicBool,
}

/// A broker under test.
pub(crate) struct Bed {
    broker: Option<RunningBroker>,
    pub(crate) sink: Arc<SinkSwitch>,
    pub(crate) registry: Registry,
    pub(crate) control: PipelineControl,
    sink_thread: Option<JoinHandle<()>>,
    unparker: Unparker,
    _sequencer: SequencerThread,
    _spool: Option<TempDir>,
}

/// What a bed is made of.
pub(crate) struct Plan {
    pub(crate) broker: BrokerConfig,
    pub(crate) ingest_bytes: u64,
    pub(crate) on_full: OnFull,
    pub(crate) workers: usize,
    /// Segments of the spool; without one there is none.
    pub(crate) segments: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        let mut broker = BrokerConfig::default();
        broker.listeners[0].bind = SocketAddr::from(([127, 0, 0, 1], 0));
        broker.limits.connects_burst_per_client = 1_000;
        Self {
            broker,
            ingest_bytes: 8 << 20,
            on_full: OnFull::Block,
            workers: 2,
            segments: None,
        }
    }
}

impl Plan {
    /// Changes the broker's configuration.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        change(&mut self.broker);
        self
    }

    pub(crate) fn start(self) -> Bed {
        self.try_start().unwrap()
    }

    pub(crate) fn try_start(self) -> Result<Bed, StartError> {
        let registry = Registry::new();
        let config = PipelineConfig {
            workers: self.workers,
            ingest_bytes: self.ingest_bytes,
            per_stream_share: 1.0,
            on_full: self.on_full,
            ordering: RecordOrder::Key,
            record_deadline: None,
            output_bytes_per_message: 1 << 20,
            max_streams: 10,
            stream_idle: Duration::from_secs(600),
            rule_label_limit: 10,
            ..PipelineConfig::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy = &mut SeededEntropy::new(1);
        let Some(segments) = self.segments else {
            let pipeline = Pipeline::<DiskFs>::new(config, &rules(), &registry, entropy);
            return self.run(pipeline, clock, registry, None);
        };
        let dir = TempDir::new().unwrap();
        let spool = open_spool(&dir, segments);
        let time = Arc::clone(&clock);
        let pipeline = Pipeline::with_log(config, &rules(), &registry, entropy, spool, time);
        self.run(pipeline, clock, registry, Some(dir))
    }

    fn run<F: Fs>(
        self,
        pipeline: Pipeline<F>,
        clock: Arc<dyn Clock>,
        registry: Registry,
        spool: Option<TempDir>,
    ) -> Result<Bed, StartError> {
        let sequencer =
            SequencerThread::start(pipeline.sequencer, Arc::clone(&clock), || {}).unwrap();
        let sink = Arc::new(SinkSwitch::default());
        let (sink_thread, unparker) = start_sink(pipeline.sink, Arc::clone(&sink));
        let broker = Broker::start(
            self.broker,
            BrokerParts {
                intakes: pipeline.intakes,
                clock,
                registry: registry.clone(),
            },
        );
        let (broker, failure) = match broker {
            Ok(broker) => (Some(broker), None),
            Err(error) => (None, Some(error)),
        };
        let bed = Bed {
            broker,
            sink,
            registry,
            control: pipeline.control,
            sink_thread: Some(sink_thread),
            unparker,
            _sequencer: sequencer,
            _spool: spool,
        };
        failure.map_or(Ok(bed), Err)
    }
}

/// An empty spool of small segments.
fn open_spool(dir: &TempDir, segments: u64) -> Spool<DiskFs> {
    const SEGMENT: u64 = 64 << 10;
    let config = forebay_spool::Config {
        segment_bytes: SEGMENT,
        first_bytes: SEGMENT,
        max_bytes: Some(segments * SEGMENT),
        reserve_bytes: Some(0),
        allow_volatile: true,
        ..forebay_spool::Config::new(dir.path())
    };
    let entropy = SeededEntropy::new(2);
    let opened = Spool::open(
        Arc::new(DiskFs),
        config,
        entropy,
        forebay_core::Time::ZERO,
        0,
    );
    opened.unwrap().0
}

/// Messages on `r/#` become records of one stream, acknowledged when they are stored.
fn rules() -> Arc<RuleSet> {
    let rule = |name: &str, sql: &str| {
        let json = serde_json::json!({
            "sql": sql,
            "awsIotSqlVersion": "2016-03-23",
            "actions": [{"kinesis": {
                "streamName": "s", "partitionKey": "${topic()}", "roleArn": "arn:aws:iam::1:role/r"
            }}],
        });
        let document = RuleDocument::from_json(json.to_string().as_bytes(), Some(name)).unwrap();
        (document, RuleSettings::default())
    };
    let documents = vec![
        rule("stored", "SELECT * FROM 'r/#'"),
        rule("basic", "SELECT * FROM 'only/basic/ingest'"),
        rule(
            "origin",
            "SELECT * FROM 'o' WHERE sourceip() = '127.0.0.1' AND get_mqtt_property('content_type') = 'text/x' \
             AND get(get_user_properties('k'), 0) = 'v'",
        ),
    ];
    Arc::new(RuleSet::build(documents, RuleLimits::default()).unwrap())
}

struct Unpark(Unparker);

impl Wake for Unpark {
    fn wake(&self) {
        self.0.unpark();
    }
}

fn start_sink(port: SinkPort, switch: Arc<SinkSwitch>) -> (JoinHandle<()>, Unparker) {
    let parker = Parker::new();
    let unparker = parker.unparker().clone();
    port.set_wake(Arc::new(Unpark(unparker.clone())));
    let thread = std::thread::spawn(move || {
        let mut tables: BTreeMap<String, (Arc<Stream>, Arc<LaneTable>)> = BTreeMap::new();
        while !switch.stop.load(Ordering::SeqCst) {
            while let Some(event) = port.next_event() {
                match event {
                    SinkEvent::Opened(stream) => {
                        port.install_map(&stream, Arc::new(ShardMap::even(2).unwrap()), Vec::new());
                    }
                    SinkEvent::Lanes { stream, table } => {
                        tables.insert(stream.name().to_string(), (stream, table));
                    }
                    _ => {}
                }
            }
            if !switch.paused.load(Ordering::SeqCst) {
                for (stream, table) in tables.values() {
                    settle(&port, &switch, stream, table);
                }
            }
            parker.park_timeout(Duration::from_millis(5));
        }
    });
    (thread, unparker)
}

fn settle(port: &SinkPort, switch: &SinkSwitch, stream: &Arc<Stream>, table: &LaneTable) {
    let mut settlement = port.settlement();
    for lane in &table.lanes {
        while let Some(batch) = lane.pop() {
            for record in batch {
                if switch.failing.load(Ordering::SeqCst) {
                    settlement.failed(stream, record, || FailureReason::Refused.into());
                } else {
                    settlement.stored(stream, record);
                }
                switch.settled.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    settlement.flush();
}

impl Bed {
    pub(crate) fn start() -> Self {
        Plan::default().start()
    }

    pub(crate) fn broker(&self) -> &RunningBroker {
        self.broker.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker().local_addrs()[0]
    }

    pub(crate) fn status(&self) -> BrokerStatus {
        self.broker().observer().status()
    }

    /// A socket that has said nothing.
    pub(crate) fn raw(&self) -> Client {
        Client::open(self.address())
    }

    /// A connected MQTT 3.1.1 client.
    pub(crate) fn v3(&self, id: &str) -> Client {
        let mut client = self.raw();
        client.send(&crate::client::connect_v3(id, 2, 60));
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        client
    }

    /// A connected MQTT 5.0 client.
    pub(crate) fn v5(&self, id: &str) -> Client {
        let mut client = self.raw();
        client.send(&crate::client::connect_v5(id, 2, 60, &[]));
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:x?}");
        client
    }

    /// Waits until the metrics contain `line`.
    pub(crate) fn wait_metric(&self, line: &str) {
        wait_for(&format!("metric {line}"), || {
            self.registry.render().contains(line)
        });
    }

    /// Shows that the broker serves: a message goes through it within a second, in both versions.
    pub(crate) fn assert_serving(&self) {
        for (id, mut client) in [
            ("serving-3", self.v3("serving-3")),
            ("serving-5", self.v5("serving-5")),
        ] {
            let v5 = id == "serving-5";
            client.subscribe(1, &format!("{id}/t"), 0, v5);
            client.publish(&format!("{id}/t"), b"x", 0, 0, v5);
            let message = client.packet();
            assert_eq!(message[0], 0x30);
            assert!(message.ends_with(b"x"));
        }
    }

    pub(crate) fn stop(mut self) {
        self.broker.take().unwrap().join();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.sink.stop.store(true, Ordering::SeqCst);
        self.unparker.unpark();
        drop(self.broker.take());
        if let Some(thread) = self.sink_thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Polls a condition until it holds; fails after ten seconds.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !condition() {
        assert!(
            clock.now().since(forebay_core::Time::ZERO) < Duration::from_secs(10),
            "not within ten seconds: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
