//! The sender of one process: the production aggregator of each stream, a model of the calls, and the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{AckMode, Ordering, ShardMap, Time};
use forebay_kinesis::aggregator::{Aggregator, Batches, Permits, RequestId};
use forebay_kinesis::api::{EntryAnswer, PutRecordsAnswer};
use forebay_kinesis::classify::{CallError, CallFailure};
use forebay_kinesis::config::BatchSettings;
use forebay_pipeline::{Settlement, SinkEvent, SinkPort, Stream};

use super::plan::{STREAMS, Wiring};
use super::site::{Event, Owner, Site};
use crate::service::{Landing, Sent, Verdict};
use crate::shell::{Asked, sent};

/// How long an answer is waited for.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);
/// Requests and bytes of all streams that may be out.
const REQUESTS: u32 = 8;
const BYTES: usize = 1 << 20;

/// One stream as the sender drives it.
struct Driven {
    stream: Arc<Stream>,
    aggregator: Aggregator,
    /// A map that waits to be installed.
    new_map: Option<Arc<ShardMap>>,
    /// A map was handed to the pipeline and its lanes are on the way.
    installing: bool,
    /// The numbers of its requests in the ledger.
    out: BTreeMap<u64, RequestId>,
}

pub(super) struct Sender {
    settings: BatchSettings,
    settlement: Settlement,
    /// By place in [`STREAMS`].
    streams: [Option<Driven>; STREAMS.len()],
    requests: u32,
    bytes: usize,
    pub(super) draining: bool,
}

impl Sender {
    pub(super) fn new(settings: BatchSettings, port: &SinkPort) -> Self {
        Self {
            settings,
            settlement: port.settlement(),
            streams: [const { None }; STREAMS.len()],
            requests: 0,
            bytes: 0,
            draining: false,
        }
    }

    /// When a stream has something to do by itself.
    pub(super) fn due(&self) -> Time {
        let due = |driven: &Driven| driven.aggregator.due();
        let dues = self.streams.iter().flatten().map(due);
        dues.min().unwrap_or(Time::NEVER)
    }

    /// Requests that are out.
    pub(super) fn in_flight(&self) -> u32 {
        self.requests
    }

    /// A bound that does not hold.
    pub(super) fn broken_bound(&self) -> Option<String> {
        self.streams.iter().flatten().find_map(|driven| {
            let name = driven.stream.name();
            let (used, share) = (driven.stream.used_bytes(), driven.stream.share_bytes());
            if used > share {
                return Some(format!("{name} holds {used} of {share} bytes"));
            }
            let in_flight = driven.aggregator.in_flight();
            (in_flight > self.settings.inflight_per_stream as usize)
                .then(|| format!("{name} has {in_flight} requests in flight"))
        })
    }

    /// Takes what the pipeline has to say, and lets every stream go on.
    pub(super) fn turn(&mut self, port: &SinkPort, site: &mut Site) {
        while let Some(event) = port.next_event() {
            match event {
                SinkEvent::Opened(stream) => self.opened(stream, site),
                SinkEvent::Lanes { stream, table } => {
                    let driven = self.streams[place(&stream)].as_mut().unwrap();
                    driven.installing = false;
                    let map = Arc::clone(&table.map);
                    let batches: Arc<dyn Batches> = table.clone();
                    let aggregator = &mut driven.aggregator;
                    aggregator.install(table.epoch, map, batches, site.now, false);
                    if driven.new_map.is_some() {
                        aggregator.change_map();
                    }
                }
                SinkEvent::Ready(stream) => {
                    // It may have been let go since.
                    if let Some(driven) = &mut self.streams[place(&stream)] {
                        driven.aggregator.ready(site.now);
                    }
                }
                SinkEvent::Closed(id) => {
                    let is_it = |slot: &&mut Option<Driven>| {
                        slot.as_ref().is_some_and(|driven| driven.stream.id() == id)
                    };
                    *self.streams.iter_mut().find(is_it).unwrap() = None;
                    site.met.closed += 1;
                }
                SinkEvent::Drain => {
                    self.draining = true;
                    for driven in self.streams.iter_mut().flatten() {
                        driven.aggregator.set_flush(true, site.now);
                    }
                }
            }
        }
        self.serve_all(port, site);
    }

