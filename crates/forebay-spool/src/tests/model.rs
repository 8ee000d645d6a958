//! What the spool promises, as a model in memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Event, Record};

/// What the spool promised.
#[derive(Default)]
pub(super) struct Model {
    /// Answered and never settled.
    pub(super) owed: BTreeMap<u64, Record>,
    /// Settled; `true` once a frame with the delta is durable.
    pub(super) settled: BTreeMap<u64, (Record, bool)>,
    /// Groups that were neither answered nor refused.
    pub(super) unknown: Vec<Vec<Record>>,
    pub(super) unknown_events: Vec<Event>,
    open: BTreeSet<(String, u16)>,
    max_seq: u64,
    /// Sequence numbers of which it is not known yet whether they are on disk.
    pub(super) uncertain: std::ops::Range<u64>,
}

impl Model {
    pub(super) fn answered(&mut self, first: u64, records: Vec<Record>, events: &[Event]) {
        if !records.is_empty() {
            assert!(first > self.max_seq, "sequence number {first} used again");
            self.max_seq = first + records.len() as u64 - 1;
        }
        self.owed.extend((first..).zip(records));
        for event in events {
            match event {
                Event::Open { client, id } => {
                    self.open.insert((client.clone(), *id));
                }
                Event::Release { client, id } => {
                    self.open.remove(&(client.clone(), *id));
                }
                Event::Forget { client } => self.open.retain(|(open, _)| open != client),
            }
        }
    }

    /// A frame that was built just now is durable, and with it the delta of all that was settled before.
    pub(super) fn delta_written(&mut self) {
        for settled in self.settled.values_mut() {
            settled.1 = true;
        }
    }

    /// Compares what came back after a restart and takes it for the truth where both were allowed.
    pub(super) fn recovered(
        &mut self,
        found: BTreeMap<u64, Record>,
        open: BTreeSet<(String, u16)>,
        uncertain: Option<std::ops::Range<u64>>,
        restarted: bool,
    ) {
        let sure = uncertain.is_none();
        self.uncertain = uncertain.unwrap_or_default();
        assert!(found.range(self.uncertain.clone()).next().is_none());
        let held = self.owed.iter();
        let held = held.filter(|(seq, _)| self.uncertain.contains(seq));
        let held: BTreeMap<u64, Record> =
            held.map(|(seq, record)| (*seq, record.clone())).collect();
        self.owed.retain(|seq, _| !held.contains_key(seq));
        for (seq, record) in &self.owed {
            let same = found.get(seq).is_some_and(|found| found == record);
            assert!(same, "answered record {seq} is lost");
        }
        let mut extra = Vec::new();
        for (seq, record) in &found {
            if self.owed.contains_key(seq) {
                continue;
            }
            match self.settled.get(seq) {
                Some((settled, durable)) => {
                    assert!(settled == record, "record {seq} is another");
                    assert!(!durable, "record {seq} was settled for good");
                }
                None => extra.push((*seq, record.clone())),
            }
        }
        let mut rest: &[(u64, Record)] = &extra;
        for group in &self.unknown {
            let len = group.len();
            let whole = rest
                .get(..len)
                .is_some_and(|head| head.iter().map(|(_, record)| record).eq(group.iter()));
            if whole {
                rest = &rest[len..];
            }
        }
        assert!(
            rest.is_empty(),
            "{} records were never appended",
            rest.len()
        );
        let touched: BTreeSet<&str> = self
            .unknown_events
            .iter()
            .map(|event| match event {
                Event::Open { client, .. }
                | Event::Release { client, .. }
                | Event::Forget { client } => client.as_str(),
            })
            .collect();
        let known = |ids: &BTreeSet<(String, u16)>| -> Vec<(String, u16)> {
            let ids = ids
                .iter()
                .filter(|(client, _)| !touched.contains(&**client));
            ids.cloned().collect()
        };
        self.max_seq = self.max_seq.max(found.keys().max().copied().unwrap_or(0));
        if sure {
            assert_eq!(known(&open), known(&self.open), "open ids");
            self.unknown.clear();
            self.unknown_events.clear();
            self.open = open;
        }
        if sure && restarted {
            self.settled.clear();
        } else {
            self.settled.retain(|seq, _| !found.contains_key(seq));
        }
        self.owed = found;
        self.owed.extend(held);
    }
}
