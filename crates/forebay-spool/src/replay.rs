//! Reading the segments of a directory: which frames are in force, what they do, and which of them may not be on disk.
//!
//! Nothing here writes. What the last frames do is kept apart as [`Held`] until somebody made them certain.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{FsError, FsFile};
use roaring::RoaringTreemap;

use crate::backlog::Book;
use crate::checkpoint::{Checkpoint, Totals};
use crate::cursor::Damage;
use crate::directory::{Found, Loaded};
use crate::frame::{Delta, FrameBuffer, FrameHeader, Group, HEADER, Tally};
use crate::open_ids::{Event, OpenIds};
use crate::progress::{FramePlace, Progress};
use crate::recovery::{FIRST_FRAME, Recovered};
use crate::scan::{Item, Scanner};
use crate::segment::{Footer, PAGE, SegmentHeader, Summary};
use crate::spool::Segment;
use crate::wire::{narrow, read_full, wide};

/// What the segments of a directory say.
#[derive(Debug)]
pub(crate) struct Log<T> {
    pub(crate) live: BTreeMap<u64, Segment<T>>,
    /// Segments all of whose frames are in later ones.
    pub(crate) voids: Vec<Segment<T>>,
    /// Segments without a footer.
    pub(crate) unsealed: VecDeque<u64>,
    /// The frames at the end, to be written again.
    pub(crate) tail: Vec<FrameBuffer>,
    pub(crate) held: Held,
}

/// The end of the log as long as it may not be on disk: a group that was written and never answered, which the next
/// power cut takes, or one that was answered. Nothing may follow from it yet, neither that its records are owed nor
/// that older copies of its frames are not needed.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) effects: VecDeque<ReplayEffect>,
    /// Epoch of the last segment when its header may not be on disk either.
    pub(crate) epoch: Option<u64>,
    /// Numbers of the first frame that is void in the segments that this header cuts, if it is not on disk.
    pub(crate) uncut: BTreeMap<u64, u64>,
    /// The open ids without those of which the held frames say anything.
    pub(crate) open_ids: OpenIds,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.epoch.is_none()
    }

    /// The sequence numbers that are held; empty when the held frames have events only.
    pub(crate) fn seqs(&self) -> Option<Range<u64>> {
        let (first, last) = (self.effects.front()?, self.effects.back()?);
        Some(first.seqs.start..last.seqs.end)
    }
}

/// What a frame does to the state.
#[derive(Debug)]
pub(crate) struct ReplayEffect {
    pub(crate) place: FramePlace,
    pub(crate) frame: u64,
    pub(crate) seqs: Range<u64>,
    pub(crate) events: Vec<Event>,
    pub(crate) delta: Delta,
    pub(crate) tallies: Vec<Tally>,
}

/// The state while frames are replayed.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Frames below this number are covered by the checkpoint.
    from_frame: u64,
    progress: Arc<Progress>,
    pub(crate) unsettled: RoaringTreemap,
    pub(crate) lost: RoaringTreemap,
    pub(crate) open_ids: OpenIds,
    pub(crate) totals: Totals,
    pub(crate) book: Book,
    pub(crate) next_frame: u64,
    /// Sequence number behind that of the last frame.
    pub(crate) prior_end: u64,
    pub(crate) report: Recovered,
    /// Frames behind the checkpoint are gone: they may have said that records are settled.
    pub(crate) may_hide_settled: bool,
}

