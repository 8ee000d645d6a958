//! Passes over the log as lanes see them: who takes part, what is offered, and how a part ends.

use std::sync::Arc;

use forebay_core::{HashKey, Time};

use super::{Dealer, Dealing, Member};
use crate::lane_feed::{LaneFeed, Offered};
use crate::{Record, Stream};

impl Dealer {
    /// Offers a record that was read back to its lane. `make` builds it for a stream and lane.
    pub(crate) fn offer(
        &mut self,
        stream: usize,
        log: u64,
        hash: HashKey,
        charge: u32,
        now: Time,
        make: impl FnOnce(&Arc<Stream>) -> Record,
    ) -> Offered {
        self.slot(stream, now);
        let slot = self.slots[stream].as_mut().expect("just seen");
        let Dealing::Lanes { table, feeds } = &mut slot.dealing else {
            return Offered::NotWanted;
        };
        let lane = table.map.lookup(hash);
        let count = feeds.len();
        let feed = &mut feeds[lane];
        let had_next = feed.has_next();
        let owner = &slot.stream;
        let (budget, next_seq) = (&mut self.budget, &mut self.next_seq);
        let offered = feed.offer(log, u64::from(charge), count, budget, next_seq, || {
            let mut record = make(owner);
            record.lane = lane as u32;
            record
        });
        if offered == Offered::Taken {
            slot.in_memory += 1;
            self.in_memory += 1;
            if !had_next {
                slot.dirty.push(lane);
            }
        }
        offered
    }

    /// Every lane that lags and for which reading is worth it, and whether one of them has room for much.
    pub(crate) fn hungry(&self, now: Time) -> (Vec<Member>, bool) {
        let mut members = Vec::new();
        let mut worth_it = false;
        if self.lagging == 0 {
            return (members, worth_it);
        }
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(Dealing::Lanes { table, feeds }) = slot.as_ref().map(|slot| &slot.dealing)
            else {
                continue;
            };
            for (lane, feed) in feeds.iter().enumerate() {
                let Some(lag) = feed.lag.as_ref().filter(|lag| lag.retry_at <= now) else {
                    continue;
                };
                worth_it |= feed.is_hungry(now, feeds.len(), &self.budget);
                let range = table.map.shard(lane).range();
                members.push(Member {
                    stream: index,
                    lane,
                    cursor: lag.cursor,
                    from: *range.start(),
                    to: *range.end(),
                });
            }
        }
        (members, worth_it)
    }

    /// When a lane whose part of the log could not be read is tried again.
    pub(crate) fn next_retry(&self, now: Time) -> Time {
        if self.lagging == 0 {
            return Time::NEVER;
        }
        let feeds = self.slots.iter().flatten().flat_map(|slot| {
            let feeds: &[LaneFeed] = match &slot.dealing {
                Dealing::Lanes { feeds, .. } => feeds,
                Dealing::Held(..) => &[],
            };
            feeds.iter().filter_map(|feed| feed.lag.as_ref())
        });
        feeds
            .map(|lag| lag.retry_at)
            .filter(|at| *at > now)
            .min()
            .unwrap_or(Time::NEVER)
    }

    fn feed(&mut self, member: Member) -> Option<&mut LaneFeed> {
        match &mut self.slots.get_mut(member.stream)?.as_mut()?.dealing {
            Dealing::Lanes { feeds, .. } => feeds.get_mut(member.lane),
            Dealing::Held(..) => None,
        }
    }

    /// Takes a lane into a pass.
    pub(crate) fn join(&mut self, member: Member, to_the_end: bool) {
        if let Some(feed) = self.feed(member) {
            feed.join(to_the_end);
        }
    }

    /// True while the lane takes part in the pass and has room.
    pub(crate) fn takes_part(&mut self, member: Member) -> bool {
        self.feed(member)
            .and_then(|feed| feed.lag.as_ref()?.pass.as_ref())
            .is_some_and(|part| !part.blocked)
    }

    /// Ends the part of a lane in a pass that read everything before `position`; without a position the pass was given
    /// up, and the lane is tried again at `retry_at`.
    pub(crate) fn end_part(&mut self, member: Member, position: Option<u64>, retry_at: Time) {
        let Some(Some(slot)) = self.slots.get_mut(member.stream) else {
            return;
        };
        let Dealing::Lanes { feeds, .. } = &mut slot.dealing else {
            return;
        };
        let Some(feed) = feeds.get_mut(member.lane) else {
            return;
        };
        let (lagged, had_next) = (feed.lag.is_some(), feed.has_next());
        let left = match position {
            Some(position) => feed.finish_part(position, &mut self.budget, &mut self.next_seq),
            None => feed.leave_pass(&mut self.budget),
        };
        if let (None, Some(lag)) = (position, &mut feed.lag) {
            lag.retry_at = retry_at;
        }
        slot.in_memory -= left;
        self.in_memory -= left;
        if lagged && feed.lag.is_none() {
            slot.lagging -= 1;
            self.lagging -= 1;
        }
        if !had_next && feed.has_next() {
            slot.dirty.push(member.lane);
        }
        if !std::mem::replace(&mut slot.listed, true) {
            self.listed.push(member.stream);
        }
    }

    #[cfg(test)]
    pub(crate) fn pretend_live(&mut self, member: Member) {
        self.end_part(member, Some(0), Time::ZERO);
        let slot = self.slots[member.stream].as_mut().expect("it was read for");
        if let Dealing::Lanes { feeds, .. } = &mut slot.dealing
            && feeds[member.lane].lag.take().is_some()
        {
            slot.lagging -= 1;
            self.lagging -= 1;
        }
    }
}
