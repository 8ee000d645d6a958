//! Writing frames: to the active segment, and to a fresh one when that is full or failed.

use std::sync::Arc;

use forebay_core::{Entropy as _, Fs, FsError, FsErrorKind, FsFile as _};

use crate::error::AppendError;
use crate::frame::FrameBuffer;
use crate::segment::{Kind, PAGE, SegmentHeader, Summary};
use crate::spool::{Commit, Effect, Pending, RecentFrame, Segment, Spare, Spool};
use crate::wire::{wide, write_all};

/// Memory of a frame that is kept for the next group, at most.
const SPARE_BYTES_MAX: usize = 4 << 20;
/// Fresh segments that are tried before a frame is held.
const PLACES_MAX: usize = 3;
/// Ranges of sequence numbers beyond the number of segments that are counted apart.
const RANGES_SPARE: usize = 2;

impl<F: Fs> Spool<F> {
    /// Makes a frame durable. `fits` says whether the active segment has room.
    pub(crate) fn commit(
        &mut self,
        mut frame: FrameBuffer,
        effect: Effect,
        fits: bool,
    ) -> Result<Commit, AppendError> {
        let mut frames = Vec::new();
        let mut error = None;
        if fits {
            match self.write_active(&mut frame) {
                Ok(()) => {
                    self.note_active(frame);
                    return Ok(self.apply(effect));
                }
                Err(failed) => {
                    self.counters.flush_errors += 1;
                    error = Some(failed);
                    frames = self.retire_active();
                }
            }
        }
        frames.push(frame);
        self.pending = Some(Pending {
            frames,
            effect: Some(effect),
            first_epoch: None,
            error,
        });
        match self.place_pending() {
            Ok(Some(commit)) => Ok(commit),
            Ok(None) => Err(AppendError::Unwritable("nothing was held".to_owned())),
            Err(error) => Err(AppendError::Unwritable(error.to_string())),
        }
    }

    fn write_active(&mut self, frame: &mut FrameBuffer) -> Result<(), FsError> {
        let active = self.active.and_then(|epoch| self.live.get(&epoch));
        let segment = active.expect("only called when the active segment has room");
        write_all(&*segment.file, frame.seal(&segment.header), segment.end)?;
        let flushed = self.flush(&segment.file);
        #[cfg(test)]
        if self.config.mutation == crate::mutation::Mutation::FlushAgain {
            return flushed.or_else(|_| self.flush(&segment.file));
        }
        flushed
    }

    fn flush(&self, file: &F::File) -> Result<(), FsError> {
        #[cfg(test)]
        if self.config.mutation == crate::mutation::Mutation::NoFlush {
            return Ok(());
        }
        file.sync_data()
    }

    fn note_active(&mut self, frame: FrameBuffer) {
        let active = self.active.and_then(|epoch| self.live.get_mut(&epoch));
        let segment = active.expect("it was just written");
        let offset = segment.end;
        segment.end += frame.header.stride(segment.header.align);
        segment.end_frame = frame.header.frame + 1;
        segment.end_seq = frame.header.end_seq();
        segment.headers_crc = crc32c::crc32c_append(segment.headers_crc, frame.header_bytes());
        Arc::make_mut(&mut segment.summary).merge(&frame.summary);
        let end = segment.end;
        self.counters.frames += 1;
        self.counters.bytes += end - offset;
        self.recent.push(RecentFrame { end, buffer: frame });
        self.forget_recent();
    }

    /// Lets go of frames that no later write can touch, and keeps the memory of one for the next group.
    fn forget_recent(&mut self) {
        let end = self.recent.last().map_or(0, |last| last.end);
        let page = end & !(PAGE - 1);
        for gone in self.recent.extract_if(.., |recent| recent.end <= page) {
            let bytes = gone.buffer.into_bytes();
            if bytes.capacity() <= SPARE_BYTES_MAX {
                self.spare_bytes = Some(bytes);
            }
        }
    }

    /// Gives up the active segment after a failed write or flush. Its tail is unknown, so the frames that share a page
    /// with what failed are returned to be written again.
    fn retire_active(&mut self) -> Vec<FrameBuffer> {
        if let Some(segment) = self.active.and_then(|epoch| self.live.get_mut(&epoch)) {
            segment.bad = true;
        }
        self.active = None;
        self.recent.drain(..).map(|recent| recent.buffer).collect()
    }

    /// Writes the held frames to a fresh segment and, once they are durable, the header that makes them count.
    pub(crate) fn place_pending(&mut self) -> Result<Option<Commit>, FsError> {
        for _ in 0..PLACES_MAX {
            let Some(mut pending) = self.pending.take() else {
                return Ok(None);
            };
            let Some(spare) = self.take_spare(&pending) else {
                self.pending = Some(pending);
                break;
            };
            let header = self.header_for(&spare, &mut pending);
            match self.write_fresh(&spare, &header, &mut pending.frames) {
                Ok(()) => {
                    self.activate(spare, header, pending.frames);
                    return Ok(pending.effect.map(|effect| self.apply(effect)));
                }
                Err(error) => {
                    // Whether its header reached the disk is unknown. That does no harm: the next segment has the
                    // same frames and a higher epoch.
                    self.counters.flush_errors += 1;
                    self.discarded.push_back(spare.slot);
                    pending.error = Some(error);
                    self.pending = Some(pending);
                }
            }
        }
        // That no segment is left is the consequence of what happened to the others.
        let error = self.pending.as_ref().and_then(|it| it.error.clone());
        Err(error.unwrap_or_else(|| no_segment(&self.config.dir)))
    }