impl Replay {
    pub(crate) fn new(
        newest: Option<&Checkpoint>,
        created: bool,
        loaded: &Loaded,
        segment_bytes: u64,
        progress: Arc<Progress>,
    ) -> Self {
        let unusable = loaded.iter().filter(|loaded| loaded.is_none()).count();
        Self {
            from_frame: newest.map_or(0, |newest| newest.next_frame),
            progress,
            unsettled: newest.map_or_else(RoaringTreemap::new, |newest| newest.unsettled.clone()),
            lost: RoaringTreemap::new(),
            open_ids: newest.map_or_else(OpenIds::default, |newest| newest.open_ids.clone()),
            totals: newest.map_or_else(Totals::default, |newest| newest.totals),
            book: newest
                .map_or_else(Book::default, |newest| newest.book.clone())
                .with_limits(segment_bytes),
            next_frame: newest.map_or(FIRST_FRAME, |newest| newest.next_frame),
            prior_end: newest.map_or(1, |newest| newest.next_seq),
            report: Recovered {
                created,
                checkpoints_unusable: if created { 0 } else { unusable },
                ..Recovered::default()
            },
            may_hide_settled: false,
        }
    }

    /// Reads what must be read, oldest segment first.
    pub(crate) fn read<T: FsFile>(
        &mut self,
        found: BTreeMap<u64, Found<T>>,
        newest: Option<&Checkpoint>,
    ) -> Result<Log<T>, FsError> {
        let last = found.last_key_value().map(|(epoch, _)| *epoch);
        let listed = |epoch: u64| {
            let mut segments = newest.iter().flat_map(|newest| &newest.segments);
            segments.any(|segment| segment.header.epoch == epoch)
        };
        let limits = limits_of(&found, newest, None);
        let mut log = Log {
            live: BTreeMap::new(),
            voids: Vec::new(),
            unsealed: VecDeque::new(),
            tail: Vec::new(),
            held: Held::default(),
        };
        let mut end = TailEnd::default();
        let without_last = limits_of(&found, newest, last);
        for (epoch, (header, file)) in found {
            let limit = limits.get(&epoch).copied().unwrap_or(u64::MAX);
            if header.base_frame >= limit {
                log.voids.push(new_segment(header, file));
                continue;
            }
            self.apply(std::mem::take(&mut end.effects));
            let initial = header.base_frame + u64::from(header.initial_frames);
            // A checkpoint lists a segment, a footer seals it and further frames follow only when its header is on
            // disk.
            let known = listed(epoch);
            let (segment, scanned) = self.read_segment(header, file, limit, known)?;
            let certain = known || scanned.is_none() || segment.end_frame > initial;
            log.held.epoch = (!certain).then_some(epoch);
            self.next_frame = self.next_frame.max(segment.end_frame);
            self.report.segments += 1;
            if scanned.is_some() {
                log.unsealed.push_back(epoch);
            }
            log.live.insert(epoch, segment);
            end = scanned.unwrap_or_default();
        }
        log.tail = end.frames.into_iter().map(|(.., frame)| frame).collect();
        self.hold(&mut log.held, end.effects);
        if log.held.epoch.is_some() {
            log.held.uncut = without_last;
            log.held
                .uncut
                .retain(|epoch, without| limits.get(epoch).is_some_and(|limit| limit < without));
        }
        Ok(log)
    }

    /// Settles what is owed and gone: what lay in damage, and what lies in no segment.
    pub(crate) fn settle_lost<T>(&mut self, live: &BTreeMap<u64, Segment<T>>) -> RoaringTreemap {
        let mut orphans = self.unsettled.clone();
        for segment in live.values() {
            orphans.remove_range(segment.header.base_seq..segment.end_seq);
        }
        if let (Some(first), Some(last)) = (orphans.min(), orphans.max())
            && self.report.damaged.is_empty()
        {
            self.report.damaged.push(Damage {
                slot: 0,
                epoch: 0,
                offset: 0,
                len: 0,
                first_seq: first,
                end_seq: last + 1,
            });
        }
        self.may_hide_settled |= !orphans.is_empty();
        let mut lost = &self.lost | &orphans;
        lost &= &self.unsettled;
        self.unsettled -= &lost;
        self.totals.settled += lost.len();
        self.totals.lost += lost.len();
        self.report.lost = lost.len();
        lost
    }

