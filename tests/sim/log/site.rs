//! What outlives the process: time, the queue of events, the service, and what is known of every message.

use std::collections::BTreeMap;

use forebay_core::{Entropy as _, Ordering, SeededEntropy, Time};
use forebay_kinesis::api::PutRecordsAnswer;
use forebay_kinesis::classify::CallError;

use super::ledger::Ledger;
use super::plan::{STREAMS, Wiring};
use crate::service::{Sent, Service};
use crate::shell::Trace;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    // At the process, and void when it is gone.
    /// The task of the log with this number is done.
    Task(u64),
    /// The shards of a stream are listed.
    Look(usize),
    /// A request comes back.
    Answer {
        stream: usize,
        request: u64,
        answer: Result<PutRecordsAnswer, CallError>,
    },
    /// The last step of a stop.
    Stopped,
    // At a connection, and void when it is gone.
    Publish(usize),
    Arrive(usize, Arrival),
    // Anywhere.
    Connect(usize),
    Disconnect(usize),
    /// Records of a request whose answer was lost are stored after all.
    Land {
        stream: usize,
        records: Vec<Sent>,
        life: u32,
    },
    Reshard(usize),
    Outage(usize, bool),
    Disturb,
    Calm,
    Crash,
    Start,
    Heal,
}

/// What travels between a device and the broker besides publishes.
#[derive(Debug)]
pub(super) enum Arrival {
    /// PUBACK or PUBREC for the publish with this number among those of the connection.
    Answer(u64),
    Release(u16),
    Completion(u16),
}

/// Whose an event is: it is void when that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    World,
    Process(u32),
    Connection(u32),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BTreeMap<(Time, u64), (Owner, Event)>,
    next: u64,
}

impl Queue {
    pub(super) fn first(&self) -> Time {
        self.events.keys().next().map_or(Time::NEVER, |key| key.0)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, Owner, Event)> {
        let ((time, _), (owner, event)) = self.events.pop_first()?;
        Some((time, owner, event))
    }

    /// True while records are on their way to the service.
    pub(super) fn has_records(&self) -> bool {
        let mut events = self.events.values();
        events.any(|(_, event)| matches!(event, Event::Land { .. }))
    }
}

/// What the runs have met.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Met {
    pub(super) kills: u64,
    pub(super) cuts: u64,
    pub(super) stops: u64,
    pub(super) crashes_in_calls: u64,
    pub(super) crashes_in_recovery: u64,
    pub(super) replayed: u64,
    pub(super) lagging: u64,
    pub(super) fallback: u64,
    pub(super) full: u64,
    pub(super) failed_log: u64,
    pub(super) slow: u64,
    pub(super) parked: u64,
    pub(super) remaps: u64,
    pub(super) closed: u64,
    pub(super) repeated: u64,
    pub(super) released: u64,
    pub(super) ids_kept: u64,
    pub(super) late_after_death: u64,
    pub(super) sent_again_by_restart: u64,
    pub(super) possible_duplicates: u64,
}

impl Met {
    fn all(&mut self) -> [(&'static str, &mut u64); 20] {
        [
            ("kills", &mut self.kills),
            ("power cuts", &mut self.cuts),
            ("stops", &mut self.stops),
            ("deaths in a call of the disk", &mut self.crashes_in_calls),
            ("deaths in recovery", &mut self.crashes_in_recovery),
            ("restarts with records owed", &mut self.replayed),
            ("lanes that lag", &mut self.lagging),
            ("records that fell back", &mut self.fallback),
            ("full logs", &mut self.full),
            ("failed logs", &mut self.failed_log),
            ("slow flushes", &mut self.slow),
            ("parked publishes", &mut self.parked),
            ("changed maps", &mut self.remaps),
            ("closed streams", &mut self.closed),
            ("repeated publishes", &mut self.repeated),
            ("released ids", &mut self.released),
            ("ids kept over a restart", &mut self.ids_kept),
            (
                "requests that landed after a death",
                &mut self.late_after_death,
            ),
            (
                "records sent again by a restart",
                &mut self.sent_again_by_restart,
            ),
            ("possible duplicates", &mut self.possible_duplicates),
        ]
    }

    pub(super) fn add(&mut self, mut other: Met) {
        for ((_, count), (_, more)) in self.all().into_iter().zip(other.all()) {
            *count += *more;
        }
    }

    /// What was never met.
    pub(super) fn missing(&mut self) -> Vec<&'static str> {
        let never = self.all().into_iter().filter(|(_, count)| **count == 0);
        never.map(|(name, _)| name).collect()
    }
}

pub(super) struct Site {
    pub(super) ordering: Ordering,
    pub(super) wiring: Wiring,
    pub(super) now: Time,
    /// Counts the processes, from 1.
    pub(super) life: u32,
    pub(super) entropy: SeededEntropy,
    pub(super) jitter: SeededEntropy,
    pub(super) queue: Queue,
    pub(super) services: Vec<Service>,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
    pub(super) met: Met,
    /// Nothing goes wrong any more.
    pub(super) healthy: bool,
    /// The first thing that was wrong.
    pub(super) problem: Option<String>,
}

impl Site {
    pub(super) fn new(
        seed: u64,
        ordering: Ordering,
        wiring: Wiring,
        mut entropy: SeededEntropy,
    ) -> Self {
        let services = STREAMS.iter().map(|_| Service::new(ordering, &mut entropy));
        let services = services.collect();
        Self {
            ordering,
            wiring,
            now: Time::ZERO,
            life: 0,
            entropy,
            jitter: SeededEntropy::new(seed ^ 0x5eed),
            queue: Queue::default(),
            services,
            ledger: Ledger::default(),
            trace: Trace::default(),
            met: Met::default(),
            healthy: false,
            problem: None,
        }
    }

    pub(super) fn at(&mut self, time: Time, owner: Owner, event: Event) {
        self.queue.next += 1;
        let key = (time, self.queue.next);
        self.queue.events.insert(key, (owner, event));
    }

    /// Something happens within `micros` from now.
    pub(super) fn after(&mut self, micros: u64, owner: Owner, event: Event) {
        let time = self.soon(micros);
        self.at(time, owner, event);
    }

    /// A point within `micros` from now.
    pub(super) fn soon(&mut self, micros: u64) -> Time {
        self.now + std::time::Duration::from_micros(self.entropy.below(micros.max(1)))
    }

    pub(super) fn chance(&mut self, one_in: u64) -> bool {
        self.entropy.below(one_in) == 0
    }

    /// The owner of what the process is going to do.
    pub(super) fn process(&self) -> Owner {
        Owner::Process(self.life)
    }

    pub(super) fn wrong(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    pub(super) fn line(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, what);
    }
}
