//! Reading back what is owed, in the order of sequence numbers, beside the thread that commits.

use std::sync::Arc;

use forebay_core::{Fs, FsError, FsFile};
use roaring::RoaringTreemap;

use crate::cursor::{Cursor, Damage, Piece};
use crate::progress::Progress;
use crate::record::{Record, StreamKey};
use crate::spool::Spool;

/// Part of the hash key range of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadTarget {
    /// The stream.
    pub stream: StreamKey,
    /// First hash key.
    pub from: u128,
    /// Last hash key.
    pub to: u128,
}

/// What a [`ReadPlan`] yields.
#[derive(Debug)]
pub enum Read {
    /// Records that were owed when the plan was made, in order, each with its sequence number. Their bytes are slices of
    /// a read buffer: copy what is kept for long.
    Records(Vec<(u64, Record)>),
    /// Give it to [`Spool::report_damage`], then go on.
    Damage(Damage),
}

/// A range of the log as it was at one moment. It can be read on any thread; segments that it names are not used again
/// before it is dropped.
#[derive(Debug)]
pub struct ReadPlan<T> {
    segments: std::vec::IntoIter<Cursor<T>>,
    current: Option<Cursor<T>>,
    unsettled: RoaringTreemap,
    targets: Vec<ReadTarget>,
    progress: Arc<Progress>,
    resume: u64,
}

impl<F: Fs> Spool<F> {
    /// Plans to read what is owed from sequence number `from` on, over at most `max_segments` segments that can hold
    /// something for the targets. Without targets everything is read.
    pub fn plan_read(
        &self,
        from: u64,
        max_segments: usize,
        targets: Vec<ReadTarget>,
    ) -> ReadPlan<F::File> {
        let wanted = |summary: &crate::segment::Summary| {
            targets.is_empty()
                || targets
                    .iter()
                    .any(|target| summary.may_hold(&target.stream, target.from, target.to))
        };
        let held = self.uncertain().map(|held| held.start);
        let mut resume = held.unwrap_or(self.next_seq);
        let mut segments = Vec::new();
        for segment in self.live.values() {
            if segment.end_seq <= from || self.is_settled(segment) || !wanted(&segment.summary) {
                continue;
            }
            if segments.len() == max_segments {
                resume = segment.header.base_seq;
                break;
            }
            segments.push(Cursor::new(segment));
        }
        let mut unsettled = RoaringTreemap::new();
        if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
            let from = from.max(first.seqs().start);
            let to = last.seqs().end.max(from);
            unsettled.insert_range(from..to);
            unsettled &= &self.unsettled;
        }
        ReadPlan {
            segments: segments.into_iter(),
            current: None,
            unsettled,
            targets,
            progress: Arc::clone(&self.config.progress),
            resume,
        }
    }
}

impl<T: FsFile> ReadPlan<T> {
    /// Where the next plan goes on after this one was read to its end.
    pub fn resume(&self) -> u64 {
        self.resume
    }

    /// Reads on: the wanted records of the next frame that has any. `None` at the end of the plan.
    ///
    /// # Errors
    /// When a read failed. That is not damage: nothing is skipped, and the call can be repeated later.
    pub fn read(&mut self) -> Result<Option<Read>, FsError> {
        loop {
            let Some(mut cursor) = self.current.take().or_else(|| self.segments.next()) else {
                return Ok(None);
            };
            match self.read_segment(&mut cursor) {
                Ok(Some(read)) => {
                    self.current = Some(cursor);
                    return Ok(Some(read));
                }
                Ok(None) => {}
                Err(error) => {
                    self.current = Some(cursor);
                    return Err(error);
                }
            }
        }
    }

    fn read_segment(&self, cursor: &mut Cursor<T>) -> Result<Option<Read>, FsError> {
        while let Some(piece) = cursor.next()? {
            let frame = match piece {
                Piece::Frame(frame) => frame,
                Piece::Damage(damage) => return Ok(Some(Read::Damage(damage))),
            };
            if !self.any_unsettled(frame.header.first_seq, frame.header.end_seq()) {
                continue;
            }
            let decoded = self.progress.decode(
                cursor.place_of(&frame),
                (&frame.header, &frame.payload),
                |content| self.wanted(frame.header.first_seq, content.records),
            );
            let Some(records) = decoded else {
                return Ok(Some(Read::Damage(cursor.undecodable(&frame))));
            };
            if !records.is_empty() {
                return Ok(Some(Read::Records(records)));
            }
        }
        Ok(None)
    }

    fn any_unsettled(&self, from: u64, to: u64) -> bool {
        self.unsettled.range_cardinality(from..to) > 0
    }

    fn wanted(&self, first_seq: u64, records: Vec<Record>) -> Vec<(u64, Record)> {
        let hit = |record: &Record| {
            self.targets.is_empty()
                || self.targets.iter().any(|target| {
                    let hash = record.hash.value();
                    target.stream == *record.stream && target.from <= hash && hash <= target.to
                })
        };
        (first_seq..)
            .zip(records)
            .filter(|(seq, record)| self.unsettled.contains(*seq) && hit(record))
            .collect()
    }
}