    fn opened(&mut self, stream: Arc<Stream>, site: &mut Site) {
        let mut aggregator = Aggregator::new(self.settings.clone(), self.ordering(&stream, site));
        if self.draining {
            aggregator.set_flush(true, site.now);
        }
        let index = place(&stream);
        self.streams[index] = Some(Driven {
            stream,
            aggregator,
            new_map: None,
            installing: false,
            out: BTreeMap::new(),
        });
        let owner = site.process();
        site.after(300_000, owner, Event::Look(index));
    }

    fn ordering(&self, stream: &Stream, site: &Site) -> Ordering {
        match site.wiring {
            Wiring::SendsInAnyOrder => Ordering::None,
            _ => stream.ordering(),
        }
    }

    /// The shards of a stream are listed, for the first time or again.
    pub(super) fn look(&mut self, index: usize, port: &SinkPort, site: &mut Site) {
        let Some(driven) = &mut self.streams[index] else {
            return;
        };
        let service = &site.services[index];
        if service.unreachable {
            let owner = site.process();
            return site.after(1_000_000, owner, Event::Look(index));
        }
        let map = service.map();
        let known = driven.new_map.as_ref().or(driven.aggregator.map());
        if known.is_some_and(|known| known.shards() == map.shards()) {
            return;
        }
        site.met.remaps += u64::from(known.is_some());
        driven.new_map = Some(map);
        driven.aggregator.change_map();
        self.serve_all(port, site);
    }

    /// A request has come back.
    pub(super) fn answer(
        &mut self,
        index: usize,
        request: u64,
        answer: Result<PutRecordsAnswer, CallError>,
        port: &SinkPort,
        site: &mut Site,
    ) {
        let driven = self.streams[index].as_mut().unwrap();
        let id = driven.out.remove(&request).unwrap();
        self.requests -= 1;
        self.bytes -= driven.aggregator.request(id).unwrap().bytes();
        site.ledger.came_back(request);
        let mut asked = Asked::default();
        let aggregator = &mut driven.aggregator;
        aggregator.answer(id, answer, site.now, &mut site.jitter, &mut asked);
        self.carry_out(index, asked, port, site);
        self.serve_all(port, site);
    }

    pub(super) fn serve_all(&mut self, port: &SinkPort, site: &mut Site) {
        for index in 0..self.streams.len() {
            self.serve(index, port, site);
        }
    }

    fn serve(&mut self, index: usize, port: &SinkPort, site: &mut Site) {
        let mut permits = Permits {
            requests: REQUESTS.saturating_sub(self.requests),
            bytes: BYTES.saturating_sub(self.bytes),
        };
        let Some(driven) = &self.streams[index] else {
            return;
        };
        let ordering = self.ordering(&driven.stream, site);
        let driven = self.streams[index].as_mut().unwrap();
        let mut asked = Asked::default();
        driven.aggregator.set_ordering(ordering, site.now);
        let shed = driven.stream.take_shed();
        driven.aggregator.poll(site.now, &mut permits, &mut asked);
        if shed > 0 {
            driven.aggregator.shed(shed, &mut asked);
        }
        self.carry_out(index, asked, port, site);
        self.install_new_map(index, port, site);
    }

    fn install_new_map(&mut self, index: usize, port: &SinkPort, site: &mut Site) {
        let Some(driven) = &mut self.streams[index] else {
            return;
        };
        if driven.new_map.is_none() || driven.installing {
            return;
        }
        let mut returned = Vec::new();
        if driven.aggregator.can_give_back() {
            returned = driven.aggregator.give_back();
        } else if driven.aggregator.map().is_some() {
            return;
        }
        let Some(map) = driven.new_map.take() else {
            return;
        };
        driven.installing = true;
        let shards = map.len();
        site.line(format_args!(
            "{} has {shards} shards, {} records go back",
            STREAMS[index],
            returned.len()
        ));
        if site.wiring == Wiring::DropsWhatIsGivenBack {
            for record in returned.drain(..) {
                self.settlement.stored(&driven.stream, record);
            }
        }
        self.settlement.flush();
        port.install_map(&driven.stream, map, returned);
        self.count_held(port);
    }

    fn count_held(&self, port: &SinkPort) {
        let held = |driven: &Driven| driven.aggregator.held();
        port.set_held(self.streams.iter().flatten().map(held).sum());
    }

