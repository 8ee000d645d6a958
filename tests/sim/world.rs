//! The world: one queue of events in simulated time around the production state machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{
    AckMode, Entropy, HashKey, Message, OnFull, Ordering, Origin, QoS, SeededEntropy, ShardMap,
    Ticket, Time,
};
use forebay_kinesis::aggregator::{Aggregator, Batches, Permits, RequestId};
use forebay_kinesis::api::{EntryAnswer, PutRecordsAnswer};
use forebay_kinesis::classify::{CallError, CallFailure};
use forebay_kinesis::config::{BatchSettings, RateLimit};
use forebay_metrics::Registry;
use forebay_pipeline::{
    Admission, Drained, Pipeline, PipelineConfig, Publish, Settlement, SinkEvent, Stream,
};
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};

use crate::devices::{Connection, Outgoing};
use crate::service::{Landing, Met, Sent, Service, Verdict};
use crate::shell::{Asked, Trace, Woken};

const WORKERS: usize = 2;
/// Time after which nothing goes wrong any more.
const HEALTHY_FROM: Time = Time::from_millis(20_000);
/// Nothing may take longer than this.
const END: Time = Time::from_millis(250_000);
/// How long an answer is waited for.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Debug)]
enum Event {
    Publish(usize),
    Flush(usize),
    Sequence,
    Sink,
    Worker(usize),
    Poll,
    Answer(RequestId, Result<PutRecordsAnswer, CallError>),
    Land(Vec<Sent>),
    Reshard,
    NewMap,
    Heal,
}

/// The one stream of a run, as the sink drives it.
struct Driven {
    stream: Arc<Stream>,
    aggregator: Aggregator,
    settlement: Settlement,
}

pub(crate) struct World {
    pub(crate) ordering: Ordering,
    entropy: SeededEntropy,
    jitter: SeededEntropy,
    now: Time,
    events: BTreeMap<(Time, u64), Event>,
    next_event: u64,
    pipeline: Pipeline,
    settings: BatchSettings,
    driven: Option<Driven>,
    permits: Permits,
    pub(crate) service: Service,
    pub(crate) connections: Vec<Connection>,
    scheduled: BTreeSet<&'static str>,
    sequencer_woken: Arc<Woken>,
    sink_woken: Arc<Woken>,
    workers_woken: [Arc<Woken>; WORKERS],
    /// The requests that carried each record.
    pub(crate) requests: BTreeMap<(String, u64), BTreeSet<RequestId>>,
    /// Records of requests whose outcome nobody knew.
    pub(crate) unclear: BTreeSet<(String, u64)>,
    pub(crate) inversions: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) bounds: Option<String>,
    trace: Trace,
}

fn rules() -> Arc<RuleSet> {
    let document = br#"{"sql": "SELECT * FROM 'sim/#'", "awsIotSqlVersion": "2016-03-23", "actions": [
        {"kinesis": {"streamName": "sim", "partitionKey": "${topic()}", "roleArn": "arn:aws:iam::1:role/r"}}]}"#;
    let document = RuleDocument::from_json(document, Some("sim")).unwrap();
    Arc::new(
        RuleSet::build(
            vec![(document, RuleSettings::default())],
            RuleLimits::default(),
        )
        .unwrap(),
    )
}