    /// Reads one segment: its footer when that tells all that is needed, its frames otherwise. `known` says that its
    /// header is certainly on disk.
    fn read_segment<T: FsFile>(
        &mut self,
        header: SegmentHeader,
        file: Arc<T>,
        limit: u64,
        known: bool,
    ) -> Result<(Segment<T>, Option<TailEnd>), FsError> {
        let mut segment = new_segment(header, file);
        if let Some(footer) = read_footer(&*segment.file, &segment.header)?
            && footer.end_frame <= limit.min(self.from_frame)
        {
            segment.end = footer.end;
            segment.end_frame = footer.end_frame;
            segment.end_seq = footer.end_seq;
            segment.headers_crc = footer.headers_crc;
            segment.summary = footer.summary;
            self.prior_end = self.prior_end.max(segment.end_seq);
            return Ok((segment, None));
        }
        self.report.scanned += 1;
        let end = self.scan_segment(&mut segment, limit, known)?;
        Ok((segment, Some(end)))
    }

    fn scan_segment<T: FsFile>(
        &mut self,
        segment: &mut Segment<T>,
        limit: u64,
        known: bool,
    ) -> Result<TailEnd, FsError> {
        let file = Arc::clone(&segment.file);
        let header = segment.header.clone();
        let initial = header.base_frame + u64::from(header.initial_frames);
        let mut scanner = Scanner::new(file, header.clone(), header.size - PAGE);
        let mut summary = Summary::default();
        let mut end = TailEnd::default();
        segment.end = PAGE;
        loop {
            match scanner.next()? {
                Item::Frame {
                    offset,
                    header: frame,
                    payload,
                } => {
                    if frame.frame >= limit {
                        break;
                    }
                    self.note_gap(&header, segment.end, frame.frame, frame.prior_end);
                    let seen = self.see_frame(&frame, &payload, &header, offset);
                    let (effect, own, readable) = seen;
                    summary.merge(&own);
                    segment.end = offset + frame.stride(header.align);
                    segment.end_frame = frame.frame + 1;
                    segment.end_seq = frame.end_seq();
                    segment.headers_crc =
                        crc32c::crc32c_append(segment.headers_crc, &frame.encode(&header));
                    let beyond = segment.end_frame > initial;
                    let whole = segment.end <= header.size / 2 || !beyond;
                    let buffer = match readable {
                        true => FrameBuffer::from_payload(frame, &payload, own),
                        false => stand_in(&frame, own),
                    };
                    end.push(offset, segment.end, buffer, whole);
                    self.apply(end.defer(effect, offset, segment.end, known || beyond));
                }
                Item::Damage {
                    offset, len, next, ..
                } => {
                    if next.frame >= limit {
                        break;
                    }
                    self.apply(end.clear());
                    let missing = segment.end_seq..next.prior_end.max(segment.end_seq);
                    self.count_unseen(segment.end_frame, missing.clone());
                    self.may_hide_settled |= next.frame > self.from_frame;
                    self.lose(&header, offset, len, missing);
                    self.next_frame = self.next_frame.max(next.frame);
                    self.prior_end = self.prior_end.max(next.prior_end);
                    segment.end_frame = next.frame;
                    segment.end_seq = next.prior_end.max(segment.end_seq);
                    summary.partial = true;
                }
                Item::End { torn, .. } => {
                    self.report.torn += u64::from(torn && limit == u64::MAX);
                    break;
                }
            }
        }
        segment.summary = Arc::new(summary);
        Ok(end)
    }

