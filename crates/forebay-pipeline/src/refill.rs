//! Refilling lanes from the log: one pass at a time, in order.
//!
//! A lane that lags is brought up to date by passes over the log, each from the lowest place at which a lane stopped.
//! The log is read beside the sequencer's thread, about a MiB at a time; what was read is offered here, where it meets
//! the state of the lanes. After a restart the passes also find the streams that records are owed to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{AckMode, Fs, FsError, FsFile, Ordering, StreamName, Time};
use forebay_spool::{Read, ReadPlan, ReadTarget, Spool, StreamKey};

use crate::dealer::{Dealer, Member};
use crate::error_action;
use crate::lane_feed::Offered;
use crate::log_damage::LogDamage;
#[cfg(test)]
use crate::mutation::Mutation;
use crate::rule_book::RETIRED;
use crate::shared::Shared;
use crate::{Attempts, ErrorRole, Record, Stream};

/// Segments that one pass reads: between passes lanes that wait get their turn.
const SEGMENTS_PER_PASS: usize = 1;
/// Streams that a pass names, so that segments without their records are skipped; with more it reads everything.
const STREAMS_NAMED_MAX: usize = 8;
/// A lane whose part of the log could not be read is tried again after this.
const RETRY_READ: Duration = Duration::from_secs(60);
/// A stream that could not be opened, because too many are in use, is tried again after this.
const RETRY_OPEN: Duration = Duration::from_secs(1);
/// Most bytes of records that are read before they are offered.
const READ_BYTES: u64 = 1 << 20;
/// Payloads below this are copied out of the frame that they were read with: a slice would keep all of it alive.
const COPY_BELOW_BYTES: usize = 4096;

