//! The parts of a turn: what an answer changes, what a stream does when it has something to do.

use std::sync::Arc;

use forebay_core::Time;

use super::stream::{Call, CallResult, Hands, NewMap, Outgoing, StreamSink};
use super::{PUBLISH_INTERVAL, SLEEP_MAX, Sender};
use crate::aggregator::{Permits, RequestId};
use crate::api::{KinesisApi, PutRecordsAnswer};
use crate::classify::{CallError, is_for_error_action};
use crate::discovery::{Finding, Look};
use crate::metrics::Refresh;
use crate::status::LastError;
use crate::virtual_lanes;

impl<A: KinesisApi> Sender<A> {
    /// Takes a call that has come back.
    pub(super) fn returned(&mut self, call: Call, now: Time) {
        let Call {
            stream: index,
            generation,
            result,
        } = call;
        match result {
            CallResult::Put {
                request,
                bytes,
                answer,
            } => {
                self.in_flight.requests -= 1;
                self.in_flight.bytes -= bytes;
                self.answered(index, generation, request, answer, now);
                while let Some(starved) = self.starved.pop_front() {
                    if let Some(sink) = self.stream_mut(starved) {
                        sink.starved = false;
                    }
                    self.mark(starved);
                }
            }
            CallResult::Look(look) => self.looked(index, generation, *look, now),
        }
        self.mark(index);
    }

    fn answered(
        &mut self,
        index: usize,
        generation: u64,
        id: RequestId,
        answer: Result<PutRecordsAnswer, CallError>,
        now: Time,
    ) {
        let Some(sink) = self.streams.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        if sink.generation != generation {
            return;
        }
        let request = sink
            .aggregator
            .request(id)
            .expect("a request is in flight until it is answered");
        sink.metrics
            .answered(answer.is_ok(), now.since(request.sent()));
        let mut outgoing = Vec::new();
        let mut hands = Hands {
            stream: &sink.stream,
            settlement: &mut self.settlement,
            metrics: &mut sink.metrics,
            discovery: &mut sink.discovery,
            logs: &mut sink.logs,
            config: &self.config,
            bodies: &self.bodies,
            outgoing: &mut outgoing,
            inherited: self.inherited.as_mut(),
            now,
            refresh_credentials: false,
        };
        sink.aggregator
            .answer(id, answer, now, &mut self.entropy, &mut hands);
        let refresh = hands.refresh_credentials;
        sink.metrics.flush();
        if refresh {
            self.api.refresh_credentials();
        }
        // What is settled is no longer counted here before it is counted there: a scrape never finds a record twice.
        self.held = sink.count_held(self.held);
        self.port.set_held(self.held);
        // One answer, one settlement: whoever waits for these records need not wait for other streams.
        self.settlement.flush();
    }

    fn looked(&mut self, index: usize, generation: u64, look: Look, now: Time) {
        let Some(sink) = self.streams.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        if sink.generation != generation {
            return;
        }
        let finding = sink.discovery.found(look, now, &mut self.entropy);
        if let Some(limit) = sink.discovery.record_bytes_max() {
            sink.aggregator.set_record_limit(limit);
        }
        let stream = sink.stream.name().as_str();
        if !matches!(finding, Finding::Failed { .. }) && sink.undiscovered.take().is_some() {
            sink.metrics.set_blocked(sink.aggregator.blocked());
            tracing::error!(stream, "shards of the stream are known: it works again");
        }
        match finding {
            Finding::Unchanged => sink.metrics.refreshed(Refresh::Unchanged),
            Finding::Changed { map, recreated } => {
                sink.metrics.refreshed(Refresh::Changed);
                let old = sink.aggregator.map().map_or(0, |map| map.len());
                tracing::info!(stream, old, new = map.len(), recreated, "shard map changed");
                sink.new_map = Some(NewMap { map, recreated });
                sink.aggregator.change_map();
            }
            Finding::Failed { code, message } => {
                sink.metrics.refreshed(Refresh::Failed);
                let unknown = sink.aggregator.map().is_none();
                if unknown && is_for_error_action(&code) {
                    sink.logs.look_failed(stream, &code, &message, now);
                    sink.last_look_error = Some(LastError::new(&code, &message, now));
                    // What PutRecords itself says decides: it may be permitted, and if the stream does not exist its
                    // records must reach the error actions of their rules.
                    if sink.new_map.is_none() && !sink.installing {
                        sink.new_map = Some(NewMap {
                            map: virtual_lanes::map(),
                            recreated: false,
                        });
                        sink.aggregator.change_map();
                    }
                    return;
                }
                if unknown && sink.undiscovered.is_none() {
                    tracing::error!(
                        stream,
                        code = code.as_str(),
                        detail = message,
                        "stream blocked: its shards are not known"
                    );
                } else {
                    sink.logs.look_failed(stream, &code, &message, now);
                }
                if unknown {
                    sink.metrics.set_blocked(Some(&code));
                    sink.undiscovered = Some(code.clone());
                }
                sink.last_look_error = Some(LastError::new(&code, &message, now));
            }
        }
    }

