//! What is owed per stream: records and bytes, kept as records come and go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use forebay_core::{Fs, Time};
use roaring::RoaringTreemap;

use crate::frame::Tally;
use crate::record::StreamKey;
use crate::segment::stream_hash;
use crate::spool::Spool;
use crate::wire::{Fields, len_u32};

/// Stands for all streams beyond those that a range counts one by one.
const OTHER: u64 = u64::MAX;
/// Names that are known at once.
const NAMES_MAX: usize = 4096;
/// Pairs of range and stream that one delta tells apart. What it leaves out is counted again after a restart, until
/// the range is settled.
const DELTA_COUNTS_MAX: usize = 1024;
/// Bytes of one entry of a checkpoint.
const ENTRY: usize = 8 * 4;

/// A stream in calls that are made for every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The id of a stream; the same in every process. Work it out once per stream, not per record.
    pub fn of(stream: &StreamKey) -> Self {
        Self(stream_hash(stream))
    }
}

/// A record that is no longer owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Its sequence number.
    pub seq: u64,
    /// Its stream.
    pub stream: StreamId,
    /// Its [`payload_bytes`](crate::Record::payload_bytes).
    pub bytes: u64,
}

/// What is owed for one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The stream; `None` for all those together that are too many to be told apart.
    pub stream: Option<Arc<StreamKey>>,
    /// Records.
    pub records: u64,
    /// Bytes of data and partition keys.
    pub bytes: u64,
    /// When the oldest of them was received, in milliseconds since the Unix epoch. It is the oldest record since a
    /// segment had none of this stream, so it can be too early by the time that it takes to fill a segment.
    pub oldest_ms: i64,
}

/// Records of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) stream: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) since_ms: i64,
}

impl Count {
    fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.since_ms = self.since_ms.min(other.since_ms);
    }
}

/// Streams that a range counts one by one.
fn streams_max(segment_bytes: u64) -> usize {
    crate::wire::narrow((segment_bytes >> 14).clamp(16, 256))
}

/// Bytes of stream names in a checkpoint.
fn names_bytes_max(segment_bytes: u64) -> usize {
    crate::wire::narrow((segment_bytes >> 4).min(128 << 10))
}

/// Bytes that counts can take of a checkpoint: those that do not depend on the number of ranges, and for each.
pub(crate) fn checkpoint_bytes(segment_bytes: u64) -> (u64, u64) {
    let entries = (streams_max(segment_bytes) + 1) * ENTRY;
    (names_bytes_max(segment_bytes) as u64, entries as u64)
}

/// What is owed in one range, by stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Sorted by stream.
    entries: Vec<Count>,
}

impl Counts {
    fn add(&mut self, count: &Count, streams_max: usize) {
        let mut count = *count;
        if self.entries.len() >= streams_max && self.find(count.stream).is_err() {
            count.stream = OTHER;
        }
        match self.find(count.stream) {
            Ok(at) => self.entries[at].merge(&count),
            Err(at) => self.entries.insert(at, count),
        }
    }

    fn find(&self, stream: u64) -> Result<usize, usize> {
        self.entries
            .binary_search_by_key(&stream, |entry| entry.stream)
    }

    /// Subtracts as much of `count` as there is.
    fn take(&mut self, count: &Count) {
        let Ok(at) = self.find(count.stream).or_else(|_| self.find(OTHER)) else {
            return;
        };
        let entry = &mut self.entries[at];
        entry.records = entry.records.saturating_sub(count.records);
        entry.bytes = entry.bytes.saturating_sub(count.bytes);
        if entry.records == 0 {
            self.entries.remove(at);
        }
    }

    fn streams(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.stream)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&len_u32(self.entries.len()).to_le_bytes());
        for entry in &self.entries {
            for value in [entry.stream, entry.records, entry.bytes] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            out.extend_from_slice(&entry.since_ms.to_le_bytes());
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let mut counts = Self::default();
        for _ in 0..fields.u32()? {
            counts.entries.push(Count {
                stream: fields.u64()?,
                records: fields.u64()?,
                bytes: fields.u64()?,
                since_ms: fields.i64()?,
            });
        }
        counts.entries.sort_unstable_by_key(|entry| entry.stream);
        Some(counts)
    }
}