    fn take_spare(&mut self, pending: &Pending) -> Option<Spare<F::File>> {
        let align = self.config.align;
        let frames = pending.frames.iter();
        let bytes: u64 = frames.map(|frame| frame.header.stride(align)).sum();
        let at = self
            .ready
            .iter()
            .position(|spare| bytes + 2 * PAGE <= spare.size)?;
        Some(self.ready.remove(at))
    }

    fn header_for(&mut self, spare: &Spare<F::File>, pending: &mut Pending) -> SegmentHeader {
        let first = pending.frames.first().map(|frame| frame.header);
        let epoch = self.next_epoch;
        pending.first_epoch.get_or_insert(epoch);
        self.next_epoch += 1;
        SegmentHeader {
            kind: Kind::Log,
            slot: spare.slot,
            epoch,
            salt: self.entropy.next_u64(),
            base_frame: first.map_or(self.next_frame, |first| first.frame),
            base_seq: first.map_or(self.next_seq, |first| first.first_seq),
            initial_frames: crate::wire::len_u32(pending.frames.len()),
            align: self.config.align,
            size: spare.size,
            created_ms: self.wall_ms,
            replaces: Vec::new(),
        }
    }

    fn write_fresh(
        &self,
        spare: &Spare<F::File>,
        header: &SegmentHeader,
        frames: &mut [FrameBuffer],
    ) -> Result<(), FsError> {
        #[cfg(test)]
        if self.config.mutation == crate::mutation::Mutation::HeaderFirst {
            write_all(&*spare.file, &header.encode(), 0)?;
            self.flush(&spare.file)?;
        }
        let mut offset = PAGE;
        for frame in frames {
            let bytes = frame.seal(header);
            write_all(&*spare.file, bytes, offset)?;
            offset += wide(bytes.len());
        }
        self.flush(&spare.file)?;
        write_all(&*spare.file, &header.encode(), 0)?;
        self.flush(&spare.file)
    }

    fn activate(&mut self, spare: Spare<F::File>, header: SegmentHeader, frames: Vec<FrameBuffer>) {
        self.void_from(header.base_frame, header.base_seq);
        for segment in std::mem::take(&mut self.voids) {
            self.reuse(segment);
        }
        let mut segment = Segment {
            file: spare.file,
            end: PAGE,
            end_frame: header.base_frame,
            end_seq: header.base_seq,
            headers_crc: 0,
            summary: Arc::default(),
            bad: false,
            settled_in: None,
            header,
        };
        self.recent.clear();
        let mut summary = Summary::default();
        for frame in frames {
            summary.merge(&frame.summary);
            let offset = segment.end;
            segment.end += frame.header.stride(segment.header.align);
            segment.end_frame = frame.header.frame + 1;
            segment.end_seq = frame.header.end_seq();
            segment.headers_crc = crc32c::crc32c_append(segment.headers_crc, frame.header_bytes());
            self.counters.frames += 1;
            self.counters.bytes += segment.end - offset;
            self.recent.push(RecentFrame {
                end: segment.end,
                buffer: frame,
            });
        }
        segment.summary = Arc::new(summary);
        self.forget_recent();
        let epoch = segment.header.epoch;
        if let Some(sealed) = self.active.replace(epoch) {
            self.unsealed.push_back(sealed);
        }
        self.live.insert(epoch, segment);
        self.checkpoint_wanted = true;
        self.release_held();
        let ranges_max = self.live.len() + RANGES_SPARE;
        self.book.begin(self.next_seq, ranges_max);
    }

    /// What the last frames of an earlier process do counts from now on: they are on disk.
    fn release_held(&mut self) {
        for effect in self.held.take().into_iter().flat_map(|held| held.effects) {
            let progress = Arc::clone(&self.config.progress);
            progress.during(effect.place, || {
                effect.apply(&mut self.unsettled, &mut self.open_ids, &mut self.totals);
                effect.count(&mut self.book);
            });
        }
    }

    /// Cuts from older segments the frames that a fresh one has taken over.
    fn void_from(&mut self, base_frame: u64, base_seq: u64) {
        let mut empty = Vec::new();
        for (epoch, segment) in &mut self.live {
            if segment.header.base_frame >= base_frame {
                empty.push(*epoch);
            } else if segment.end_frame > base_frame {
                segment.end_frame = base_frame;
                segment.end_seq = base_seq;
                // Where its last frame ends is not known here: readers stop at the number, and the next start seals it.
                self.unsealed.retain(|unsealed| unsealed != epoch);
                Arc::make_mut(&mut segment.summary).partial = true;
            }
        }
        for epoch in empty {
            if let Some(segment) = self.live.remove(&epoch) {
                // A reader may still have it; its file is then used again after a restart.
                if Arc::strong_count(&segment.file) == 1 {
                    self.reuse(segment);
                } else {
                    self.discarded.push_back(segment.header.slot);
                }
            }
        }
    }

    fn apply(&mut self, effect: Effect) -> Commit {
        let end = effect.first_seq + u64::from(effect.records);
        self.unsettled.insert_range(effect.first_seq..end);
        for event in &effect.events {
            self.open_ids.apply(event);
        }
        self.totals.appended += u64::from(effect.records);
        self.next_frame = effect.frame + 1;
        self.next_seq = end;
        self.prior_end = end;
        self.changed = true;
        self.book.add(effect.first_seq, &effect.tallies);
        Commit {
            first_seq: effect.first_seq,
            records: effect.records,
        }
    }
}

fn no_segment(dir: &std::path::Path) -> FsError {
    FsError {
        kind: FsErrorKind::NoSpace,
        operation: "take a segment",
        path: dir.to_owned(),
        detail: "no segment is ready".to_owned(),
    }
}