impl World {
    pub(crate) fn new(seed: u64, ordering: Ordering) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let config = PipelineConfig {
            workers: WORKERS,
            ingest_bytes: 16 * 1024 + entropy.below(256 * 1024),
            per_stream_share: 0.5,
            on_full: OnFull::Block,
            ordering,
            record_deadline: Some(Duration::from_secs(300)),
            output_bytes_per_message: 8 * 1024,
            max_streams: 4,
            stream_idle: Duration::from_secs(600),
            rule_label_limit: 4,
            ..PipelineConfig::default()
        };
        let settings = BatchSettings {
            linger: Duration::from_millis(entropy.below(20)),
            send_on_idle: entropy.below(2) == 0,
            records_per_request: 1 + entropy.below(60) as usize,
            rate_limit: match entropy.below(2) {
                0 => RateLimit::Off,
                _ => RateLimit::Percent(20 + entropy.below(200) as u32),
            },
            inflight_per_lane: match entropy.below(3) {
                0 => Some(1 + entropy.below(3) as u32),
                _ => None,
            },
            inflight_per_stream: 1 + entropy.below(8) as u32,
            lane_bytes: 2048 + entropy.below(65_536) as usize,
            ..BatchSettings::default()
        };
        let connections = 2 + entropy.below(6) as usize;
        let connections: Vec<_> = (0..connections)
            .map(|index| Connection::new(index, WORKERS, &mut entropy))
            .collect();
        let pipeline: Pipeline = Pipeline::new(config, &rules(), &Registry::new(), &mut entropy);
        let service = Service::new(ordering, &mut entropy);
        let mut world = Self {
            ordering,
            jitter: SeededEntropy::new(seed ^ 0x5eed),
            entropy,
            now: Time::ZERO,
            events: BTreeMap::new(),
            next_event: 0,
            pipeline,
            settings,
            driven: None,
            permits: Permits {
                requests: 6,
                bytes: 1 << 20,
            },
            service,
            connections,
            scheduled: BTreeSet::new(),
            sequencer_woken: Arc::default(),
            sink_woken: Arc::default(),
            workers_woken: Default::default(),
            requests: BTreeMap::new(),
            unclear: BTreeSet::new(),
            inversions: 0,
            failed: Vec::new(),
            bounds: None,
            trace: Trace::default(),
        };
        world
            .pipeline
            .sequencer
            .set_wake(world.sequencer_woken.clone());
        world.pipeline.sink.set_wake(world.sink_woken.clone());
        for (intake, woken) in world.pipeline.intakes.iter().zip(&world.workers_woken) {
            intake.set_wake(woken.clone());
        }
        for index in 0..world.connections.len() {
            world.after(10_000, Event::Publish(index));
        }
        for _ in 0..world.entropy.below(4) {
            world.after(15_000_000, Event::Reshard);
        }
        world.events.insert((HEALTHY_FROM, u64::MAX), Event::Heal);
        world
    }

    pub(crate) fn trace(&self) -> &str {
        &self.trace.0
    }

    pub(crate) fn met(&self) -> Met {
        Met {
            inversions: self.inversions as u64,
            ..self.service.met
        }
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub(crate) fn end(&self) -> Time {
        self.now
    }

    /// Runs until every message is published and answered and nothing is left to happen.
    pub(crate) fn run(&mut self) {
        while let Some(((time, _), event)) = self.next() {
            self.now = self.now.max(time);
            if self.now > END || self.bounds.is_some() {
                return;
            }
            self.handle(event);
            self.follow_wakes();
            self.check_bounds();
        }
    }

    fn next(&mut self) -> Option<((Time, u64), Event)> {
        let due = self
            .driven
            .as_ref()
            .map_or(Time::NEVER, |driven| driven.aggregator.due());
        match self.events.keys().next() {
            Some((time, _)) if *time <= due => self.events.pop_first(),
            _ if due < Time::NEVER => Some(((due, 0), Event::Poll)),
            _ => None,
        }
    }

    /// Something happens within `micros` from now.
    fn after(&mut self, micros: u64, event: Event) {
        let delay = Duration::from_micros(self.entropy.below(micros.max(1)));
        self.at(self.now + delay, event);
    }

    fn at(&mut self, time: Time, event: Event) {
        self.next_event += 1;
        self.events.insert((time, self.next_event), event);
    }

    /// As [`after`](Self::after), unless the same is on its way already.
    fn soon(&mut self, name: &'static str, event: Event) {
        if self.scheduled.insert(name) {
            self.after(2_000, event);
        }
    }

    /// Whoever was woken looks into its mailbox soon.
    fn follow_wakes(&mut self) {
        if self.sequencer_woken.take() {
            self.soon("sequence", Event::Sequence);
        }
        if self.sink_woken.take() {
            self.soon("sink", Event::Sink);
        }
        for (worker, name) in WORKER.into_iter().enumerate() {
            if self.workers_woken[worker].take() {
                self.soon(name, Event::Worker(worker));
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Publish(index) => self.publish(index),
            Event::Flush(worker) => {
                self.scheduled.remove(FLUSH[worker]);
                self.pipeline.intakes[worker].flush();
            }
            Event::Sequence => {
                self.scheduled.remove("sequence");
                if self.pipeline.sequencer.step(self.now) {
                    self.soon("sequence", Event::Sequence);
                }
            }
            Event::Sink => self.sink_events(),
            Event::Poll => self.poll(),
            Event::Worker(worker) => self.worker(worker),
            Event::Answer(id, answer) => self.answer(id, answer),
            Event::Land(records) => records.iter().for_each(|record| self.service.store(record)),
            Event::Reshard => {
                self.service.reshard(&mut self.entropy);
                self.after(3_000_000, Event::NewMap);
            }
            Event::NewMap => self.change_map(),
            Event::Heal => self.service.heal(),
        }
    }

    fn publish(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let worker = connection.worker;
        let Some(outgoing) = connection.next(&mut self.entropy) else {
            if self.connections[index].left > 0 {
                self.after(20_000, Event::Publish(index));
            }
            return;
        };
        let Outgoing {
            topic,
            payload,
            qos,
            slot,
        } = outgoing;
        let payload = Bytes::from(payload);
        let ticket = Ticket {
            worker: worker as u16,
            connection: index as u32,
            generation: 0,
            slot,
        };
        let message = Message {
            topic: &topic,
            payload: &payload,
            client_id: None,
            timestamp_ms: 0,
            origin: &Origin::UNKNOWN,
        };
        let publish = Publish {
            qos,
            ticket,
            listener_ack: AckMode::Stored,
            may_reject: false,
            packet_id: 1,
        };
        let admission = self.pipeline.intakes[worker].publish(&message, publish, self.now);
        self.trace
            .line(self.now, format_args!("publish {topic} {admission:?}"));
        self.connections[index].admitted(qos, slot, admission);
        if self.connections[index].parked {
            self.service.met.parked += 1;
        }
        self.soon(FLUSH[worker], Event::Flush(worker));
        let pause = if self.entropy.below(20) == 0 {
            500_000
        } else {
            5_000
        };
        self.after(pause, Event::Publish(index));
    }

    fn worker(&mut self, worker: usize) {
        self.scheduled.remove(WORKER[worker]);
        let mut drained = Drained::default();
        self.pipeline.intakes[worker].drain(&mut drained, self.now);
        for resumed in drained.resumed {
            let connection = &mut self.connections[resumed.connection as usize];
            connection.parked = false;
            if let Admission::Pending { .. } = resumed.admission {
                connection.admitted(QoS::AtLeastOnce, resumed.slot, resumed.admission);
            }
            self.soon(FLUSH[worker], Event::Flush(worker));
        }
        for finished in drained.finished {
            self.connections[finished.connection as usize]
                .ring
                .finish(finished.slot, finished.failed);
        }
        for connection in &mut self.connections {
            for answer in connection.take_answers(&self.service.copies) {
                self.trace.line(self.now, format_args!("answer {answer:?}"));
            }
        }
    }

    fn sink_events(&mut self) {
        self.scheduled.remove("sink");
        while let Some(event) = self.pipeline.sink.next_event() {
            match event {
                SinkEvent::Opened(stream) => {
                    let aggregator = Aggregator::new(self.settings.clone(), stream.ordering());
                    let settlement = self.pipeline.sink.settlement();
                    self.pipeline
                        .sink
                        .install_map(&stream, self.service.map(), Vec::new());
                    self.driven = Some(Driven {
                        stream,
                        aggregator,
                        settlement,
                    });
                }
                SinkEvent::Lanes { table, .. } => {
                    let driven = self.driven.as_mut().unwrap();
                    let map: Arc<ShardMap> = Arc::clone(&table.map);
                    let batches: Arc<dyn Batches> = table.clone();
                    driven
                        .aggregator
                        .install(table.epoch, map, batches, self.now, false);
                }
                SinkEvent::Ready(_) => self.driven.as_mut().unwrap().aggregator.ready(self.now),
                SinkEvent::Closed(_) | SinkEvent::Drain => {}
            }
        }
        self.poll();
    }

    fn poll(&mut self) {
        let Some(driven) = &mut self.driven else {
            return;
        };
        let mut asked = Asked::default();
        driven
            .aggregator
            .poll(self.now, &mut self.permits, &mut asked);
        self.carry_out(asked);
    }

    fn change_map(&mut self) {
        if let Some(driven) = &mut self.driven {
            driven.aggregator.change_map();
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let Some(driven) = &mut self.driven else {
            return;
        };
        if driven.aggregator.can_give_back() {
            let returned = driven.aggregator.give_back();
            self.trace
                .line(self.now, format_args!("gives back {}", returned.len()));
            self.pipeline
                .sink
                .install_map(&driven.stream, self.service.map(), returned);
        }
    }

    fn answer(&mut self, id: RequestId, answer: Result<PutRecordsAnswer, CallError>) {
        let Some(driven) = &mut self.driven else {
            return;
        };
        let bytes = driven.aggregator.request(id).unwrap().bytes();
        self.permits.requests += 1;
        self.permits.bytes = (self.permits.bytes + bytes).min(1 << 20);
        let mut asked = Asked::default();
        driven
            .aggregator
            .answer(id, answer, self.now, &mut self.jitter, &mut asked);
        self.carry_out(asked);
        self.give_back();
        self.poll();
    }

    fn carry_out(&mut self, asked: Asked) {
        self.inversions += asked.inversions;
        for (id, records) in asked.sent {
            self.send(id, records);
        }
        let driven = self.driven.as_mut().unwrap();
        for entry in asked.stored {
            driven.settlement.stored(&driven.stream, entry.record);
        }
        for (entry, reason) in asked.failed {
            self.failed
                .push(format!("{} {reason:?}", entry.record.partition_key));
            driven
                .settlement
                .failed(&driven.stream, entry.record, || reason.into());
        }
        driven.settlement.flush();
        self.pipeline.sink.set_held(driven.aggregator.held());
        if asked.wrong_shard {
            self.after(100_000, Event::NewMap);
        }
    }

    fn send(&mut self, id: RequestId, records: Vec<Sent>) {
        self.trace
            .line(self.now, format_args!("send {id:?} {}", records.len()));
        for record in &records {
            let carried = self
                .requests
                .entry((record.key.clone(), record.number))
                .or_default();
            carried.insert(id);
        }
        match self.service.put(&records, &mut self.entropy) {
            Verdict::Answer(answer) => {
                for (record, entry) in records.iter().zip(&answer.entries) {
                    if matches!(entry, EntryAnswer::Refused { code, .. } if code == "InternalFailure")
                    {
                        self.unclear.insert((record.key.clone(), record.number));
                    }
                }
                self.after(50_000, Event::Answer(id, Ok(answer)));
            }
            Verdict::Refused(error) => self.after(50_000, Event::Answer(id, Err(error))),
            Verdict::Lost(landing) => {
                self.unclear
                    .extend(records.iter().map(|r| (r.key.clone(), r.number)));
                let error = CallError::local(CallFailure::Unclear, "AttemptTimeout", "no answer");
                self.at(self.now + ATTEMPT_TIMEOUT, Event::Answer(id, Err(error)));
                match landing {
                    Landing::AtOnce => records.iter().for_each(|record| self.service.store(record)),
                    Landing::Late => self.after(12_000_000, Event::Land(records)),
                    Landing::Never => {}
                }
            }
        }
    }

    fn check_bounds(&mut self) {
        let (used, limit) = self.pipeline.control.ingest_bytes();
        if used > limit {
            self.bounds = Some(format!("ingest holds {used} of {limit} bytes"));
        }
        if let Some(driven) = &self.driven {
            let (used, share) = (driven.stream.used_bytes(), driven.stream.share_bytes());
            if used > share {
                self.bounds = Some(format!("the stream holds {used} of {share} bytes"));
            }
            let in_flight = driven.aggregator.in_flight();
            if in_flight > self.settings.inflight_per_stream as usize {
                self.bounds = Some(format!("{in_flight} requests in flight"));
            }
        }
    }
}

const FLUSH: [&str; WORKERS] = ["flush 0", "flush 1"];
const WORKER: [&str; WORKERS] = ["worker 0", "worker 1"];

/// The hash key that the vectors of the service know for a key.
pub(crate) fn hash_of(key: &str) -> HashKey {
    HashKey::of_partition_key(key)
}
