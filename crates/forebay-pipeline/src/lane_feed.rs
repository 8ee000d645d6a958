//! What the sequencer keeps of one lane: what goes into it next, and how far behind the log it is.
//!
//! A lane is live or it lags. A live one gets each record of the log as soon as it is durable. One that has no room
//! for a record lags from there on: it is given nothing more until it was brought up to date from the disk, in order.

use forebay_core::Time;

use crate::lane_budget::LaneBudget;
use crate::{Lane, Record};

/// One lane as its feeder sees it.
#[derive(Debug, Default)]
pub(crate) struct LaneFeed {
    /// What the lane gets next of the log, and of what waits behind it because it could not be written.
    pub(crate) tail: Vec<Record>,
    /// What the lane gets next besides. It waits for nothing that lies in the log, and a part of the lane is kept free
    /// for it.
    pub(crate) outside: Vec<Record>,
    /// Bytes of the log's records that are in the tail, in the lane or at the sender.
    pub(crate) bytes: u64,
    /// Where it stands in the log; `None` while it is live.
    pub(crate) lag: Option<Lag>,
    /// Records that are not in the log because it could not be written. They come behind what the log has for this
    /// lane up to their place, and before what it has after that.
    pub(crate) stalled: Vec<Record>,
}

/// How far behind a lane is.
#[derive(Debug)]
pub(crate) struct Lag {
    /// Nothing from this number on was given to the lane, everything before was.
    pub(crate) cursor: u64,
    /// Its part in the pass over the log that is under way, if it has one.
    pub(crate) pass: Option<Part>,
    /// The log could not be read for it: try again then.
    pub(crate) retry_at: Time,
}

/// The part of a lane in a pass.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// It had no room: it keeps its place until the next pass.
    pub(crate) blocked: bool,
    /// What became durable behind the end of the pass, if the pass goes to the end of the log.
    pub(crate) after: Option<Vec<Record>>,
    /// First record that `after` had no room for.
    pub(crate) overflow: Option<u64>,
}

impl Lag {
    pub(crate) fn from(cursor: u64) -> Self {
        Self {
            cursor,
            pass: None,
            retry_at: Time::ZERO,
        }
    }
}

/// What became of a record that was offered to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is in the tail.
    Taken,
    /// The lane was given it before, or takes no part in the pass.
    NotWanted,
    /// The lane has no room.
    Full,
}

impl LaneFeed {
    /// Gives the lane a record of the log that has just become durable. True when it is in memory now; otherwise it is
    /// on the disk only.
    pub(crate) fn give(&mut self, record: Record, lanes: usize, budget: &mut LaneBudget) -> bool {
        let charge = u64::from(record.charge);
        let Some(lag) = &mut self.lag else {
            if !budget.fits(self.bytes, charge, lanes) {
                self.lag = Some(Lag::from(record.log));
                return false;
            }
            budget.take(record.log, charge);
            self.bytes += charge;
            self.tail.push(record);
            return true;
        };
        let Some(part) = &mut lag.pass else {
            return false;
        };
        let Some(after) = &mut part.after else {
            return false;
        };
        if part.overflow.is_some() || !budget.fits(self.bytes, charge, lanes) {
            part.overflow.get_or_insert(record.log);
            return false;
        }
        budget.take(record.log, charge);
        self.bytes += charge;
        after.push(record);
        true
    }

    /// Offers a record that was read back. `make` is called when the lane takes it. What goes into the lane gets its
    /// sequence numbers from `next_seq` now, so that a lane is in their order whatever waited for what.
    pub(crate) fn offer(
        &mut self,
        log: u64,
        charge: u64,
        lanes: usize,
        budget: &mut LaneBudget,
        next_seq: &mut u64,
        make: impl FnOnce() -> Record,
    ) -> Offered {
        let Some(lag) = self.lag.as_mut().filter(|lag| lag.cursor <= log) else {
            return Offered::NotWanted;
        };
        let Some(part) = lag.pass.as_mut().filter(|part| !part.blocked) else {
            return Offered::NotWanted;
        };
        if !budget.fits(self.bytes, charge, lanes) {
            part.blocked = true;
            return Offered::Full;
        }
        lag.cursor = log + 1;
        self.release_stalled(log, next_seq);
        budget.take(log, charge);
        self.bytes += charge;
        self.append(make(), next_seq);
        Offered::Taken
    }

