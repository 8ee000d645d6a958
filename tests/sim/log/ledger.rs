//! What is known of every message: what was promised for it, and what excuses a second copy.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::Time;

use crate::service::{Sent, Service, Way};

/// A key and the number of a publish under it.
pub(super) type Name = (String, u64);

/// Records of a key keep their order among those that go the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Through the log.
    Log,
    /// Past it.
    Direct,
}

/// One message of a device.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) class: Class,
    /// Bytes of its payload.
    pub(super) bytes: usize,
    /// The streams that get a record each.
    pub(super) streams: Vec<usize>,
    /// Times that the device sent it.
    pub(super) sends: u64,
    /// It was answered in a mode that promises something.
    pub(super) answered: bool,
    /// One of its records came out of the log.
    pub(super) logged: bool,
    /// One of its records went past the log because that took none, in this life of the process.
    pub(super) fell_back: bool,
}

/// One record at one stream.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// The requests that had it.
    pub(super) requests: BTreeSet<u64>,
    /// Requests of which nobody knows whether they stored it.
    pub(super) unclear: u64,
    /// Restarts that may have sent it again.
    pub(super) restarts: u64,
    in_flight: u64,
    /// Nobody knew what became of it, and it was not settled since.
    doubtful: bool,
    /// When it was settled, in this life of the process.
    settled: Vec<Time>,
}

#[derive(Debug)]
struct InFlight {
    stream: usize,
    names: Vec<Name>,
    /// Records that this request let be overtaken.
    inversions: usize,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) published: BTreeMap<Name, Published>,
    pub(super) carried: BTreeMap<(usize, Name), Carried>,
    /// Records whose first copy may come behind newer ones: it was on its way when the process died that sent it or when
    /// the record was given up, or it went past the log and died with the process.
    pub(super) late: BTreeSet<(usize, Name)>,
    /// Inversions that the sender counted, and those whose answer it never got.
    pub(super) inversions: usize,
    /// Possible duplicates that the sender counted.
    pub(super) again: usize,
    /// Records that failed although something was promised for them.
    pub(super) failed: Vec<String>,
    in_flight: BTreeMap<u64, InFlight>,
    requests: u64,
}

fn name_of(record: &Sent) -> Name {
    (record.key.clone(), record.number)
}

impl Ledger {
    /// A device sends a message, maybe again.
    pub(super) fn publishes(
        &mut self,
        name: &Name,
        class: Class,
        bytes: usize,
        streams: &[usize],
    ) -> u64 {
        let published = self
            .published
            .entry(name.clone())
            .or_insert_with(|| Published {
                class,
                bytes,
                streams: streams.to_vec(),
                sends: 0,
                answered: false,
                logged: false,
                fell_back: false,
            });
        published.sends += 1;
        published.sends
    }

    /// A request leaves. Returns its number, which no other request has.
    pub(super) fn sends(&mut self, stream: usize, records: &[Sent]) -> u64 {
        self.requests += 1;
        for record in records {
            let name = name_of(record);
            if let Some(published) = self.published.get_mut(&name) {
                published.logged |= record.way == Way::Log;
                published.fell_back |= record.way == Way::Fallback;
            }
            let carried = self.carried.entry((stream, name)).or_default();
            carried.requests.insert(self.requests);
            carried.in_flight += 1;
        }
        let in_flight = InFlight {
            stream,
            names: records.iter().map(name_of).collect(),
            inversions: 0,
        };
        self.in_flight.insert(self.requests, in_flight);
        self.requests
    }

    /// Nobody will know what became of a record.
    pub(super) fn unclear(&mut self, stream: usize, record: &Sent) {
        let carried = self.carried.entry((stream, name_of(record))).or_default();
        carried.unclear += 1;
        carried.doubtful = true;
    }

    /// The service answered and refused some: whether anybody hears of it is another matter.
    pub(super) fn decided(&mut self, request: u64, records: &[Sent], stored: &[bool]) {
        let mut newer = BTreeSet::new();
        let mut overtaken = 0;
        for (record, stored) in records.iter().zip(stored).rev() {
            match stored {
                true => drop(newer.insert(&record.key)),
                false => overtaken += usize::from(newer.contains(&record.key)),
            }
        }
        if let Some(in_flight) = self.in_flight.get_mut(&request) {
            in_flight.inversions = overtaken;
        }
    }

    /// The answer of a request has come back.
    pub(super) fn came_back(&mut self, request: u64) {
        let Some(InFlight { stream, names, .. }) = self.in_flight.remove(&request) else {
            return;
        };
        for name in names {
            self.carried.get_mut(&(stream, name)).unwrap().in_flight -= 1;
        }
    }

    pub(super) fn settled(&mut self, stream: usize, record: &Sent, now: Time) {
        let carried = self.carried.entry((stream, name_of(record))).or_default();
        carried.settled.push(now);
        carried.doubtful = false;
    }

    /// The process is gone. What it settled before `durable` is struck off for good; the rest may be sent again.
    pub(super) fn process_ended(&mut self, durable: Time) {
        for ((_, name), carried) in &mut self.carried {
            let settled = carried.settled.drain(..).filter(|at| *at >= durable);
            // What waits to be sent again after an unclear answer is sent again by the next process, which does not
            // know of that.
            let waits = carried.in_flight == 0 && std::mem::take(&mut carried.doubtful);
            let in_flight = std::mem::take(&mut carried.in_flight);
            let doubtful = settled.count() as u64 + in_flight + u64::from(waits);
            let Some(published) = self.published.get(name) else {
                continue;
            };
            if published.logged || published.fell_back {
                carried.restarts += doubtful;
            }
            // Its frame may be whole although nobody was told so.
            carried.restarts += u64::from(published.fell_back);
        }
        for published in self.published.values_mut() {
            published.fell_back = false;
        }
        let lost = std::mem::take(&mut self.in_flight);
        self.inversions += lost
            .values()
            .map(|request| request.inversions)
            .sum::<usize>();
    }

    /// The process is about to die with records that went past the log. What follows them may be in the log, and so
    /// come before what their devices repeat.
    pub(super) fn lost_from_memory(&mut self, services: &[Service]) {
        for (name, published) in &self.published {
            // The answer to a repeated one may have been that to the second.
            let in_doubt = !published.answered || published.sends > 1;
            if published.class == Class::Log && in_doubt {
                let missing = |stream: &&usize| !services[**stream].copies.contains_key(name);
                let streams = published.streams.iter().filter(missing);
                self.late
                    .extend(streams.map(|stream| (*stream, name.clone())));
            }
        }
    }

    /// A record that nothing was promised for was given up: its deadline has passed, or newer ones needed its room.
    /// They do not wait for it any more, and an attempt of which nobody heard may still land, behind them.
    pub(super) fn given_up(&mut self, stream: usize, record: &Sent, copies: &BTreeMap<Name, u64>) {
        let place = (stream, name_of(record));
        let is_unclear = self.carried.get(&place).is_some_and(|it| it.unclear > 0);
        if is_unclear && !copies.contains_key(&place.1) {
            self.late.insert(place);
        }
    }

    /// Records of a request land after the death of the process that sent them.
    pub(super) fn lands_late(
        &mut self,
        stream: usize,
        records: &[Sent],
        copies: &BTreeMap<Name, u64>,
    ) {
        for record in records {
            let name = name_of(record);
            if !copies.contains_key(&name) {
                self.late.insert((stream, name));
            }
        }
    }
}
