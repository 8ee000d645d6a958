//! Duplicates against what may cause them: a device that repeated itself, and moments whose outcome nobody knows.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::Result;

use crate::kinesis::Record;
use crate::oracle::Numbered;

/// Why a message may be in a stream more than once.
#[derive(Debug, Default)]
pub struct Excuses {
    /// How often a device sent a message beyond the first time.
    pub repeats: BTreeMap<Numbered, u64>,
    /// Milliseconds since the epoch. Of a record that arrived in such a span the sender may not have known that it had,
    /// so it may have sent it once more; what arrives then, in such a span too, may be followed by another.
    pub spans: Vec<RangeInclusive<u64>>,
}

impl Excuses {
    /// The messages that are in a stream more often than can be excused, once for each record too many.
    ///
    /// # Errors
    /// The first one of `identify`.
    pub fn unexcused(
        &self,
        records: &[Record],
        identify: impl Fn(&Record) -> Result<Numbered>,
    ) -> Result<Vec<Numbered>> {
        let mut arrivals: BTreeMap<Numbered, Vec<u64>> = BTreeMap::new();
        for record in records {
            let arrivals = arrivals.entry(identify(record)?).or_default();
            arrivals.push(record.arrival_ms);
        }
        let mut unexcused = Vec::new();
        for (message, arrivals) in arrivals {
            let doubtful = |at: &&u64| self.spans.iter().any(|span| span.contains(at));
            let repeats = self.repeats.get(&message).copied().unwrap_or(0) as usize;
            let excused = 1 + repeats + arrivals.iter().filter(doubtful).count();
            let excess = arrivals.len().saturating_sub(excused);
            unexcused.extend(std::iter::repeat_n(message, excess));
        }
        Ok(unexcused)
    }
}

/// What brokers counted as possible duplicates of a stream, each up to the last look at its counters.
#[derive(Debug, Default)]
pub struct Counted {
    /// The sum over all brokers.
    pub records: u64,
    /// Milliseconds since the epoch: what was sent then is in no look.
    pub unseen: Vec<RangeInclusive<u64>>,
}

impl Counted {
    /// How many records brokers must have counted: of each message those after the first, less the times that its
    /// device sent it again, as far as they did not arrive unseen.
    ///
    /// # Errors
    /// The first one of `identify`.
    pub fn required(
        &self,
        repeats: &BTreeMap<Numbered, u64>,
        records: &[Record],
        identify: impl Fn(&Record) -> Result<Numbered>,
    ) -> Result<u64> {
        let mut arrivals: BTreeMap<Numbered, Vec<u64>> = BTreeMap::new();
        for record in records {
            let arrivals = arrivals.entry(identify(record)?).or_default();
            arrivals.push(record.arrival_ms);
        }
        let mut required = 0;
        for (message, mut arrivals) in arrivals {
            arrivals.sort_unstable();
            let seen = |at: &&u64| !self.unseen.iter().any(|span| span.contains(at));
            let again = arrivals.iter().skip(1).filter(seen).count() as u64;
            required += again.saturating_sub(repeats.get(&message).copied().unwrap_or(0));
        }
        Ok(required)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(arrivals: &[u64]) -> Vec<Record> {
        arrivals
            .iter()
            .map(|at| Record {
                shard: String::new(),
                sequence_number: String::new(),
                partition_key: "a".to_owned(),
                data: Vec::new(),
                arrival_ms: *at,
            })
            .collect()
    }

    fn identify(record: &Record) -> Result<Numbered> {
        Ok((record.partition_key.clone(), 7))
    }

    fn unexcused(excuses: &Excuses, arrivals: &[u64]) -> usize {
        let found = excuses.unexcused(&arrived(arrivals), identify);
        found.unwrap().len()
    }

    #[test]
    fn what_arrives_again_and_is_seen_must_be_counted() {
        let mut counted = Counted::default();
        let mut repeats = BTreeMap::new();
        let required = |counted: &Counted, repeats: &_, arrivals: &[u64]| {
            counted
                .required(repeats, &arrived(arrivals), identify)
                .unwrap()
        };
        assert_eq!(required(&counted, &repeats, &[100]), 0);
        assert_eq!(required(&counted, &repeats, &[300, 100, 200]), 2);
        counted.unseen.push(90..=100);
        // The first needs no count, whenever it arrives.
        assert_eq!(required(&counted, &repeats, &[100, 200]), 1);
        assert_eq!(required(&counted, &repeats, &[80, 100, 200]), 1);
        repeats.insert(("a".to_owned(), 7), 1);
        assert_eq!(required(&counted, &repeats, &[80, 100, 200]), 0);
        assert_eq!(required(&counted, &repeats, &[80, 200, 300]), 1);
    }

    #[test]
    fn each_repeat_and_each_doubtful_arrival_excuses_one_record() {
        let mut excuses = Excuses::default();
        assert_eq!(unexcused(&excuses, &[100]), 0);
        assert_eq!(unexcused(&excuses, &[100, 200, 300]), 2);
        excuses.spans.push(90..=100);
        assert_eq!(unexcused(&excuses, &[100, 200, 300]), 1);
        assert_eq!(unexcused(&excuses, &[101, 200, 300]), 2);
        // What is sent again in doubt may be sent once more, however many spans there are.
        assert_eq!(unexcused(&excuses, &[95, 98, 300]), 0);
        excuses.spans.push(95..=105);
        assert_eq!(unexcused(&excuses, &[100, 200, 300]), 1);
        excuses.repeats.insert(("a".to_owned(), 7), 1);
        assert_eq!(unexcused(&excuses, &[100, 200, 300]), 0);
        excuses.repeats.insert(("a".to_owned(), 8), 5);
        assert_eq!(unexcused(&excuses, &[100, 200, 300, 400]), 1);
    }
}