    /// Puts a record into the tail that was dealt earlier, or is dealt for the first time.
    fn append(&mut self, mut record: Record, next_seq: &mut u64) {
        record.seq = *next_seq;
        *next_seq += 1;
        self.tail.push(record);
    }

    /// Moves what waited for the log up to `log` behind what the lane was given.
    fn release_stalled(&mut self, log: u64, next_seq: &mut u64) {
        if self.stalled.first().is_some_and(|first| first.log <= log) {
            let later = self.stalled.partition_point(|record| record.log <= log);
            let kept = self.stalled.split_off(later);
            for record in std::mem::replace(&mut self.stalled, kept) {
                self.append(record, next_seq);
            }
        }
    }

    /// Holds a record back that could not be written to the log while older ones are still on the disk.
    pub(crate) fn stall(&mut self, record: Record) {
        self.stalled.push(record);
    }

    /// Takes the lane into a pass; `to_the_end` when nothing durable lies behind what the pass will read.
    pub(crate) fn join(&mut self, to_the_end: bool) {
        if let Some(lag) = &mut self.lag {
            let part = lag.pass.get_or_insert_default();
            part.after = to_the_end.then(Vec::new);
            part.overflow = None;
        }
    }

    /// The pass has read everything before `position`. A lane that took all of it and for which nothing else became
    /// durable meanwhile is live from now on. Returns how many records left memory again.
    pub(crate) fn finish_part(
        &mut self,
        position: u64,
        budget: &mut LaneBudget,
        next_seq: &mut u64,
    ) -> usize {
        let Some(lag) = &mut self.lag else {
            return 0;
        };
        let Some(part) = lag.pass.take() else {
            return 0;
        };
        if part.blocked {
            return self.forget(part.after.unwrap_or_default(), budget);
        }
        lag.cursor = lag.cursor.max(position);
        let Some(after) = part.after else {
            return 0;
        };
        match part.overflow {
            Some(log) => lag.cursor = log,
            None => self.lag = None,
        }
        self.release_stalled(position, next_seq);
        for record in after {
            self.release_stalled(record.log, next_seq);
            self.append(record, next_seq);
        }
        if self.lag.is_none() {
            self.release_stalled(u64::MAX, next_seq);
        }
        0
    }

    /// The pass was given up. Returns how many records left memory again.
    pub(crate) fn leave_pass(&mut self, budget: &mut LaneBudget) -> usize {
        let part = self.lag.as_mut().and_then(|lag| lag.pass.take());
        match part.and_then(|part| part.after) {
            Some(after) => self.forget(after, budget),
            None => 0,
        }
    }

    fn forget(&mut self, records: Vec<Record>, budget: &mut LaneBudget) -> usize {
        for record in &records {
            let charge = u64::from(record.charge);
            budget.give_back(record.log, charge);
            self.bytes -= charge;
        }
        records.len()
    }

    /// True when something waits for room in the lane itself.
    pub(crate) fn has_next(&self) -> bool {
        !self.tail.is_empty() || !self.outside.is_empty()
    }

    /// Pushes what the lane has room for. True when it pushed anything.
    pub(crate) fn push_into(&mut self, lane: &Lane) -> bool {
        // The log's records never come first: as long as the others wait, the whole lane is full.
        push_all(&mut self.outside, |batch| lane.push(batch))
            | (self.outside.is_empty() && push_all(&mut self.tail, |batch| lane.push_logged(batch)))
    }

    /// Records that are here and not in the lane.
    pub(crate) fn held(&self) -> usize {
        let after = self
            .lag
            .as_ref()
            .and_then(|lag| lag.pass.as_ref()?.after.as_ref())
            .map_or(0, Vec::len);
        self.tail.len() + self.outside.len() + self.stalled.len() + after
    }

    /// True when a pass may bring the lane forward.
    pub(crate) fn is_hungry(&self, now: Time, lanes: usize, budget: &LaneBudget) -> bool {
        self.lag
            .as_ref()
            .is_some_and(|lag| lag.retry_at <= now && budget.is_half_free(self.bytes, lanes))
    }
}

/// Pushes what waits, if anything does. True when it was pushed.
fn push_all(
    next: &mut Vec<Record>,
    push: impl FnOnce(Vec<Record>) -> Result<(), Vec<Record>>,
) -> bool {
    if next.is_empty() {
        return false;
    }
    match push(std::mem::take(next)) {
        Ok(()) => true,
        Err(batch) => {
            *next = batch;
            false
        }
    }
}