    /// Takes note of a frame that was read and returns what it does, when the checkpoint does not know it yet, and
    /// whether it could be read.
    fn see_frame(
        &mut self,
        frame: &FrameHeader,
        payload: &Bytes,
        header: &SegmentHeader,
        offset: u64,
    ) -> (Option<ReplayEffect>, Summary, bool) {
        let seqs = frame.first_seq..frame.end_seq();
        let place = FramePlace {
            slot: header.slot,
            epoch: header.epoch,
            offset,
        };
        let decoded = self.progress.decode(place, (frame, payload), |content| {
            let (tallies, summary) = content.tallies();
            (content.events, content.delta, tallies, summary)
        });
        let Some((events, delta, tallies, summary)) = decoded else {
            self.count_unseen(frame.frame, seqs.clone());
            self.may_hide_settled |= frame.frame >= self.from_frame;
            self.next_frame = self.next_frame.max(frame.frame + 1);
            self.prior_end = self.prior_end.max(seqs.end);
            self.lose(header, offset, wide(HEADER + payload.len()), seqs);
            let unknown = Summary {
                partial: true,
                ..Summary::default()
            };
            return (None, unknown, false);
        };
        if frame.frame < self.from_frame {
            return (None, summary, true);
        }
        self.report.frames += 1;
        self.next_frame = frame.frame + 1;
        self.prior_end = self.prior_end.max(seqs.end);
        let effect = ReplayEffect {
            place,
            frame: frame.frame,
            seqs,
            events,
            delta,
            tallies,
        };
        (Some(effect), summary, true)
    }

    fn apply(&mut self, effects: impl IntoIterator<Item = (u64, ReplayEffect)>) {
        let progress = Arc::clone(&self.progress);
        for (_, effect) in effects {
            progress.during(effect.place, || {
                effect.apply(&mut self.unsettled, &mut self.open_ids, &mut self.totals);
                effect.count(&mut self.book);
            });
        }
    }

    /// Keeps apart what uncertain frames do. That what they settle is settled is a fact, whether they are on disk or
    /// not.
    fn hold(&mut self, held: &mut Held, effects: VecDeque<(u64, ReplayEffect)>) {
        held.open_ids = self.open_ids.clone();
        for (_, effect) in effects {
            let before = self.unsettled.len();
            self.unsettled -= &effect.delta.seqs;
            self.totals.settled += before - self.unsettled.len();
            for event in &effect.events {
                held.open_ids.doubt(event);
            }
            held.effects.push_back(effect);
        }
    }

    /// Records and events of damaged frames behind the checkpoint. Whether the records were owed is known at the end.
    fn lose(&mut self, header: &SegmentHeader, offset: u64, len: u64, seqs: Range<u64>) {
        self.report.damaged.push(Damage {
            slot: header.slot,
            epoch: header.epoch,
            offset,
            len,
            first_seq: seqs.start,
            end_seq: seqs.end,
        });
        self.lost.insert_range(seqs);
    }

    /// Frames that should lie before this one and were not seen.
    fn note_gap(&mut self, header: &SegmentHeader, offset: u64, frame: u64, prior_end: u64) {
        let known = self.report.segments > 0 || self.from_frame > 0;
        if known && frame > self.next_frame {
            let missing = self.prior_end..prior_end.max(self.prior_end);
            self.count_unseen(self.next_frame, missing.clone());
            self.may_hide_settled |= frame > self.from_frame;
            self.lose(header, offset, 0, missing);
        }
    }

    /// Records that are not in the checkpoint become known, though what they are is not.
    fn count_unseen(&mut self, frame: u64, seqs: Range<u64>) {
        if frame >= self.from_frame {
            self.totals.appended += seqs.end.saturating_sub(seqs.start);
            self.unsettled.insert_range(seqs);
            // An id that was opened before could have been released in what is gone.
            self.open_ids.clear();
        }
    }
}

impl ReplayEffect {
    pub(crate) fn apply(
        &self,
        unsettled: &mut RoaringTreemap,
        open_ids: &mut OpenIds,
        totals: &mut Totals,
    ) {
        totals.appended += self.seqs.end - self.seqs.start;
        unsettled.insert_range(self.seqs.clone());
        for event in &self.events {
            open_ids.apply(event);
        }
        let before = unsettled.len();
        *unsettled -= &self.delta.seqs;
        totals.settled += before - unsettled.len();
    }

    /// Enters its records, and takes those out that it settles.
    pub(crate) fn count(&self, book: &mut Book) {
        book.add(self.seqs.start, &self.tallies);
        self.delta.counts.apply(book);
    }
}