    /// Lets every stream go on that has something to do.
    pub(super) fn serve_dirty(&mut self, now: Time) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let any = !dirty.is_empty();
        for index in dirty.drain(..) {
            if let Some(mut sink) = self.streams.get_mut(index).and_then(Option::take) {
                sink.marked = false;
                self.serve(index, &mut sink, now);
                self.streams[index] = Some(sink);
            }
        }
        // Whatever was marked meanwhile is on the new list.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        if any {
            self.port.set_held(self.held);
        }
    }

    fn serve(&mut self, index: usize, sink: &mut StreamSink, now: Time) {
        let mut outgoing = Vec::new();
        let mut permits = Permits {
            requests: self
                .config
                .inflight_requests
                .saturating_sub(self.in_flight.requests),
            bytes: self
                .config
                .inflight_bytes
                .saturating_sub(self.in_flight.bytes),
        };
        sink.aggregator.set_ordering(sink.stream.ordering(), now);
        let shed = sink.stream.take_shed();
        let mut hands = Hands {
            stream: &sink.stream,
            settlement: &mut self.settlement,
            metrics: &mut sink.metrics,
            discovery: &mut sink.discovery,
            logs: &mut sink.logs,
            config: &self.config,
            bodies: &self.bodies,
            outgoing: &mut outgoing,
            inherited: self.inherited.as_mut(),
            now,
            refresh_credentials: false,
        };
        sink.aggregator.poll(now, &mut permits, &mut hands);
        if shed > 0 {
            sink.aggregator.shed(shed, &mut hands);
        }
        sink.metrics.flush();
        for request in outgoing {
            self.send(index, sink, request);
        }
        if sink.aggregator.is_starved() && !sink.starved {
            sink.starved = true;
            self.starved.push_back(index);
        }
        if sink.discovery.begin(now) {
            self.look(index, sink);
        }
        self.install_new_map(sink);
        self.held = sink.count_held(self.held);
        self.publish(index, sink, now);
        self.set_timer(index, sink);
    }

    fn send(&mut self, index: usize, sink: &StreamSink, outgoing: Outgoing) {
        let Outgoing {
            request,
            body,
            bytes,
        } = outgoing;
        let api = Arc::clone(&self.api);
        let name = sink.stream.name().clone();
        let generation = sink.generation;
        let timeout = self.config.attempt_timeout_for(body.len());
        self.in_flight.requests += 1;
        self.in_flight.bytes += bytes;
        self.calls.spawn(async move {
            let answer = api.put_records(&name, body, timeout).await;
            Call {
                stream: index,
                generation,
                result: CallResult::Put {
                    request,
                    bytes,
                    answer,
                },
            }
        });
    }

    fn look(&mut self, index: usize, sink: &StreamSink) {
        let api = Arc::clone(&self.api);
        let name = sink.stream.name().clone();
        let generation = sink.generation;
        self.calls.spawn(async move {
            let shards = api.list_shards(&name).await;
            let summary = api.describe_summary(&name).await;
            let look = Box::new(Look { shards, summary });
            Call {
                stream: index,
                generation,
                result: CallResult::Look(look),
            }
        });
    }

    /// Hands a new map to the pipeline: the first one at once, a later one when nothing is in flight.
    fn install_new_map(&mut self, sink: &mut StreamSink) {
        if sink.new_map.is_none() || sink.installing {
            return;
        }
        let returned = if sink.aggregator.can_give_back() {
            sink.aggregator.give_back()
        } else if sink.aggregator.map().is_none() {
            Vec::new()
        } else {
            return;
        };
        let Some(NewMap { map, recreated }) = sink.new_map.take() else {
            return;
        };
        sink.forget |= recreated;
        sink.installing = true;
        self.held = sink.count_held(self.held);
        self.port.set_held(self.held);
        // Whatever is settled must be known before the rest is dealt again, or it would be sent twice.
        self.settlement.flush();
        self.port.install_map(&sink.stream, map, returned);
    }

    /// Shows the figures, but not more often than is useful.
    fn publish(&mut self, index: usize, sink: &mut StreamSink, now: Time) {
        let soonest = sink.published + PUBLISH_INTERVAL;
        if soonest > now {
            sink.publish_due = soonest;
            return;
        }
        sink.published = now;
        self.board.publish(index, sink.publish(now));
        // Ages grow by themselves.
        sink.publish_due = if sink.held > 0 {
            now + SLEEP_MAX
        } else {
            Time::NEVER
        };
    }

    fn set_timer(&mut self, index: usize, sink: &mut StreamSink) {
        let due = sink
            .aggregator
            .due()
            .min(sink.discovery.due())
            .min(sink.publish_due);
        if due == sink.timer {
            return;
        }
        self.timers.remove(&(sink.timer, index));
        sink.timer = due;
        if due != Time::NEVER {
            self.timers.insert((due, index));
        }
    }

    /// The end: what was promised to nobody is counted as failed.
    pub(super) fn abandon(&mut self) {
        let now = self.clock.now();
        let mut left = 0;
        for sink in self.streams.iter_mut().flatten() {
            let mut hands = Hands {
                stream: &sink.stream,
                settlement: &mut self.settlement,
                metrics: &mut sink.metrics,
                discovery: &mut sink.discovery,
                logs: &mut sink.logs,
                config: &self.config,
                bodies: &self.bodies,
                outgoing: &mut Vec::new(),
                inherited: None,
                now,
                refresh_credentials: false,
            };
            left += sink.aggregator.abandon(&mut hands);
        }
        self.settlement.flush();
        self.port.set_held(left);
        if left > 0 {
            tracing::warn!(
                records = left,
                "sender stopped with records that are not stored"
            );
        }
    }
}
