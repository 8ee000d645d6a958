//! Walking the frames of one segment as it was at one moment.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{FsError, FsFile};

use crate::frame::{FrameHeader, HEADER};
use crate::progress::FramePlace;
use crate::scan::{Item, Scanner};
use crate::segment::SegmentHeader;
use crate::spool::Segment;
use crate::wire::wide;

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

/// A frame as it was read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    pub(crate) payload: Bytes,
}

/// What lies at one place of a segment.
#[derive(Debug)]
pub(crate) enum Piece {
    Frame(Frame),
    Damage(Damage),
}

/// Where a cursor stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    offset: u64,
    next_frame: u64,
    seq: u64,
}

/// A position in a segment. The segment is not used again while there is one.
#[derive(Debug)]
pub(crate) struct Cursor<T> {
    scanner: Scanner<T>,
    slot: u32,
    epoch: u64,
    base_seq: u64,
    end: u64,
    end_frame: u64,
    end_seq: u64,
    next_frame: u64,
    /// Sequence number behind the last that was read.
    seq: u64,
}

impl<T: FsFile> Cursor<T> {
    /// A cursor at the first frame.
    pub(crate) fn new(segment: &Segment<T>) -> Self {
        let header: &SegmentHeader = &segment.header;
        Self {
            scanner: Scanner::new(Arc::clone(&segment.file), header.clone(), segment.end),
            slot: header.slot,
            epoch: header.epoch,
            base_seq: header.base_seq,
            end: segment.end,
            end_frame: segment.end_frame,
            end_seq: segment.end_seq,
            next_frame: header.base_frame,
            seq: header.base_seq,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            offset: self.scanner.offset(),
            next_frame: self.next_frame,
            seq: self.seq,
        }
    }

    /// Goes to where another cursor of the same segment stood.
    pub(crate) fn go_to(&mut self, position: Position) {
        self.scanner.go_to(position.offset, position.next_frame);
        self.next_frame = position.next_frame;
        self.seq = position.seq;
    }

    pub(crate) fn seqs(&self) -> Range<u64> {
        self.base_seq..self.end_seq
    }

    /// The next frame or the next damage; `None` at the end. After an error it can be called again.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, FsError> {
        if self.next_frame >= self.end_frame {
            return Ok(None);
        }
        let item = self.scanner.next()?;
        self.next_frame = self.scanner.next_frame();
        let (offset, len, end_seq) = match item {
            Item::Frame { header, .. } if header.frame >= self.end_frame => return Ok(None),
            Item::Frame {
                header,
                payload,
                offset,
            } => {
                self.seq = header.end_seq();
                return Ok(Some(Piece::Frame(Frame {
                    offset,
                    header,
                    payload,
                })));
            }
            Item::Damage { offset, len, next } => {
                self.next_frame = next.frame;
                (offset, len, next.prior_end.min(self.end_seq))
            }
            Item::End { offset, .. } => {
                self.next_frame = self.end_frame;
                (offset, self.end.saturating_sub(offset), self.end_seq)
            }
        };
        let first_seq = self.seq;
        self.seq = end_seq.max(first_seq);
        Ok(Some(Piece::Damage(Damage {
            slot: self.slot,
            epoch: self.epoch,
            offset,
            len,
            first_seq,
            end_seq: self.seq,
        })))
    }

    /// Where a frame lies.
    pub(crate) fn place_of(&self, frame: &Frame) -> FramePlace {
        FramePlace {
            slot: self.slot,
            epoch: self.epoch,
            offset: frame.offset,
        }
    }

    /// The damage that a frame is whose payload this code did not write, or must not decode.
    pub(crate) fn undecodable(&self, frame: &Frame) -> Damage {
        Damage {
            slot: self.slot,
            epoch: self.epoch,
            offset: frame.offset,
            len: wide(HEADER + frame.payload.len()),
            first_seq: frame.header.first_seq,
            end_seq: frame.header.end_seq(),
        }
    }
}