/// For each segment the number from which on its frames are void.
fn limits_of<T>(
    found: &BTreeMap<u64, Found<T>>,
    newest: Option<&Checkpoint>,
    without: Option<u64>,
) -> BTreeMap<u64, u64> {
    // From the newest down: frames with numbers from a segment's first on are void in all older ones.
    let mut limits = BTreeMap::new();
    let mut limit = u64::MAX;
    for (epoch, (header, _)) in found.iter().rev() {
        limits.insert(*epoch, limit);
        if Some(*epoch) != without {
            limit = limit.min(header.base_frame);
        }
    }
    // A segment that had taken over frames may be settled and gone since. What it made void stays void: all but the
    // newest segment of a checkpoint had their end.
    for listed in newest
        .iter()
        .flat_map(|newest| newest.segments.iter().rev().skip(1))
    {
        if let Some(limit) = limits.get_mut(&listed.header.epoch) {
            *limit = listed.end_frame.min(*limit);
        }
    }
    limits
}

/// What is written again in place of a frame that is not decoded: its number, and that its records are settled.
fn stand_in(frame: &FrameHeader, summary: Summary) -> FrameBuffer {
    let mut delta = Delta::default();
    delta.seqs.insert_range(frame.first_seq..frame.end_seq());
    let (mut buffer, ..) =
        Group::new().take_frame(frame.frame, frame.first_seq, frame.prior_end, &delta);
    buffer.summary = summary;
    buffer
}

fn new_segment<T>(header: SegmentHeader, file: Arc<T>) -> Segment<T> {
    Segment {
        file,
        end: 0,
        end_frame: header.base_frame,
        end_seq: header.base_seq,
        headers_crc: 0,
        summary: Arc::default(),
        bad: false,
        settled_in: None,
        header,
    }
}

/// The footer of a segment; `None` when it is not sealed.
pub(crate) fn read_footer<T: FsFile>(
    file: &T,
    header: &SegmentHeader,
) -> Result<Option<Footer>, FsError> {
    let mut page = vec![0; narrow(PAGE)];
    let read = read_full(file, &mut page, header.size - PAGE)?;
    page.truncate(read);
    Ok(Footer::decode(&page, header))
}

/// The end of a segment. Its frames may have to be written again: all of them while that is little or while none was
/// committed after those that came with the header, those in the page of the last one otherwise. What they do waits
/// while they may not be on disk.
#[derive(Debug, Default)]
struct TailEnd {
    /// Begin, end and content.
    frames: VecDeque<(u64, u64, FrameBuffer)>,
    /// True when earlier frames are not here.
    cut: bool,
    /// What frames do, each with the offset behind the frame.
    effects: VecDeque<(u64, ReplayEffect)>,
}

impl TailEnd {
    fn push(&mut self, offset: u64, end: u64, frame: FrameBuffer, whole: bool) {
        self.frames.push_back((offset, end, frame));
        self.cut |= !whole;
        if self.cut {
            let page = offset & !(PAGE - 1);
            self.frames.retain(|(_, end, _)| *end > page);
        }
    }

    /// Adds what the frame at `offset` does and returns what frames do that are certain by it: those outside of its
    /// page, once the header is.
    fn defer(
        &mut self,
        effect: Option<ReplayEffect>,
        offset: u64,
        end: u64,
        header_certain: bool,
    ) -> Vec<(u64, ReplayEffect)> {
        let page = offset & !(PAGE - 1);
        let certain = match header_certain {
            true => self
                .effects
                .iter()
                .take_while(|(end, _)| *end <= page)
                .count(),
            false => 0,
        };
        let certain = self.effects.drain(..certain).collect();
        self.effects.extend(effect.map(|effect| (end, effect)));
        certain
    }

    /// Damage lies between what was pushed and what follows; it stays where it is.
    fn clear(&mut self) -> VecDeque<(u64, ReplayEffect)> {
        self.frames.clear();
        self.cut = true;
        std::mem::take(&mut self.effects)
    }
}
