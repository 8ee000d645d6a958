//! A stream gets other lanes.

use std::collections::VecDeque;
use std::sync::Arc;

use forebay_core::ShardMap;

use super::{Dealer, Dealing, put};
use crate::lane_feed::{Lag, LaneFeed};
use crate::sink::SinkEvent;
use crate::{LaneTable, Record, Stream};

impl Dealer {
    /// Deals everything of the stream again under a new map. What is in the log is dropped from memory and read back;
    /// what is not is dealt again in the order in which it was dealt first.
    pub(crate) fn install(
        &mut self,
        stream: &Arc<Stream>,
        map: Arc<ShardMap>,
        returned: Vec<Record>,
    ) {
        let index = stream.id().index();
        let slot = match self.slots.get_mut(index).and_then(Option::as_mut) {
            Some(slot) if Arc::ptr_eq(&slot.stream, stream) => slot,
            _ => {
                // The stream was let go while its map was on the way: then nothing of it was pending.
                debug_assert!(returned.is_empty(), "records of a stream that was let go");
                return;
            }
        };
        let taken = take_back(std::mem::replace(
            &mut slot.dealing,
            Dealing::Held(VecDeque::new(), None),
        ));
        slot.dirty.clear();
        self.lagging -= std::mem::take(&mut slot.lagging);
        self.budget.change_lanes(taken.lanes, map.len());
        let mut lag = taken.lag;
        let mut records = Vec::new();
        for record in taken.records.into_iter().chain(returned) {
            if record.in_log {
                lag = Some(lag.unwrap_or(record.log).min(record.log));
                self.budget.give_back(record.log, u64::from(record.charge));
                slot.in_memory -= 1;
                self.in_memory -= 1;
            } else {
                records.push(record);
            }
        }
        debug_assert_eq!(slot.in_memory, 0, "a record of the log has no place");
        // What fell back keeps the order of its places in the log: it may have got another sequence number than what
        // still waits behind it.
        records.sort_unstable_by_key(|record| (record.log, record.seq));
        slot.epoch += 1;
        let table = Arc::new(LaneTable::new(slot.epoch, map, &self.wake));
        let mut feeds: Box<[LaneFeed]> = table.lanes.iter().map(|_| LaneFeed::default()).collect();
        if let Some(cursor) = lag {
            for feed in &mut feeds {
                feed.lag = Some(Lag::from(cursor));
            }
            slot.lagging = feeds.len();
            self.lagging += feeds.len();
        }
        for record in records {
            let lane = table.map.lookup(record.hash);
            put(&mut feeds, &mut slot.dirty, lane, record);
        }
        stream.set_table(Arc::clone(&table));
        self.shared.emit(SinkEvent::Lanes {
            stream: Arc::clone(stream),
            table: Arc::clone(&table),
        });
        slot.dealing = Dealing::Lanes { table, feeds };
        if !std::mem::replace(&mut slot.listed, true) {
            self.listed.push(index);
        }
    }
}

/// What a stream had before its map changed.
struct TakenBack {
    records: Vec<Record>,
    /// First number in the log that is owed and not in memory.
    lag: Option<u64>,
    lanes: usize,
}

/// Everything of a stream that is not with the consumer.
fn take_back(dealing: Dealing) -> TakenBack {
    match dealing {
        Dealing::Held(held, lag) => TakenBack {
            records: held.into(),
            lag,
            lanes: 0,
        },
        Dealing::Lanes { table, feeds } => {
            let mut taken = TakenBack {
                records: Vec::new(),
                lag: None,
                lanes: feeds.len(),
            };
            let queued = table
                .lanes
                .iter()
                .flat_map(|lane| std::iter::from_fn(|| lane.pop()));
            taken.records.extend(queued.flatten());
            for feed in feeds {
                taken.records.extend(feed.tail);
                taken.records.extend(feed.outside);
                taken.records.extend(feed.stalled);
                let Some(lag) = feed.lag else {
                    continue;
                };
                taken.lag = Some(taken.lag.unwrap_or(lag.cursor).min(lag.cursor));
                let after = lag.pass.and_then(|part| part.after);
                taken.records.extend(after.into_iter().flatten());
            }
            taken
        }
    }
}
