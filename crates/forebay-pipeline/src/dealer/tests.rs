//! What a lane that lags does with records that wait for nothing in the log.

use forebay_core::ShardMap;

use super::*;
use crate::testing::{self, logged, open, record};
use crate::{PipelineConfig, SinkEvent};

/// Records of the log that the only lane has room for, one batch each.
const ROOM: u64 = 16;

struct Bed {
    dealer: Dealer,
    stream: Arc<Stream>,
    table: Arc<LaneTable>,
}

impl Bed {
    fn new() -> Self {
        let shared = testing::shared(PipelineConfig {
            lanes_bytes: 4 * ROOM,
            per_stream_share: 0.25,
            ..PipelineConfig::default()
        });
        let stream = open(&shared, "s");
        let mut dealer = Dealer::new(Arc::clone(&shared));
        dealer.opened(Arc::clone(&stream));
        let map = Arc::new(ShardMap::even(1).unwrap());
        dealer.install(&stream, map, Vec::new());
        let mut events = std::iter::from_fn(|| shared.events.pop());
        let table = events.find_map(|event| match event {
            SinkEvent::Lanes { table, .. } => Some(table),
            _ => None,
        });
        Self {
            dealer,
            stream,
            table: table.unwrap(),
        }
    }

    /// Deals more than the lane takes.
    fn fill_up(&mut self) {
        for log in 1..=ROOM + 1 {
            let next = logged(self.stream.id(), log);
            self.dealer.deal_durable(next, Time::ZERO);
            self.dealer.push_tails();
        }
        assert_eq!(self.dealer.lagging(), 1);
        assert_eq!(self.dealer.in_memory() as u64, ROOM);
    }

    fn deal(&mut self, ack: AckMode) {
        self.dealer.deal(record(self.stream.id(), ack), Time::ZERO);
        self.dealer.push_tails();
    }

    fn pop(&self) -> Option<Vec<Record>> {
        self.table.lanes[0].pop()
    }
}

#[test]
fn a_lane_that_lags_takes_a_stored_record_before_what_waits_for_room() {
    let mut bed = Bed::new();
    bed.fill_up();
    let held = bed.dealer.held();
    assert!(held > 0, "the ring must not have room for all of it");
    bed.deal(AckMode::Stored);
    assert_eq!(bed.dealer.held(), held, "it is in the lane");
    let mut before = 0;
    while bed.pop().unwrap()[0].in_log {
        before += 1;
    }
    assert_eq!(before, ROOM as usize - held);
    assert!(bed.pop().is_none());
    bed.dealer.push_tails();
    let rest: Vec<u64> = bed.pop().unwrap().iter().map(|record| record.log).collect();
    assert!(rest.iter().copied().eq(before as u64 + 1..=ROOM));
}

#[test]
fn a_record_that_could_not_be_written_waits_behind_the_log() {
    let mut bed = Bed::new();
    bed.fill_up();
    let held = bed.dealer.held();
    bed.deal(AckMode::Spool);
    assert_eq!(bed.dealer.held(), held + 1);
    bed.deal(AckMode::Accept);
    assert_eq!(bed.dealer.held(), held + 1);
}

#[test]
fn records_outside_the_log_are_never_behind_newer_ones_of_the_log() {
    let mut bed = Bed::new();
    // More batches than the whole ring: some of them wait outside it.
    for _ in 0..2 * ROOM {
        bed.deal(AckMode::Stored);
    }
    let newer = logged(bed.stream.id(), 1);
    bed.dealer.deal_durable(newer, Time::ZERO);
    let mut taken = Vec::new();
    while bed.dealer.held() > 0 || !bed.table.lanes[0].is_empty() {
        taken.extend(bed.pop().into_iter().flatten().map(|record| record.seq));
        bed.dealer.push_tails();
    }
    assert!(taken.iter().copied().eq(1..=2 * ROOM + 1));
}
