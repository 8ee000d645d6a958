//! Reading back what is owed, in the order of sequence numbers, beside the thread that commits.

use std::sync::Arc;

use forebay_core::{Fs, FsError, FsFile};
use roaring::RoaringTreemap;

use crate::frame::decode_payload;
use crate::record::{Record, StreamKey};
use crate::scan::{Item, Scanner};
use crate::segment::{PAGE, SegmentHeader};
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

/// A range of the log that could not be read because it is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment's file.
    pub slot: u32,
    /// Epoch of the segment.
    pub epoch: u64,
    /// Where it begins.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// First sequence number that it held.
    pub first_seq: u64,
    /// Sequence number behind the last that it held.
    pub end_seq: u64,
}

/// What a [`ReadPlan`] yields.
#[derive(Debug)]
pub enum Read {
    /// Records that were owed when the plan was made, in order, each with its sequence number.
    Records(Vec<(u64, Record)>),
    /// Give it to [`Spool::report_damage`], then go on.
    Damage(Damage),
}

#[derive(Debug)]
struct PlannedSegment<T> {
    file: Arc<T>,
    header: SegmentHeader,
    end: u64,
    end_frame: u64,
    end_seq: u64,
}

/// A range of the log as it was at one moment. It can be read on any thread; segments that it names are not used again
/// before it is dropped.
#[derive(Debug)]
pub struct ReadPlan<T> {
    segments: std::vec::IntoIter<PlannedSegment<T>>,
    current: Option<Cursor<T>>,
    unsettled: RoaringTreemap,
    targets: Vec<ReadTarget>,
    resume: u64,
}

#[derive(Debug)]
struct Cursor<T> {
    segment: PlannedSegment<T>,
    offset: u64,
    next_frame: u64,
    /// Sequence number behind the last that was read.
    seq: u64,
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
            segments.push(PlannedSegment {
                file: Arc::clone(&segment.file),
                header: segment.header.clone(),
                end: segment.end,
                end_frame: segment.end_frame,
                end_seq: segment.end_seq,
            });
        }
        let mut unsettled = RoaringTreemap::new();
        if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
            let from = from.max(first.header.base_seq);
            let to = last.end_seq.max(from);
            unsettled.insert_range(from..to);
            unsettled &= &self.unsettled;
        }
        ReadPlan {
            segments: segments.into_iter(),
            current: None,
            unsettled,
            targets,
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
            let Some(mut cursor) = self.current.take().or_else(|| {
                self.segments.next().map(|segment| Cursor {
                    offset: PAGE,
                    next_frame: segment.header.base_frame,
                    seq: segment.header.base_seq,
                    segment,
                })
            }) else {
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
        let segment = &cursor.segment;
        let (file, header) = (&*segment.file, &segment.header);
        let mut scanner = Scanner::at(file, header, cursor.offset, cursor.next_frame, segment.end);
        while cursor.next_frame < segment.end_frame {
            let item = scanner.next()?;
            (cursor.offset, cursor.next_frame) = scanner.position();
            let (offset, len, end_seq) = match item {
                Item::Frame {
                    header,
                    payload,
                    offset,
                } => {
                    if header.frame >= segment.end_frame {
                        return Ok(None);
                    }
                    let first_seq = header.first_seq;
                    cursor.seq = header.end_seq();
                    if !self.any_unsettled(first_seq, cursor.seq) {
                        continue;
                    }
                    if let Some(content) = decode_payload(&header, &payload) {
                        let records = self.wanted(first_seq, content.records);
                        if records.is_empty() {
                            continue;
                        }
                        return Ok(Some(Read::Records(records)));
                    }
                    cursor.seq = first_seq;
                    (offset, crate::wire::wide(payload.len()), header.end_seq())
                }
                Item::Damage {
                    offset, len, next, ..
                } => {
                    cursor.next_frame = next.frame;
                    (offset, len, next.prior_end.min(segment.end_seq))
                }
                Item::End { offset, .. } => {
                    cursor.next_frame = segment.end_frame;
                    let len = segment.end.saturating_sub(offset);
                    (offset, len, segment.end_seq)
                }
            };
            let first_seq = cursor.seq;
            cursor.seq = end_seq;
            return Ok(Some(Read::Damage(Damage {
                slot: segment.header.slot,
                epoch: segment.header.epoch,
                offset,
                len,
                first_seq,
                end_seq,
            })));
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