/// The streams by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    names: HashMap<u64, Arc<StreamKey>>,
}

impl Names {
    fn insert(&mut self, id: u64, name: &Arc<StreamKey>) {
        if !self.names.contains_key(&id) && self.names.len() < NAMES_MAX {
            self.names.insert(id, Arc::clone(name));
        }
    }
}

/// Counts of ranges of sequence numbers, and the streams in them.
///
/// A range begins with each segment that is put to use and ends where the next begins. It is about what the segment
/// holds; but frames that are written again to another segment stay in their range, so nothing has to move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Book {
    names: Names,
    /// By first sequence number. The first range begins at zero.
    ranges: BTreeMap<u64, Counts>,
    streams_max: usize,
    names_bytes_max: usize,
}

impl Book {
    /// Begins a range, while there are fewer than `ranges_max`.
    pub(crate) fn begin(&mut self, first_seq: u64, ranges_max: usize) {
        if self.ranges.len() < ranges_max {
            self.ranges.entry(first_seq).or_default();
        }
    }

    fn range_mut(&mut self, seq: u64) -> &mut Counts {
        if self.ranges.range(..=seq).next_back().is_none() {
            self.ranges.insert(0, Counts::default());
        }
        let range = self.ranges.range_mut(..=seq).next_back();
        range.expect("a range begins at zero at the latest").1
    }

    /// The range of a record.
    fn range_of(&self, seq: u64) -> Range<u64> {
        let start = self.ranges.range(..=seq).next_back();
        let end = self.ranges.range(seq.saturating_add(1)..).next();
        start.map_or(0, |(start, _)| *start)..end.map_or(u64::MAX, |(end, _)| *end)
    }

    /// Records that are owed from now on, in the range of `seq`.
    pub(crate) fn add(&mut self, seq: u64, tallies: &[Tally]) {
        let streams_max = self.streams_max;
        for (count, name) in tallies {
            self.names.insert(count.stream, name);
            self.range_mut(seq).add(count, streams_max);
        }
    }

    /// Records that are not owed any more, of the range of `seq`.
    fn take(&mut self, seq: u64, count: &Count) {
        self.range_mut(seq).take(count);
    }

    /// Sums over the ranges in which something is unsettled.
    pub(crate) fn sum(&self, unsettled: &RoaringTreemap) -> Vec<Backlog> {
        let mut sums: BTreeMap<u64, Count> = BTreeMap::new();
        for (start, counts) in &self.ranges {
            if unsettled.range_cardinality(self.range_of(*start)) == 0 {
                continue;
            }
            for count in &counts.entries {
                let known = self.names.names.contains_key(&count.stream);
                let stream = if known { count.stream } else { OTHER };
                let own = Count { stream, ..*count };
                sums.entry(stream)
                    .and_modify(|sum| sum.merge(&own))
                    .or_insert(own);
            }
        }
        let mut sums: Vec<Backlog> = sums
            .into_values()
            .map(|sum| Backlog {
                stream: self.names.names.get(&sum.stream).cloned(),
                records: sum.records,
                bytes: sum.bytes,
                oldest_ms: sum.since_ms,
            })
            .collect();
        sums.sort_by(|a, b| a.stream.cmp(&b.stream));
        sums
    }

