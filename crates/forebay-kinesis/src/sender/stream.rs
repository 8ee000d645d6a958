//! One stream at the sender: its state machines, its metrics, and what is under way for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use forebay_core::{ShardMap, Time};
use forebay_pipeline::{DuplicateSource, Inherited, LaneTable, RecordFailure, Settlement, Stream};

use crate::aggregator::{Aggregator, Effects, Entry, Failure, Note, Request, RequestId};
use crate::api::PutRecordsAnswer;
use crate::body_pool::BodyPool;
use crate::classify::{CallError, is_credential_code};
use crate::config::KinesisConfig;
use crate::discovery::{Discovery, Look};
use crate::encode;
use crate::log_gate::LogGate;
use crate::metrics::{SinkMetrics, Stored, StreamMetrics};
use crate::status::{LastError, Published, StreamStatus};

/// Shortest time between two lines about throttling of a shard.
const THROTTLE_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The same for failed records, failed requests and failed looks of a stream.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A call that has come back.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) stream: usize,
    pub(super) generation: u64,
    pub(super) result: CallResult,
}

#[derive(Debug)]
pub(super) enum CallResult {
    Put {
        request: RequestId,
        bytes: usize,
        answer: Result<PutRecordsAnswer, CallError>,
    },
    Look(Box<Look>),
}

/// A request that is to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: RequestId,
    pub(super) body: Bytes,
    pub(super) bytes: usize,
}

/// A map that waits to be installed.
#[derive(Debug)]
pub(super) struct NewMap {
    pub(super) map: Arc<ShardMap>,
    pub(super) recreated: bool,
}

#[derive(Debug)]
pub(super) struct StreamSink {
    pub(super) stream: Arc<Stream>,
    pub(super) generation: u64,
    pub(super) aggregator: Aggregator,
    pub(super) discovery: Discovery,
    pub(super) metrics: StreamMetrics,
    pub(super) new_map: Option<NewMap>,
    /// A map was handed to the pipeline and its lanes are on the way.
    pub(super) installing: bool,
    /// What was learned about the shards is void with the next lanes.
    pub(super) forget: bool,
    /// The code for which the shards are not known.
    pub(super) undiscovered: Option<CompactString>,
    pub(super) last_look_error: Option<LastError>,
    pub(super) logs: Logs,
    /// When the figures are published next; [`Time::NEVER`] when they are up to date and nothing ages.
    pub(super) publish_due: Time,
    pub(super) published: Time,
    /// Records that the sink holds of this stream, as it was counted last.
    pub(super) held: usize,
    /// Its entry among the timers; [`Time::NEVER`] for none.
    pub(super) timer: Time,
    /// On the list of streams with something to do.
    pub(super) marked: bool,
    /// On the list of streams that wait for permits.
    pub(super) starved: bool,
}

/// Gates of repeated log lines.
#[derive(Debug, Default)]
pub(super) struct Logs {
    throttled: Vec<LogGate>,
    failed: LogGate,
    request: LogGate,
    pub(super) look: LogGate,
}

impl Logs {
    pub(super) fn look_failed(&mut self, stream: &str, code: &str, message: &str, now: Time) {
        if let Some(suppressed) = self.look.pass(ERROR_LOG_INTERVAL, now) {
            tracing::warn!(
                stream,
                code,
                detail = message,
                suppressed,
                "shards of the stream cannot be listed"
            );
        }
    }
}

impl StreamSink {
    pub(super) fn new(
        stream: Arc<Stream>,
        generation: u64,
        config: &KinesisConfig,
        metrics: &SinkMetrics,
        now: Time,
    ) -> Self {
        Self {
            aggregator: Aggregator::new(config.batch.clone(), stream.ordering()),
            discovery: Discovery::new(now),
            metrics: StreamMetrics::new(metrics, stream.name()),
            stream,
            generation,
            new_map: None,
            installing: false,
            forget: false,
            undiscovered: None,
            last_look_error: None,
            logs: Logs::default(),
            publish_due: now,
            published: Time::ZERO,
            held: 0,
            timer: Time::NEVER,
            marked: false,
            starved: false,
        }
    }

    /// The pipeline has made lanes.
    pub(super) fn lanes(&mut self, table: Arc<LaneTable>, now: Time) {
        self.installing = false;
        self.logs.throttled = vec![LogGate::default(); table.lanes.len()];
        let forget = std::mem::take(&mut self.forget);
        let map = Arc::clone(&table.map);
        self.aggregator
            .install(table.epoch, map, table, now, forget);
        if self.new_map.is_some() {
            // A still newer map came meanwhile.
            self.aggregator.change_map();
        }
    }

    /// Why nothing of the stream is sent, when that needs a person.
    pub(super) fn blocked(&self) -> Option<&str> {
        self.undiscovered
            .as_deref()
            .or_else(|| self.aggregator.blocked())
    }

    /// Counts what the stream holds, from its queues. Takes what all streams held and returns what they hold now.
    pub(super) fn count_held(&mut self, all: usize) -> usize {
        let held = self.aggregator.held();
        all + held - std::mem::replace(&mut self.held, held)
    }