/// A piece of the log to be read, on any thread.
#[derive(Debug)]
pub(crate) struct ReadTask<T> {
    plan: ReadPlan<T>,
    bytes: u64,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct ReadResult<T> {
    plan: ReadPlan<T>,
    reads: Vec<Read>,
    end: bool,
    error: Option<FsError>,
}

impl<T: FsFile> ReadTask<T> {
    /// Reads until there is enough for now.
    pub(crate) fn run(self) -> ReadResult<T> {
        let Self { mut plan, bytes } = self;
        let (mut reads, mut taken) = (Vec::new(), 0);
        let (mut end, mut error) = (false, None);
        while taken < bytes {
            match plan.read() {
                Ok(Some(read)) => {
                    if let Read::Records(records) = &read {
                        let lens = records
                            .iter()
                            .map(|(_, record)| record.encoded_len() as u64);
                        taken += lens.sum::<u64>();
                    }
                    reads.push(read);
                }
                Ok(None) => {
                    end = true;
                    break;
                }
                Err(failed) => {
                    error = Some(failed);
                    break;
                }
            }
        }
        ReadResult {
            plan,
            reads,
            end,
            error,
        }
    }
}

/// A pass over a part of the log.
#[derive(Debug)]
struct Pass {
    members: Vec<Member>,
    /// It finds streams that are not known yet.
    discovers: bool,
    /// It reads to the end of the log as it was when it began.
    to_the_end: bool,
    /// It reads everything before this number.
    end: u64,
}

/// The passes.
#[derive(Debug)]
pub(crate) struct Refill<F: Fs> {
    shared: Arc<Shared>,
    pass: Option<Pass>,
    /// What is to be read next.
    task: Option<ReadTask<F::File>>,
    discover_at: Time,
    /// A read has failed: until one succeeds each pass is for one lane, so that only the lane concerned waits.
    one_by_one: bool,
    turn: usize,
    read_error: Option<String>,
    streams: HashMap<Arc<StreamKey>, usize>,
    #[cfg(test)]
    pub(crate) mutation: Mutation,
}

impl<F: Fs> Refill<F> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pass: None,
            task: None,
            discover_at: Time::ZERO,
            one_by_one: false,
            turn: 0,
            read_error: None,
            streams: HashMap::new(),
            #[cfg(test)]
            mutation: Mutation::None,
        }
    }

    /// What is to be read next, if anything.
    pub(crate) fn take_task(&mut self) -> Option<ReadTask<F::File>> {
        self.task.take()
    }

    /// True while a pass is under way: something is being read, or about to be.
    pub(crate) fn is_busy(&self) -> bool {
        self.pass.is_some()
    }

    /// Why the log could not be read the last time that it could not.
    pub(crate) fn read_error(&self) -> Option<String> {
        self.read_error.clone()
    }

    /// The log has older records than was known: the pass that is under way proves nothing about streams.
    pub(crate) fn doubt(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.discovers = false;
        }
    }

    /// Begins a pass when one is worth it.
    pub(crate) fn step(&mut self, spool: &Spool<F>, dealer: &mut Dealer, now: Time) {
        if self.pass.is_some() || self.shared.draining.load(Atomic::Relaxed) {
            // What a stop finds in the log stays there.
            return;
        }
        let (mut members, worth_it) = dealer.hungry(now);
        let unknown = dealer.unknown_from();
        let discovers = unknown.is_some() && now >= self.discover_at && !self.one_by_one;
        if !worth_it && !discovers {
            return;
        }
        if self.one_by_one && !members.is_empty() {
            self.turn += 1;
            let turn = self.turn % members.len();
            members = vec![members[turn]];
        }
        let first = members.iter().map(|member| member.cursor).min();
        let unknown = unknown.filter(|_| discovers);
        let Some(from) = first.into_iter().chain(unknown).min() else {
            return;
        };
        let targets = match discovers {
            true => Vec::new(),
            false => targets(&members, dealer),
        };
        let plan = spool.plan_read(from, SEGMENTS_PER_PASS, targets);
        let end = plan.resume();
        let to_the_end = end == spool.next_seq();
        for member in &members {
            dealer.join(*member, to_the_end);
        }
        self.pass = Some(Pass {
            members,
            // A pass that begins behind what is not known yet can find what it reads, and no more.
            discovers: unknown.is_some_and(|unknown| unknown <= end),
            to_the_end,
            end,
        });
        self.read_on(plan);
    }

    fn read_on(&mut self, plan: ReadPlan<F::File>) {
        // One piece is being read while another is offered.
        let bytes = READ_BYTES.min(self.shared.config.refill_bytes / 2);
        self.task = Some(ReadTask { plan, bytes });
    }

    /// Offers what was read to its lanes.
    pub(crate) fn take(
        &mut self,
        result: ReadResult<F::File>,
        spool: &mut Spool<F>,
        dealer: &mut Dealer,
        damage: &mut LogDamage,
        now: Time,
    ) {
        for read in result.reads {
            match read {
                Read::Records(records) => self.offer_all(records, dealer, now),
                Read::Damage(found) => damage.report(&found, spool, dealer, now),
            }
        }
        if let Some(error) = result.error {
            return self.read_failed(&error, dealer, now);
        }
        let goes_on = self.pass.as_ref().is_some_and(|pass| {
            let mut members = pass.members.iter();
            pass.discovers || members.any(|member| dealer.takes_part(*member))
        });
        if !result.end && goes_on {
            return self.read_on(result.plan);
        }
        self.finish(result.end, dealer, now);
    }

    fn offer_all(
        &mut self,
        records: Vec<(u64, forebay_spool::Record)>,
        dealer: &mut Dealer,
        now: Time,
    ) {
        let rules = self.shared.rules.current();
        for (log, record) in records {
            let Some(stream) = self.find_stream(&record.stream, dealer, now) else {
                continue;
            };
            let context = record
                .error
                .as_deref()
                .map_or(0, error_action::context_bytes);
            let charge = Record::charge_for(record.data.len(), record.partition_key.len())
                .saturating_add(context);
            let rule = rules.by_name.get(&record.rule).copied().unwrap_or(RETIRED);
            let hash = record.hash;
            let offered = dealer.offer(stream, log, hash, charge, now, |stream| {
                read_back(record, log, rule, charge, stream, now)
            });
            debug_assert!(
                offered != Offered::Full || self.pass.is_some(),
                "nothing is offered outside a pass"
            );
        }
    }

    /// The index of the stream of a record, which is opened where it is not in use.
    fn find_stream(
        &mut self,
        key: &Arc<StreamKey>,
        dealer: &mut Dealer,
        now: Time,
    ) -> Option<usize> {
        let known = self.streams.get(key).copied().filter(|index| {
            dealer
                .stream(*index)
                .is_some_and(|stream| stream.name().as_str() == key.name)
        });
        let index = match known {
            Some(index) => index,
            None => {
                let opened = StreamName::new(&key.name)
                    .ok()
                    .and_then(|name| dealer.open(&name, now).ok());
                let Some(stream) = opened else {
                    // Too many are in use: what is owed to it is looked for again from the same place.
                    if let Some(pass) = &mut self.pass {
                        pass.discovers = false;
                    }
                    self.discover_at = now + RETRY_OPEN;
                    return None;
                };
                if let Some(ordering) = Ordering::ALL.get(usize::from(key.ordering)) {
                    stream.raise_ordering(*ordering);
                }
                if self.streams.len() >= self.shared.config.max_streams {
                    self.streams.clear();
                }
                self.streams.insert(Arc::clone(key), stream.id().index());
                stream.id().index()
            }
        };
        Some(index)
    }

    fn read_failed(&mut self, error: &FsError, dealer: &mut Dealer, now: Time) {
        tracing::error!(%error, "spool cannot be read");
        self.read_error = Some(error.to_string());
        let Some(pass) = self.pass.take() else {
            return;
        };
        let alone = pass.members.len() <= 1;
        let retry_at = match alone {
            true => now + RETRY_READ,
            false => now,
        };
        for member in pass.members {
            dealer.end_part(member, None, retry_at);
        }
        self.one_by_one = !alone || self.one_by_one;
        if alone {
            self.discover_at = now + RETRY_READ;
        }
    }

    fn finish(&mut self, end: bool, dealer: &mut Dealer, now: Time) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        if end {
            self.one_by_one = self.one_by_one && dealer.next_retry(now) != Time::NEVER;
            if pass.discovers {
                dealer.known_up_to(pass.end, pass.to_the_end);
            }
        }
        for member in pass.members {
            #[cfg(test)]
            if self.mutation == Mutation::LiveTooEarly {
                dealer.pretend_live(member);
                continue;
            }
            // A pass that ended early has nobody left who took part to its end.
            dealer.end_part(member, Some(if end { pass.end } else { 0 }), now);
        }
    }

    /// When [`step`](Self::step) has something to do by itself.
    pub(crate) fn next_deadline(&self, dealer: &Dealer, now: Time) -> Time {
        let discover = match dealer.unknown_from() {
            Some(_) if self.pass.is_none() && !self.one_by_one => self.discover_at,
            _ => Time::NEVER,
        };
        match self.shared.draining.load(Atomic::Relaxed) {
            true => Time::NEVER,
            false => discover.min(dealer.next_retry(now)),
        }
    }
}

