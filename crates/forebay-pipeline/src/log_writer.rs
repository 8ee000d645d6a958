//! The writing side of the log: groups, their commit, and what happens when the disk does not take them.
//!
//! What is staged for the log goes into one group until it is written and flushed as one frame; only then are its
//! publishes answered and its records dealt. A publish is never split over two groups. While the log is full its
//! records wait here, within the ingest budget that they hold; while it cannot be written they go the way of mode
//! `stored`, or wait, as the configuration says.

mod commit;
mod failure;
mod names;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::{AckMode, Clock, Fs, Time};
use forebay_metrics::{HistogramShard, Registry, buckets};
use forebay_spool::{Backlog, Event, Group, RecordView, Settled, Spool};

use self::names::{Named, name};

use crate::dealer::Dealer;
use crate::duplicates::DuplicateSource;
#[cfg(test)]
use crate::mutation::Mutation;
use crate::rule_book::KnownRules;
use crate::shared::{Finished, IdEvent, Released, Shared, Staged};
use crate::{LogCheckStatus, LogCondition, LogStatus, OverloadStage, Record, StreamId};

/// Records after which a group is closed at the end of the next publish.
const GROUP_RECORDS: usize = 4096;
/// The same for bytes.
const GROUP_BYTES: usize = 1 << 20;
/// Time between two looks at what is owed per stream, which goes over all segments.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(1);

/// What waits to get into a group, in order.
#[derive(Debug)]
enum Item {
    Record(Record),
    Id(Event, Option<Waiting>),
}

impl Item {
    /// True for the opening of a packet id of this client.
    fn opens_for(&self, client: &str) -> bool {
        matches!(self, Self::Id(Event::Open { client: owner, .. }, _) if owner == client)
    }
}

/// Who waits for the release of a packet id.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    worker: usize,
    released: Released,
}

/// The log and what is on its way into it.
#[derive(Debug)]
pub(crate) struct LogWriter<F: Fs> {
    pub(crate) spool: Spool<F>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    group: Group,
    /// The records of the group, or of the frame that could not be written.
    members: Vec<Record>,
    /// The changes of packet ids in the group, each with the number of records before it.
    ids: Vec<(usize, Event, Option<Waiting>)>,
    /// Packet ids that the group opens.
    opening: usize,
    closed: bool,
    /// What came after the group was closed, or while it cannot be written.
    waiting: VecDeque<Item>,
    waiting_records: usize,
    names: Vec<Option<Named>>,
    rules: KnownRules,
    condition: LogCondition,
    /// The group is in the frame that could not be written.
    frame_is_held: bool,
    /// The records of that frame are on their way as `stored`: they are not owed twice.
    frame_is_void: bool,
    retry_at: Time,
    error: Option<String>,
    /// When the group got its first record, and how many it had at the last look.
    began: Time,
    seen: usize,
    /// More came while the last frame was flushed: then waiting for more is worth it.
    busy: bool,
    last_flush: Duration,
    fallback_records: u64,
    backlog: Vec<Backlog>,
    next_backlog: Time,
    finished: Box<[Vec<Finished>]>,
    registry: Registry,
    group_records: HistogramShard,
    flush_seconds: HistogramShard,
    #[cfg(test)]
    pub(crate) mutation: Mutation,
}