    /// Forgets ranges in which nothing is unsettled, but for the last, and streams of which nothing is owed.
    pub(crate) fn prune(&mut self, unsettled: &RoaringTreemap) {
        let ranges: Vec<u64> = self.ranges.keys().copied().collect();
        for (start, end) in ranges.iter().zip(ranges.iter().skip(1)) {
            if unsettled.range_cardinality(*start..*end) == 0 {
                self.ranges.remove(start);
            }
        }
        if self.names.names.len() * 2 >= NAMES_MAX {
            let ranges = &self.ranges;
            let counted = |id: &u64| ranges.values().any(|counts| counts.find(*id).is_ok());
            self.names.names.retain(|id, _| counted(id));
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let counted: BTreeSet<u64> = self.ranges.values().flat_map(Counts::streams).collect();
        let mut names = Vec::new();
        let mut count = 0;
        for id in counted {
            let Some(name) = self.names.names.get(&id) else {
                continue;
            };
            let start = names.len();
            names.extend_from_slice(&id.to_le_bytes());
            crate::record::encode_stream(&mut names, name);
            if names.len() > self.names_bytes_max {
                names.truncate(start);
                break;
            }
            count += 1;
        }
        out.extend_from_slice(&u32::to_le_bytes(count));
        out.extend_from_slice(&names);
        out.extend_from_slice(&len_u32(self.ranges.len()).to_le_bytes());
        for (start, counts) in &self.ranges {
            out.extend_from_slice(&start.to_le_bytes());
            counts.encode(out);
        }
    }

    /// Reads what [`Book::encode`] wrote; the limits are those of an empty book.
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let mut book = Self::default();
        for _ in 0..fields.u32()? {
            let id = fields.u64()?;
            let name = crate::record::decode_stream(fields)?;
            book.names.insert(id, &Arc::new(name));
        }
        for _ in 0..fields.u32()? {
            let start = fields.u64()?;
            book.ranges.insert(start, Counts::decode(fields)?);
        }
        Some(book)
    }

    /// The same counts with the limits of a directory.
    pub(crate) fn with_limits(mut self, segment_bytes: u64) -> Self {
        self.streams_max = streams_max(segment_bytes);
        self.names_bytes_max = names_bytes_max(segment_bytes);
        self
    }
}

/// What a delta says beside the sequence numbers: how many records of which streams it settles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DeltaCounts {
    /// Records and bytes by the begin of their range and their stream.
    counts: BTreeMap<(u64, u64), (u64, u64)>,
}

impl DeltaCounts {
    fn add(&mut self, range: u64, count: &Count) {
        let key = (range, count.stream);
        if self.counts.len() < DELTA_COUNTS_MAX || self.counts.contains_key(&key) {
            let own = self.counts.entry(key).or_default();
            own.0 += count.records;
            own.1 += count.bytes;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.clear();
    }

    /// Bytes that [`DeltaCounts::encode`] writes.
    pub(crate) fn encoded_len(&self) -> usize {
        4 + self.counts.len() * 4 * 8
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&len_u32(self.counts.len()).to_le_bytes());
        for ((range, stream), (records, bytes)) in &self.counts {
            for value in [range, stream, records, bytes] {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let mut counts = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let key = (fields.u64()?, fields.u64()?);
            counts.insert(key, (fields.u64()?, fields.u64()?));
        }
        Some(Self { counts })
    }

    /// Takes these records out of the book.
    pub(crate) fn apply(&self, book: &mut Book) {
        for ((range, stream), (records, bytes)) in &self.counts {
            let count = Count {
                stream: *stream,
                records: *records,
                bytes: *bytes,
                since_ms: 0,
            };
            book.take(*range, &count);
        }
    }
}

impl<F: Fs> Spool<F> {
    /// Like [`settle`](Spool::settle), and keeps [`backlog`](Spool::backlog) exact. It is fastest when records of one
    /// stream come together.
    pub fn settle_records(&mut self, records: impl IntoIterator<Item = Settled>, now: Time) -> u64 {
        let mut settled = 0;
        let mut range = 0..0;
        let mut run = Count {
            stream: OTHER,
            records: 0,
            bytes: 0,
            since_ms: 0,
        };
        for record in records {
            if self.settle_one(record.seq, now) == 0 {
                continue;
            }
            settled += 1;
            if run.stream != record.stream.0 || !range.contains(&record.seq) {
                self.uncount(range.start, &run);
                run.stream = record.stream.0;
                (run.records, run.bytes) = (0, 0);
                if !range.contains(&record.seq) {
                    range = self.book.range_of(record.seq);
                }
            }
            run.records += 1;
            run.bytes += record.bytes;
        }
        self.uncount(range.start, &run);
        settled
    }

    fn uncount(&mut self, range: u64, run: &Count) {
        if run.records > 0 {
            self.book.take(range, run);
            self.delta_counts.add(range, run);
        }
    }

    /// What is owed per stream, by name. Records that were settled without their stream, and records that damage took,
    /// are counted until everything that was written to their segment is settled.
    pub fn backlog(&self) -> Vec<Backlog> {
        self.book.sum(&self.unsettled)
    }
}