    fn carry_out(&mut self, index: usize, asked: Asked, port: &SinkPort, site: &mut Site) {
        site.ledger.inversions += asked.inversions;
        site.ledger.again += asked.again;
        for (id, records) in asked.sent {
            self.send(index, id, &records, site);
        }
        let driven = self.streams[index].as_ref().unwrap();
        for entry in asked.stored {
            let record = sent(&entry.record);
            site.ledger.settled(index, &record, site.now);
            self.settlement.stored(&driven.stream, entry.record);
        }
        for (entry, reason) in asked.failed {
            let record = sent(&entry.record);
            let (name, number) = (STREAMS[index], record.number);
            site.line(format_args!(
                "{name} loses {:?} {number}: {reason:?}",
                record.key
            ));
            if entry.record.ack == AckMode::Accept {
                let stored = &site.services[index].copies;
                site.ledger.given_up(index, &record, stored);
            } else {
                let failed = format!("{record:?}: {reason:?}");
                site.ledger.failed.push(failed);
            }
            self.settlement
                .failed(&driven.stream, entry.record, || reason.into());
        }
        self.count_held(port);
        self.settlement.flush();
        if asked.wrong_shard {
            let owner = site.process();
            site.after(100_000, owner, Event::Look(index));
        }
    }

    fn send(&mut self, index: usize, id: RequestId, records: &[Sent], site: &mut Site) {
        let driven = self.streams[index].as_mut().unwrap();
        let request = site.ledger.sends(index, records);
        driven.out.insert(request, id);
        self.requests += 1;
        self.bytes += driven
            .aggregator
            .request(id)
            .map_or(0, |request| request.bytes());
        site.line(format_args!(
            "{} gets request {request} of {} {:?}",
            STREAMS[index],
            records.len(),
            records
                .iter()
                .map(|r| (&r.key, r.number, r.way))
                .collect::<Vec<_>>()
        ));
        let fallback = records
            .iter()
            .filter(|record| record.way == crate::service::Way::Fallback);
        site.met.fallback += fallback.count() as u64;
        call(index, request, records, site);
        if site.wiring == Wiring::SendsTwice {
            site.services[index].put(records, &mut site.entropy);
        }
    }
}

/// Where a stream is in [`STREAMS`].
fn place(stream: &Stream) -> usize {
    let name = stream.name().as_str();
    STREAMS.iter().position(|known| *known == name).unwrap()
}

/// The service decides at once; the answer, if one comes, needs its time.
fn call(index: usize, request: u64, records: &[Sent], site: &mut Site) {
    let process = site.process();
    let answered = |answer| Event::Answer {
        stream: index,
        request,
        answer,
    };
    let verdict = site.services[index].put(records, &mut site.entropy);
    if site.wiring == Wiring::SettlesWhenSent {
        let shard = || site.services[index].map().shard(0).id().into();
        let entries = records
            .iter()
            .map(|_| EntryAnswer::Stored { shard: shard() });
        let answer = PutRecordsAnswer {
            entries: entries.collect(),
        };
        return site.after(1, process, answered(Ok(answer)));
    }
    match verdict {
        Verdict::Answer(answer) => {
            let entries = answer.entries.iter();
            let stored: Vec<bool> = entries
                .map(|entry| matches!(entry, EntryAnswer::Stored { .. }))
                .collect();
            site.ledger.decided(request, records, &stored);
            for (record, entry) in records.iter().zip(&answer.entries) {
                if matches!(entry, EntryAnswer::Refused { code, .. } if code == "InternalFailure") {
                    site.ledger.unclear(index, record);
                }
            }
            site.after(50_000, process, answered(Ok(answer)));
        }
        Verdict::Refused(error) => site.after(50_000, process, answered(Err(error))),
        Verdict::Lost(landing) => {
            for record in records {
                site.ledger.unclear(index, record);
            }
            let error = CallError::local(CallFailure::Unclear, "AttemptTimeout", "no answer");
            site.at(site.now + ATTEMPT_TIMEOUT, process, answered(Err(error)));
            match landing {
                Landing::AtOnce => {
                    let service = &mut site.services[index];
                    records.iter().for_each(|record| service.store(record));
                }
                Landing::Late => {
                    let event = Event::Land {
                        stream: index,
                        records: records.to_vec(),
                        life: site.life,
                    };
                    site.after(12_000_000, Owner::World, event);
                }
                Landing::Never => {}
            }
        }
    }
}
