//! Reading everything that is there, owed or not, to find damage before it is needed.

use forebay_core::{Fs, FsError, FsFile};

use crate::cursor::{Cursor, Damage, Piece};
use crate::frame::{HEADER, decode_payload};
use crate::spool::{Segment, Spool};
use crate::wire::wide;

/// One segment to be checked. It can be read on any thread, and the segment is not used again before it is dropped.
#[derive(Debug)]
pub struct CheckPlan<T> {
    cursor: Cursor<T>,
    epoch: u64,
    header: crate::segment::SegmentHeader,
    frames: u64,
    records: u64,
    bytes: u64,
    headers_crc: u32,
}

/// What [`CheckPlan::step`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The bytes that were asked for were read and are right; more follow.
    Right,
    /// Give it to [`Spool::report_damage`], then go on.
    Damage(Damage),
    /// The segment was read to its end.
    End,
}

impl<F: Fs> Spool<F> {
    /// The oldest segment that was put to use after the one with this epoch; begin with zero. `None` after the newest.
    /// Who reads it decides how fast: a tenth of what the disk can do is a good measure.
    pub fn plan_check(&self, after: u64) -> Option<CheckPlan<F::File>> {
        let (_, segment) = self.live.range(after.saturating_add(1)..).next()?;
        Some(CheckPlan::new(segment))
    }
}

impl<T: FsFile> CheckPlan<T> {
    pub(crate) fn new(segment: &Segment<T>) -> Self {
        Self {
            cursor: Cursor::new(segment),
            epoch: segment.header.epoch,
            header: segment.header.clone(),
            frames: 0,
            records: 0,
            bytes: 0,
            headers_crc: 0,
        }
    }

    /// The epoch of the segment: where the next plan goes on.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Frames that were read and are right.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Records in these frames.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of these frames.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Checksum over the headers of these frames.
    pub(crate) fn headers_crc(&self) -> u32 {
        self.headers_crc
    }

    /// Reads on until at least `bytes` were read, or to the next damage.
    ///
    /// # Errors
    /// When a read failed. That is not damage: nothing is skipped, and the call can be repeated later.
    pub fn step(&mut self, bytes: u64) -> Result<Checked, FsError> {
        let until = self.bytes.saturating_add(bytes.max(1));
        while self.bytes < until {
            let frame = match self.cursor.next()? {
                None => return Ok(Checked::End),
                Some(Piece::Damage(damage)) => return Ok(Checked::Damage(damage)),
                Some(Piece::Frame(frame)) => frame,
            };
            self.bytes += wide(HEADER + frame.payload.len());
            let header = frame.header.encode(&self.header);
            self.headers_crc = crc32c::crc32c_append(self.headers_crc, &header);
            if decode_payload(&frame.header, &frame.payload).is_none() {
                return Ok(Checked::Damage(self.cursor.undecodable(&frame)));
            }
            self.frames += 1;
            self.records += u64::from(frame.header.records);
        }
        Ok(Checked::Right)
    }
}