impl<F: Fs> LogWriter<F> {
    pub(crate) fn new(
        spool: Spool<F>,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Self {
        let help = "Records that one write of the log made durable.";
        let name = "forebay_commit_group_records";
        let group_records = registry.histogram(name, help, &[], buckets::COUNT);
        let help = "Time of one write of the log with its flush.";
        let name = "forebay_spool_flush_seconds";
        let flush_seconds = registry.histogram(name, help, &[], buckets::LATENCY);
        Self {
            condition: match spool.is_writable() {
                true => LogCondition::Writing,
                false => LogCondition::Failed,
            },
            spool,
            finished: shared.workers.iter().map(|_| Vec::new()).collect(),
            rules: KnownRules::new(&shared.rules),
            shared,
            clock,
            group: Group::new(),
            members: Vec::new(),
            ids: Vec::new(),
            opening: 0,
            closed: false,
            waiting: VecDeque::new(),
            waiting_records: 0,
            names: Vec::new(),
            frame_is_held: false,
            frame_is_void: false,
            retry_at: Time::ZERO,
            error: None,
            began: Time::ZERO,
            seen: 0,
            busy: false,
            last_flush: Duration::ZERO,
            fallback_records: 0,
            backlog: Vec::new(),
            next_backlog: Time::ZERO,
            registry: registry.clone(),
            group_records: group_records.shard(),
            flush_seconds: flush_seconds.shard(),
            #[cfg(test)]
            mutation: Mutation::None,
        }
    }

    /// Records that are neither dealt nor durable.
    pub(crate) fn held(&self) -> usize {
        self.members.len() + self.waiting_records
    }

    /// Takes what a worker staged: records for the log here, others to the dealer at once.
    pub(crate) fn take(&mut self, staged: &mut Staged, dealer: &mut Dealer, now: Time) {
        if self.group.is_empty() {
            self.began = now;
        }
        let mut ids = staged.ids.drain(..).peekable();
        for (index, record) in staged.records.drain(..).enumerate() {
            while let Some(id) = ids.next_if(|id| id.at <= index) {
                self.take_id(staged.worker, id);
            }
            if record.ack != AckMode::Spool {
                dealer.deal(record, now);
            } else if self.takes_at_once() {
                self.push(record, dealer);
            } else {
                self.waiting.push_back(Item::Record(record));
                self.waiting_records += 1;
            }
        }
        for id in ids {
            self.take_id(staged.worker, id);
        }
        if self.condition == LogCondition::Writing {
            self.fill(dealer);
        }
    }

    /// True when what comes now need not wait: the way that nearly everything takes, with one move less per record.
    fn takes_at_once(&self) -> bool {
        self.waiting.is_empty() && !self.closed && self.condition == LogCondition::Writing
    }

    fn take_id(&mut self, worker: usize, id: IdEvent) {
        let waiting = id.waiting.map(|released| Waiting { worker, released });
        self.waiting.push_back(Item::Id(id.event, waiting));
    }

    /// Moves what waits into the group until it is closed.
    fn fill(&mut self, dealer: &Dealer) {
        while !self.closed
            && let Some(item) = self.waiting.pop_front()
        {
            match item {
                Item::Record(record) => {
                    self.waiting_records -= 1;
                    self.push(record, dealer);
                }
                Item::Id(event, waiting) => self.push_id(event, waiting),
            }
        }
    }

    /// Puts everything that is in the group back to where it waited: nothing of it is in the log.
    fn unfill(&mut self) {
        self.group = Group::new();
        let mut ids = std::mem::take(&mut self.ids);
        for (index, record) in self.members.drain(..).enumerate().rev() {
            while let Some((_, event, waiting)) = ids.pop_if(|(at, ..)| *at > index) {
                self.waiting.push_front(Item::Id(event, waiting));
            }
            self.waiting.push_front(Item::Record(record));
            self.waiting_records += 1;
        }
        for (_, event, waiting) in ids.into_iter().rev() {
            self.waiting.push_front(Item::Id(event, waiting));
        }
        self.closed = false;
        self.opening = 0;
        self.seen = 0;
    }

    fn push(&mut self, record: Record, dealer: &Dealer) {
        let index = record.stream.index();
        let stream = dealer
            .stream(index)
            .expect("a stream is announced before its records");
        let (stream, _) = name(&mut self.names, index, stream);
        let rule = self.rules.entry(record.rule, &self.shared.rules);
        self.group.push_view(RecordView {
            stream,
            rule: &rule.name,
            received_ms: record.received_ms,
            partition_key: &record.partition_key,
            hash: record.hash,
            explicit: record.explicit,
            data: &record.data,
            error: record
                .error
                .as_ref()
                .and_then(|role| role.context.as_deref()),
        });
        let ends_publish = record.ends_publish;
        #[cfg(test)]
        let ends_publish = ends_publish || self.mutation == Mutation::SplitPublish;
        self.members.push(record);
        let full = self.members.len() >= GROUP_RECORDS || self.group.bytes() >= GROUP_BYTES;
        #[cfg(test)]
        let full = full || self.mutation == Mutation::SplitPublish;
        self.closed = full && ends_publish;
    }

    fn push_id(&mut self, event: Event, waiting: Option<Waiting>) {
        let needed = match &event {
            Event::Open { .. } => {
                self.opening += 1;
                true
            }
            // An id whose opening could not be written is not in the log.
            Event::Release { client, id } => {
                self.opening > 0 || self.spool.open_ids().is_open(client, *id)
            }
            Event::Forget { client } => {
                self.opening > 0 || self.spool.open_ids().has_client(client)
            }
        };
        if needed {
            self.group.push_event(event.clone());
            self.ids.push((self.members.len(), event, waiting));
        } else if let Some(waiting) = waiting {
            self.answer_release(waiting);
        }
    }

    fn answer_release(&self, waiting: Waiting) {
        let port = &self.shared.workers[waiting.worker];
        port.released.push(waiting.released);
        port.wake.wake();
    }

    /// Strikes off what was settled. True when there was anything.
    pub(crate) fn take_settled(&mut self, dealer: &mut Dealer, now: Time) -> bool {
        let mut any = false;
        let keeps = self.spool.keeps_settled();
        while let Some(settled) = self.shared.settled.pop() {
            any = true;
            if !keeps {
                self.count_unkept(dealer, settled.iter().map(|settled| settled.stream));
            }
            let records = settled.iter().filter_map(|settled| {
                let stream = dealer.stream(settled.stream.index())?;
                // Named as it is now: should its ordering have risen since the record was written, the figures of the
                // backlog are off until its segment is settled as a whole.
                let (_, id) = name(&mut self.names, settled.stream.index(), stream);
                Some(Settled {
                    seq: settled.log,
                    stream: id,
                    bytes: u64::from(settled.bytes),
                })
            });
            self.spool.settle_records(records, now);
            for settled in settled {
                dealer.settled(settled);
            }
        }
        any
    }

    /// Counts stored records of these streams that a restart would send again: the log cannot say that they are stored.
    fn count_unkept(&self, dealer: &Dealer, streams: impl Iterator<Item = StreamId>) {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for stream in streams {
            *counts.entry(stream.index()).or_default() += 1;
        }
        for (index, count) in counts {
            if let Some(stream) = dealer.stream(index) {
                let counter =
                    DuplicateSource::DiskFailure.counter(&self.registry, stream.name().as_str());
                counter.increment(count);
            }
        }
    }

    /// When [`step`](Self::step) has something to do by itself.
    pub(crate) fn next_deadline(&self) -> Time {
        let group = match self.condition {
            LogCondition::Writing if !self.group.is_empty() => {
                self.began + self.shared.config.commit_max_delay.min(self.last_flush)
            }
            LogCondition::Writing => Time::NEVER,
            LogCondition::Full | LogCondition::Failed => self.retry_at,
        };
        group.min(self.spool.next_deadline())
    }

    fn stage(&self) -> OverloadStage {
        self.shared.overload_stage()
    }

    /// How full the log is; the change is logged and told to whoever admits.
    pub(crate) fn show(
        &mut self,
        dealer: &Dealer,
        read_error: Option<String>,
        check: LogCheckStatus,
    ) -> LogStatus {
        let stat = self.spool.stat();
        let now = self.clock.now();
        if now >= self.next_backlog {
            self.next_backlog = now + BACKLOG_INTERVAL;
            self.backlog = self.spool.backlog();
        }
        let before = self.stage();
        let stage = before.next(self.spool.full_segments(), self.spool.publishable_max());
        if stage != before {
            self.shared.overload.store(stage.level(), Ordering::Relaxed);
            tracing::warn!(
                stage = stage.level(),
                before = before.level(),
                used_bytes = stat.used_bytes,
                limit_bytes = stat.limit_bytes,
                "overload stage changed"
            );
        }
        LogStatus {
            condition: self.condition,
            stage,
            error: self.error.clone(),
            read_error,
            lagging_lanes: dealer.lagging(),
            in_memory: dealer.in_memory() as u64,
            lane_bytes: (dealer.lane_bytes(), self.shared.config.lanes_bytes),
            last_flush: self.last_flush,
            waiting_records: self.held(),
            fallback_records: self.fallback_records,
            backlog: self.backlog.clone(),
            check,
            stat,
        }
    }
}