    /// Looks at the queues and shows what is there.
    pub(super) fn publish(&mut self, now: Time) -> Published {
        let figures = self.aggregator.lane_figures(now);
        let shards = self.aggregator.map().map_or(0, |map| map.len());
        let in_flight = self.aggregator.in_flight();
        self.metrics.show_lanes(&figures, now);
        let bytes = self.aggregator.in_flight_bytes();
        self.metrics
            .show_stream(self.aggregator.epoch(), shards, in_flight, bytes);
        let errors = [self.aggregator.last_error(), self.last_look_error.as_ref()];
        let last_error = errors.into_iter().flatten().max_by_key(|error| error.at);
        let oldest = figures.iter().filter_map(|lane| lane.oldest).min();
        let status = StreamStatus {
            name: self.stream.name().as_str().to_owned(),
            shards,
            map_epoch: self.aggregator.epoch(),
            pending: self.held,
            pending_bytes: figures.iter().map(|lane| lane.pending_bytes).sum(),
            in_flight,
            oldest_pending: None,
            blocked: self.blocked().map(str::to_owned),
            last_error: last_error.cloned(),
            cautious_lanes: figures.iter().filter(|lane| lane.cautious).count(),
            limiter_factor: figures.iter().map(|lane| lane.factor).fold(1.0, f64::min),
        };
        Published { status, oldest }
    }
}

/// What the aggregator wants done, done.
pub(super) struct Hands<'a> {
    pub(super) stream: &'a Arc<Stream>,
    pub(super) settlement: &'a mut Settlement,
    pub(super) metrics: &'a mut StreamMetrics,
    pub(super) discovery: &'a mut Discovery,
    pub(super) logs: &'a mut Logs,
    pub(super) config: &'a KinesisConfig,
    pub(super) bodies: &'a BodyPool,
    pub(super) outgoing: &'a mut Vec<Outgoing>,
    /// What is still to be counted of it.
    pub(super) inherited: Option<&'a mut Inherited>,
    pub(super) now: Time,
    /// The credentials seem to be the trouble.
    pub(super) refresh_credentials: bool,
}

impl Effects for Hands<'_> {
    fn send(&mut self, request: &Request) {
        let name = self.stream.name();
        let mut body = self
            .bodies
            .take(encode::body_bytes(name, request.records()));
        encode::put_records(name, request.records(), &mut body);
        self.metrics.sent(request, &self.config.batch);
        self.outgoing.push(Outgoing {
            request: request.id(),
            body: self.bodies.freeze(body),
            bytes: request.bytes(),
        });
    }

    fn stored(&mut self, lane: usize, entry: Entry, sent: Time) {
        let record = entry.record;
        self.metrics.stored(
            lane,
            Stored {
                bytes: record.kinesis_len(),
                retries: entry.attempts.saturating_sub(1),
                buffered: sent.since(record.admitted),
                end_to_end: self.now.since(record.admitted),
            },
        );
        self.settlement.stored(self.stream, record);
    }

    fn failed(&mut self, entry: Entry, failure: &Failure<'_>) {
        self.metrics.failed(failure.reason);
        if let Some(suppressed) = self.logs.failed.pass(ERROR_LOG_INTERVAL, self.now) {
            tracing::error!(
                stream = self.stream.name().as_str(),
                reason = failure.reason.as_str(),
                code = failure.code,
                detail = failure.message,
                attempts = entry.attempts,
                bytes = entry.record.kinesis_len(),
                suppressed,
                "record failed for good"
            );
        }
        let Entry {
            record,
            attempts,
            ambiguous,
        } = entry;
        self.settlement
            .failed(self.stream, record, || RecordFailure {
                reason: failure.reason,
                code: failure.code.to_owned(),
                message: failure.message.to_owned(),
                status: failure.status,
                attempts,
                ambiguous,
            });
    }

    fn note(&mut self, note: Note<'_>) {
        let stream = self.stream.name().as_str();
        match note {
            Note::RecordRefused { lane, code } => self.metrics.record_refused(lane, code),
            Note::RequestFailed {
                code,
                message,
                request_id,
                records,
            } => {
                self.metrics.request_failed(code);
                if let Some(suppressed) = self.logs.request.pass(ERROR_LOG_INTERVAL, self.now) {
                    tracing::warn!(
                        stream,
                        code,
                        message,
                        request_id,
                        records,
                        suppressed,
                        "request failed"
                    );
                }
            }
            Note::Throttled { lane, records } => {
                let gate = self.logs.throttled.get_mut(lane);
                if let Some(suppressed) =
                    gate.and_then(|gate| gate.pass(THROTTLE_LOG_INTERVAL, self.now))
                {
                    tracing::warn!(stream, lane, records, suppressed, "records throttled");
                }
            }
            Note::PossibleDuplicates { records } => {
                let source = DuplicateSource::Ambiguous;
                self.metrics.possible_duplicates(source, records as u64);
            }
            Note::Inherited { records } => {
                if let Some(inherited) = &mut self.inherited {
                    let counted = inherited.count(records as u64);
                    self.metrics.possible_duplicates(inherited.source, counted);
                }
            }
            Note::Inversions { records } => self.metrics.inversions(records),
            Note::WrongShard { records, sent } => {
                self.metrics.wrong_shard(records);
                self.discovery.suspect(sent, self.now);
            }
            Note::NotFound => self.discovery.not_found(self.now),
            Note::Blocked {
                reason,
                entered,
                message,
            } => {
                self.metrics.set_blocked(Some(reason));
                self.refresh_credentials |= is_credential_code(reason);
                if entered {
                    tracing::error!(
                        stream,
                        reason,
                        detail = message,
                        "stream blocked: records are held, one probes"
                    );
                }
            }
            Note::Unblocked => {
                self.metrics.set_blocked(None);
                tracing::error!(stream, "stream works again");
            }
        }
    }
}
