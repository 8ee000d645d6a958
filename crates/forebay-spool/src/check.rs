//! Reading everything that is there, owed or not, to find damage before it is needed.

use std::sync::Arc;

use forebay_core::{Fs, FsError, FsFile};

use crate::cursor::{Cursor, Damage, Piece, Position};
use crate::frame::HEADER;
use crate::progress::Progress;
use crate::replay::read_footer;
use crate::segment::{PAGE, SegmentHeader};
use crate::spool::{Segment, Spool};
use crate::wire::{narrow, read_full, wide};

/// One segment to be checked. It can be read on any thread, and the segment is not used again before it is dropped.
#[derive(Debug)]
pub struct CheckPlan<T> {
    cursor: Cursor<T>,
    file: Arc<T>,
    header: SegmentHeader,
    end_frame: u64,
    seen: Seen,
    progress: Arc<Progress>,
}

/// What was read of a segment so far.
#[derive(Debug, Clone, Default)]
struct Seen {
    frames: u64,
    records: u64,
    bytes: u64,
    headers_crc: u32,
    damaged: bool,
}

/// Where the reading of a segment goes on. It holds no segment: the segment may be used again meanwhile.
#[derive(Debug, Clone)]
pub struct CheckMark {
    epoch: u64,
    position: Position,
    seen: Seen,
}

/// Which segments there are to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckScope {
    /// Epoch of the newest; zero when there is none.
    pub last: u64,
    /// How many there are.
    pub segments: usize,
}

/// Which pages of a segment beside its frames are damaged. No record is lost by that: checkpoints know what the header
/// says, and a segment without a footer is read as a whole at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pages {
    /// Both copies of the header.
    pub header: bool,
    /// The footer does not agree with the frames.
    pub footer: bool,
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

impl CheckMark {
    /// The epoch of the segment.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl<F: Fs> Spool<F> {
    /// The oldest segment that was put to use after the one with this epoch; begin with zero. `None` after the newest.
    /// Who reads it decides how fast: a tenth of what the disk can do is a good measure.
    pub fn plan_check(&self, after: u64) -> Option<CheckPlan<F::File>> {
        let (_, segment) = self.live.range(after.saturating_add(1)..).next()?;
        Some(self.check_of(segment))
    }

    fn check_of(&self, segment: &Segment<F::File>) -> CheckPlan<F::File> {
        CheckPlan::new(segment, Arc::clone(&self.config.progress))
    }

    /// Goes on where another plan stopped. `None` when the segment was settled and used again meanwhile.
    pub fn resume_check(&self, mark: &CheckMark) -> Option<CheckPlan<F::File>> {
        let mut plan = self.check_of(self.live.get(&mark.epoch)?);
        plan.cursor.go_to(mark.position);
        plan.seen = mark.seen.clone();
        Some(plan)
    }

    /// The segments after the one with epoch `after`: those that take no more frames, or all with frames.
    pub fn check_scope(&self, after: u64, with_active: bool) -> CheckScope {
        let epochs = self.live.range(after.saturating_add(1)..);
        let epochs = epochs
            .map(|(epoch, _)| *epoch)
            .filter(|epoch| with_active || Some(*epoch) != self.active);
        epochs.fold(CheckScope::default(), |scope, epoch| CheckScope {
            last: epoch,
            segments: scope.segments + 1,
        })
    }
}

impl<T: FsFile> CheckPlan<T> {
    pub(crate) fn new(segment: &Segment<T>, progress: Arc<Progress>) -> Self {
        Self {
            cursor: Cursor::new(segment),
            file: Arc::clone(&segment.file),
            header: segment.header.clone(),
            end_frame: segment.end_frame,
            seen: Seen::default(),
            progress,
        }
    }

    /// Where to go on later: drop the plan, so that the segment can be used again, and give this to
    /// [`Spool::resume_check`].
    pub fn mark(&self) -> CheckMark {
        CheckMark {
            epoch: self.epoch(),
            position: self.cursor.position(),
            seen: self.seen.clone(),
        }
    }

    /// The epoch of the segment: where the next plan goes on.
    pub fn epoch(&self) -> u64 {
        self.header.epoch
    }

    /// Number of the segment, as in the name of its file.
    pub fn slot(&self) -> u32 {
        self.header.slot
    }

    /// Frames that were read and are right.
    pub fn frames(&self) -> u64 {
        self.seen.frames
    }

    /// Records in these frames.
    pub fn records(&self) -> u64 {
        self.seen.records
    }

    /// Bytes of these frames.
    pub fn bytes(&self) -> u64 {
        self.seen.bytes
    }

    /// Reads the pages beside the frames. Call it at [`Checked::End`].
    ///
    /// # Errors
    /// When a read failed. That is not damage.
    pub fn pages(&self) -> Result<Pages, FsError> {
        let mut page = vec![0; narrow(PAGE)];
        let read = read_full(&*self.file, &mut page, 0)?;
        page.truncate(read);
        let header = SegmentHeader::decode(&page);
        let footer = read_footer(&*self.file, &self.header)?;
        Ok(Pages {
            header: header.is_none_or(|header| header.slot != self.header.slot),
            // A segment that is not sealed yet has none, and what is damaged cannot be compared.
            footer: !self.seen.damaged
                && footer.is_some_and(|footer| {
                    footer.end_frame == self.end_frame
                        && footer.headers_crc != self.seen.headers_crc
                }),
        })
    }

    /// Reads on until at least `bytes` were read, or to the next damage.
    ///
    /// # Errors
    /// When a read failed. That is not damage: nothing is skipped, and the call can be repeated later.
    pub fn step(&mut self, bytes: u64) -> Result<Checked, FsError> {
        let until = self.seen.bytes.saturating_add(bytes.max(1));
        while self.seen.bytes < until {
            let frame = match self.cursor.next()? {
                None => return Ok(Checked::End),
                Some(Piece::Damage(damage)) => {
                    self.seen.damaged = true;
                    return Ok(Checked::Damage(damage));
                }
                Some(Piece::Frame(frame)) => frame,
            };
            self.seen.bytes += wide(HEADER + frame.payload.len());
            let header = frame.header.encode(&self.header);
            self.seen.headers_crc = crc32c::crc32c_append(self.seen.headers_crc, &header);
            let place = self.cursor.place_of(&frame);
            let decoded = self
                .progress
                .decode(place, (&frame.header, &frame.payload), drop);
            if decoded.is_none() {
                self.seen.damaged = true;
                return Ok(Checked::Damage(self.cursor.undecodable(&frame)));
            }
            self.seen.frames += 1;
            self.seen.records += u64::from(frame.header.records);
        }
        Ok(Checked::Right)
    }
}
