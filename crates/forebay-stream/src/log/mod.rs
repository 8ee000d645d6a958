//! The log of one stream: all shards' records in the order in which they were stored, in segments.
//!
//! One log for all shards of a stream, so that a request is one write however many shards it touches, and so that a
//! stream needs one open file and not one per shard; retention takes the oldest segments. What must stay true: a
//! record is answered only after its batch was written; counters only grow, also across restarts.

mod batch;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use batch::{Batch, NewRecord};
use batch::{Header, RecordView};
use segment::Segment;

/// How a log cuts itself into segments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentLimits {
    /// A segment that has this many bytes gets no more batches.
    pub(crate) bytes: u64,
    /// Nor does one whose first batch is this old.
    pub(crate) age_ms: u64,
}

/// What an append did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    /// The counter of the record with index 0 in the request.
    pub(crate) first: u64,
    /// Bytes that the log grew by.
    pub(crate) bytes: u64,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    dir: Option<PathBuf>,
    limits: SegmentLimits,
    segments: VecDeque<Segment>,
    next_segment: u64,
    next_counter: u64,
    last_arrival_ms: u64,
    /// The last counter stored in each shard, 0 for none.
    last: Vec<u64>,
    /// The stream was deleted: nothing is stored any more.
    closed: bool,
    /// The last write failed: the end of the newest segment's file is not trusted.
    broken: bool,
}

impl Log {
    /// A log with segments in `dir`, or in memory, that gives counters greater than `counter`. Existing segments are
    /// read and their torn ends cut off; the second value is the number of bytes cut off.
    pub(crate) fn open(
        dir: Option<PathBuf>,
        shards: u32,
        counter: u64,
        limits: SegmentLimits,
    ) -> io::Result<(Self, u64)> {
        let mut log = Self {
            dir,
            limits,
            segments: VecDeque::new(),
            next_segment: 1,
            next_counter: counter + 1,
            last_arrival_ms: 0,
            last: vec![0; shards as usize],
            closed: false,
            broken: false,
        };
        let torn = log.recover()?;
        Ok((log, torn))
    }

    fn recover(&mut self) -> io::Result<u64> {
        let mut torn = 0;
        for (id, path) in segment_files(self.dir.as_deref())? {
            let last = &mut self.last;
            let (segment, cut) = Segment::open(path, |shard, counter| {
                if let Some(slot) = last.get_mut(shard as usize) {
                    *slot = counter.max(*slot);
                }
            })?;
            torn += cut;
            self.next_segment = id + 1;
            if segment.len() == 0 {
                segment.remove()?;
                continue;
            }
            self.last_arrival_ms = self.last_arrival_ms.max(segment.last_arrival_ms());
            self.segments.push_back(segment);
        }
        let highest = self.last.iter().copied().max().unwrap_or(0);
        self.next_counter = self.next_counter.max(highest + 1);
        Ok(torn)
    }

    /// Stores a batch. Arrival times never go back, whatever the wall clock does.
    ///
    /// # Errors
    /// When the write fails or the log is closed; nothing of the batch is stored then.
    pub(crate) fn append(&mut self, batch: &mut Batch, now_ms: u64) -> io::Result<Appended> {
        if self.closed {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the stream was deleted",
            ));
        }
        let arrival_ms = now_ms.max(self.last_arrival_ms);
        let first = self.next_counter;
        let segment = self.writable(arrival_ms)?;
        let written = segment.append(batch, first, arrival_ms);
        self.broken = written.is_err();
        written?;
        self.last_arrival_ms = arrival_ms;
        self.next_counter += batch.counters();
        for (shard, _) in batch.sections() {
            // A bound for "is there more" is enough here: the counters of refused records stay unused.
            self.last[*shard as usize] = self.next_counter - 1;
        }
        Ok(Appended {
            first,
            bytes: batch.len(),
        })
    }

    /// Uses up `count` counters for records that are not stored and returns the first.
    pub(crate) fn skip(&mut self, count: u64) -> u64 {
        let first = self.next_counter;
        self.next_counter += count;
        first
    }

    fn writable(&mut self, arrival_ms: u64) -> io::Result<&mut Segment> {
        // An empty segment is used whatever happened before: a full disk must not leave a trail of empty files.
        let full = self.segments.back().is_none_or(|segment| {
            let age_ms = arrival_ms.saturating_sub(segment.first_arrival_ms());
            let done = segment.len() >= self.limits.bytes || age_ms >= self.limits.age_ms;
            segment.len() > 0 && (done || self.broken)
        });
        if full {
            let path = self
                .dir
                .as_ref()
                .map(|dir| dir.join(segment::file_name(self.next_segment)));
            // Room for the batch that crosses the limit, so that memory segments seldom move.
            let capacity = self.limits.bytes + self.limits.bytes / 4;
            let segment = Segment::create(path, capacity, self.next_counter)?;
            self.next_segment += 1;
            self.segments.push_back(segment);
        }
        Ok(self
            .segments
            .back_mut()
            .expect("a segment was added if there was none"))
    }

    /// Hands the records of `shard` to `collector`, oldest first, until it is full or there are no more.
    pub(crate) fn collect(&self, shard: u32, collector: &mut Collector) -> io::Result<()> {
        let start = self
            .segments
            .partition_point(|s| s.first() <= collector.from());
        for segment in self.segments.range(start.saturating_sub(1)..) {
            if collector.is_full() {
                break;
            }
            if !collector.is_too_old(segment.last_arrival_ms()) {
                segment.collect(shard, collector)?;
            }
        }
        let last = self.last[shard as usize];
        if !collector.is_full() {
            collector.next = collector.next.max(last + 1);
        }
        Ok(())
    }

    /// The counter that the next record gets.
    pub(crate) fn next_counter(&self) -> u64 {
        self.next_counter
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Number of segments.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// When the oldest segment got its first record.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.segments.front().map(Segment::first_arrival_ms)
    }

    /// Drops the oldest segment and returns the bytes it had. The newest segment goes too if it is the only one.
    pub(crate) fn drop_oldest(&mut self) -> io::Result<u64> {
        let Some(segment) = self.segments.pop_front() else {
            return Ok(0);
        };
        let bytes = segment.len();
        segment.remove()?;
        Ok(bytes)
    }

    /// Drops the segments whose last record arrived before `cutoff_ms` and returns the bytes they had.
    pub(crate) fn drop_expired(&mut self, cutoff_ms: u64) -> io::Result<u64> {
        let mut freed = 0;
        while self
            .segments
            .front()
            .is_some_and(|s| s.last_arrival_ms() < cutoff_ms)
        {
            freed += self.drop_oldest()?;
        }
        Ok(freed)
    }

    /// Flushes to the device what was written since the last time. Not done where a segment becomes full, because that
    /// would hold up the request that fills it.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.segments.iter_mut().try_for_each(Segment::sync)
    }

    /// Forgets all segments, refuses every later append, and returns the bytes that the log had.
    pub(crate) fn close(&mut self) -> u64 {
        self.closed = true;
        std::mem::take(&mut self.segments)
            .iter()
            .map(Segment::len)
            .sum()
    }
}