/// What a pass for these lanes reads: for each stream the part of the hash key range that covers its lanes. Streams
/// have one name per ordering in the log.
fn targets(members: &[Member], dealer: &Dealer) -> Vec<ReadTarget> {
    let mut hulls: Vec<(usize, u128, u128)> = Vec::new();
    for member in members {
        let known = hulls.iter().position(|hull| hull.0 == member.stream);
        match known {
            Some(at) => {
                let (stream, from, to) = hulls[at];
                hulls[at] = (stream, from.min(member.from), to.max(member.to));
            }
            None if hulls.len() == STREAMS_NAMED_MAX => return Vec::new(),
            None => hulls.push((member.stream, member.from, member.to)),
        }
    }
    let named = hulls.into_iter().filter_map(|(index, from, to)| {
        let stream = dealer.stream(index)?;
        Some(Ordering::ALL.map(|ordering| ReadTarget {
            stream: StreamKey {
                name: stream.name().as_str().to_owned(),
                ordering: ordering as u8,
                ..StreamKey::default()
            },
            from,
            to,
        }))
    });
    named.flatten().collect()
}

fn read_back(
    record: forebay_spool::Record,
    log: u64,
    rule: u32,
    charge: u32,
    stream: &Arc<Stream>,
    now: Time,
) -> Record {
    Record {
        seq: 0,
        log,
        in_log: true,
        lane: 0,
        stream: stream.id(),
        rule,
        partition_key: record.partition_key,
        hash: record.hash,
        explicit: record.explicit,
        data: match record.data.len() < COPY_BELOW_BYTES {
            true => Bytes::copy_from_slice(&record.data),
            false => record.data,
        },
        admitted: now,
        received_ms: record.received_ms,
        deadline: Time::NEVER,
        ack: AckMode::Spool,
        ticket: None,
        charge,
        ends_publish: true,
        error: record.error.map(ErrorRole::read_back),
        attempts: Attempts::default(),
    }
}