/// The segment files of a directory by ascending id.
fn segment_files(dir: Option<&Path>) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(dir) = dir else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if let Some(id) = segment::id_of(&path) {
            files.push((id, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// A record as it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadRecord<'a> {
    pub(crate) counter: u64,
    pub(crate) arrival_ms: u64,
    pub(crate) key: &'a str,
    pub(crate) data: &'a [u8],
}

/// Collects records of one shard up to a number and a size.
#[derive(Debug)]
pub(crate) struct Collector {
    /// The counter from which records are wanted; after reading, from which the next read goes on.
    next: u64,
    /// Records that arrived before this are not wanted.
    not_before_ms: u64,
    records_max: usize,
    bytes_max: usize,
    /// A record did not fit any more.
    full: bool,
    /// Keys and data, one behind the other.
    bytes: Vec<u8>,
    /// Counter, arrival, end of the key and end of the data in `bytes`.
    records: Vec<(u64, u64, usize, usize)>,
}

impl Collector {
    /// Collects from counter `from` on what arrived at `not_before_ms` or later. At least one record is taken, however
    /// large it is.
    pub(crate) fn new(from: u64, not_before_ms: u64, records_max: usize, bytes_max: usize) -> Self {
        Self {
            next: from,
            not_before_ms,
            records_max,
            bytes_max,
            full: false,
            bytes: Vec::new(),
            records: Vec::new(),
        }
    }

    fn from(&self) -> u64 {
        self.next
    }

    fn is_too_old(&self, arrival_ms: u64) -> bool {
        arrival_ms < self.not_before_ms
    }

    fn is_full(&self) -> bool {
        self.full
    }

    /// Takes a record if it is wanted; false when no more fits.
    fn take(&mut self, header: &Header, record: &RecordView<'_>) -> bool {
        let counter = header.first + u64::from(record.index);
        if counter < self.next {
            return true;
        }
        let bytes = self.bytes.len() + record.key.len() + record.data.len();
        if self.records.len() >= self.records_max
            || (bytes > self.bytes_max && !self.records.is_empty())
        {
            self.full = true;
            return false;
        }
        self.bytes.extend_from_slice(record.key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(record.data);
        self.records
            .push((counter, header.arrival_ms, key_end, self.bytes.len()));
        self.next = counter + 1;
        true
    }

    /// The counter from which the next read goes on.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the shard has records behind those collected.
    pub(crate) fn has_more(&self) -> bool {
        self.full
    }

    /// Bytes of keys and data.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The records, oldest first.
    pub(crate) fn records(&self) -> impl Iterator<Item = ReadRecord<'_>> {
        let mut start = 0;
        self.records
            .iter()
            .map(move |(counter, arrival_ms, key_end, end)| {
                let key = &self.bytes[start..*key_end];
                start = *end;
                ReadRecord {
                    counter: *counter,
                    arrival_ms: *arrival_ms,
                    key: std::str::from_utf8(key).unwrap_or_default(),
                    data: &self.bytes[*key_end..*end],
                }
            })
    }
}
