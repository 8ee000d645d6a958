//! One segment of a log: a file (or a piece of memory) that batches are appended to, and the index over it.
//!
//! The index has an entry for the first section of a shard in each stretch of [`SPAN`] bytes, not for each record, so
//! that it stays small beside the data: at worst, with requests of one small record each to ever changing shards, it
//! takes 16 bytes per record; with batches to a few shards, some 0.4 % of the data per shard.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Collector;
use super::batch::{self, Batch, HEADER, Header, Section};

/// Bytes of a segment that one index entry of a shard covers.
const SPAN: u64 = 4096;
/// What a read from a file brings at least.
const READ_AHEAD: usize = 16 * 1024;

/// Where a shard's records of one stretch begin.
#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    /// First counter of the batch.
    first: u64,
    /// Offset of the batch.
    batch: u32,
    /// Offset of the section of this shard.
    section: u32,
}

#[derive(Debug)]
enum Store {
    File { file: File, path: PathBuf },
    Memory(Vec<u8>),
}

/// A segment. Its bytes are immutable once written.
#[derive(Debug)]
pub(super) struct Segment {
    store: Store,
    len: u64,
    /// Written to since it was flushed.
    dirty: bool,
    first: u64,
    first_arrival_ms: u64,
    last_arrival_ms: u64,
    /// By shard; as long as the highest shard seen.
    index: Vec<Vec<IndexEntry>>,
}

impl Segment {
    /// An empty segment in the file `path`, or in memory, for counters from `first` on.
    pub(super) fn create(path: Option<PathBuf>, capacity: u64, first: u64) -> io::Result<Self> {
        let store = match path {
            Some(path) => {
                let mut options = OpenOptions::new();
                let file = options
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?;
                Store::File { file, path }
            }
            None => Store::Memory(Vec::with_capacity(usize::try_from(capacity).unwrap_or(0))),
        };
        Ok(Self::empty(store, first))
    }

    fn empty(store: Store, first: u64) -> Self {
        Self {
            store,
            len: 0,
            dirty: false,
            first,
            first_arrival_ms: 0,
            last_arrival_ms: 0,
            index: Vec::new(),
        }
    }

    /// Opens the segment in the file `path`, checks every batch and cuts off what follows the last intact one.
    /// `seen` is told the shard and the last counter of each section. Returns the segment and the bytes cut off.
    pub(super) fn open(path: PathBuf, mut seen: impl FnMut(u32, u64)) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let bytes = read_whole(&file)?;
        let mut segment = Self::empty(Store::File { file, path }, 0);
        while let Some(header) = intact_batch(&bytes, segment.len) {
            let at = segment.len + HEADER as u64;
            let sections: Vec<_> = sections_of(&bytes, at, header).collect();
            segment.note(
                &header,
                sections.iter().map(|(shard, offset, _)| (*shard, *offset)),
            );
            for (shard, _, last_index) in sections {
                seen(shard, header.first + last_index);
            }
        }
        let torn = bytes.len() as u64 - segment.len;
        if torn > 0
            && let Store::File { file, .. } = &segment.store
        {
            file.set_len(segment.len)?;
            file.sync_all()?;
        }
        Ok((segment, torn))
    }

    /// Appends a batch in one write.
    ///
    /// # Errors
    /// When the write fails; what it left in the file is behind the segment's length and will be overwritten or cut.
    pub(super) fn append(
        &mut self,
        batch: &mut Batch,
        first: u64,
        arrival_ms: u64,
    ) -> io::Result<()> {
        let bytes = batch.seal(first, arrival_ms);
        self.dirty = true;
        match &mut self.store {
            Store::File { file, .. } => file.write_all_at(bytes, self.len)?,
            Store::Memory(memory) => memory.extend_from_slice(bytes),
        }
        let header = Header::read(bytes).expect("a sealed batch has an intact header");
        let start = self.len;
        self.note(
            &header,
            batch
                .sections()
                .iter()
                .map(|(shard, at)| (*shard, start + u64::from(*at))),
        );
        Ok(())
    }

    /// Takes a batch at the end of the segment into the index. `sections` has offsets in the segment.
    fn note(&mut self, header: &Header, sections: impl Iterator<Item = (u32, u64)>) {
        if self.len == 0 {
            self.first = header.first;
            self.first_arrival_ms = header.arrival_ms;
        }
        self.last_arrival_ms = header.arrival_ms;
        let batch = offset32(self.len);
        for (shard, section) in sections {
            let shard = shard as usize;
            if self.index.len() <= shard {
                self.index.resize_with(shard + 1, Vec::new);
            }
            let entries = &mut self.index[shard];
            if entries
                .last()
                .is_none_or(|last| u64::from(last.batch) + SPAN <= self.len)
            {
                entries.push(IndexEntry {
                    first: header.first,
                    batch,
                    section: offset32(section),
                });
            }
        }
        self.len += header.batch_len();
    }

    /// Hands the records of `shard` to `collector`, oldest first, until it is full.
    pub(super) fn collect(&self, shard: u32, collector: &mut Collector) -> io::Result<()> {
        let Some(entries) = self.index.get(shard as usize) else {
            return Ok(());
        };
        let mut reader = Reader {
            segment: self,
            base: 0,
            buffer: Vec::new(),
        };
        let start = entries
            .partition_point(|e| e.first <= collector.from())
            .saturating_sub(1);
        for entry in &entries[start..] {
            let mut section = Some(u64::from(entry.section));
            let mut at = u64::from(entry.batch);
            while at < (u64::from(entry.batch) + SPAN).min(self.len) {
                let header = reader.header(at)?;
                if !collector.is_too_old(header.arrival_ms)
                    && let Some((at, bytes)) = reader.find(at, header, shard, section)?
                {
                    let body = reader.bytes(at, bytes)?;
                    for record in batch::records(body) {
                        if !collector.take(&header, &record) {
                            return Ok(());
                        }
                    }
                }
                section = None;
                at += header.batch_len();
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn first_arrival_ms(&self) -> u64 {
        self.first_arrival_ms
    }

    pub(super) fn last_arrival_ms(&self) -> u64 {
        self.last_arrival_ms
    }

    /// Flushes the segment to the device unless nothing was written since the last time.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.dirty
            && let Store::File { file, .. } = &self.store
        {
            file.sync_data()?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Removes the segment's file.
    pub(super) fn remove(self) -> io::Result<()> {
        match self.store {
            Store::File { path, .. } => std::fs::remove_file(path),
            Store::Memory(_) => Ok(()),
        }
    }
}

#[cfg(test)]
impl Segment {
    /// Entries of the index.
    pub(super) fn index_entries(&self) -> usize {
        self.index.iter().map(Vec::len).sum()
    }

    /// Makes every later write fail.
    pub(super) fn reopen_read_only(&mut self) {
        if let Store::File { file, path } = &mut self.store {
            *file = File::open(path).unwrap();
        }
    }
}

/// The name of the file of segment `id`; names sort like ids.
pub(super) fn file_name(id: u64) -> String {
    format!("{id:020}.log")
}

/// The id in the name of a segment's file.
pub(super) fn id_of(path: &Path) -> Option<u64> {
    (path.extension()? == "log").then(|| path.file_stem()?.to_str()?.parse().ok())?
}

/// Offsets in a segment: the log starts a new one long before 4 GiB.
fn offset32(offset: u64) -> u32 {
    u32::try_from(offset).expect("a segment is shorter than 4 GiB")
}

fn read_whole(file: &File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.metadata()?.len())
        .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn intact_batch(bytes: &[u8], at: u64) -> Option<Header> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let header = Header::read(rest)?;
    let payload = rest.get(HEADER..usize::try_from(header.batch_len()).ok()?)?;
    header.matches(payload).then_some(header)
}

/// Shard, offset and last index in the request of each section of a batch whose payload begins at `at`.
fn sections_of(bytes: &[u8], mut at: u64, header: Header) -> impl Iterator<Item = (u32, u64, u64)> {
    (0..header.sections).map_while(move |_| {
        let start = usize::try_from(at).ok()?;
        let section = Section::read(bytes.get(start..)?)?;
        let body = bytes.get(start + batch::SECTION..start + section.section_len() as usize)?;
        let last = batch::records(body)
            .last()
            .map_or(0, |record| u64::from(record.index));
        let found = (section.shard, at, last);
        at += section.section_len();
        Some(found)
    })
}

/// Reads pieces of a segment, from memory in place and from a file through a buffer that reads ahead.
struct Reader<'a> {
    segment: &'a Segment,
    /// Offset of the first byte of `buffer`.
    base: u64,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let file = match &self.segment.store {
            Store::Memory(memory) => {
                let start = usize::try_from(at).map_err(|_| damaged())?;
                return memory.get(start..start + len).ok_or_else(damaged);
            }
            Store::File { file, .. } => file,
        };
        if at + len as u64 > self.segment.len {
            return Err(damaged());
        }
        let inside = at >= self.base && at + len as u64 <= self.base + self.buffer.len() as u64;
        if !inside {
            let left = usize::try_from(self.segment.len - at).unwrap_or(usize::MAX);
            self.base = at;
            self.buffer.resize(len.max(READ_AHEAD.min(left)), 0);
            if let Err(error) = file.read_exact_at(&mut self.buffer, at) {
                self.buffer.clear();
                return Err(error);
            }
        }
        let start = usize::try_from(at - self.base).map_err(|_| damaged())?;
        Ok(&self.buffer[start..start + len])
    }

    fn header(&mut self, at: u64) -> io::Result<Header> {
        Header::read(self.bytes(at, HEADER)?).ok_or_else(damaged)
    }

    /// Offset and length of the records of `shard` in the batch at `at`; `known` is the offset of its section.
    fn find(
        &mut self,
        at: u64,
        header: Header,
        shard: u32,
        known: Option<u64>,
    ) -> io::Result<Option<(u64, usize)>> {
        let mut offset = known.unwrap_or(at + HEADER as u64);
        let end = at + header.batch_len();
        while offset < end {
            let section = Section::read(self.bytes(offset, batch::SECTION)?).ok_or_else(damaged)?;
            if section.shard == shard && section.records > 0 {
                let body = offset + batch::SECTION as u64;
                return Ok(Some((body, section.bytes as usize)));
            }
            if section.shard > shard {
                break;
            }
            offset += section.section_len();
        }
        Ok(None)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a batch in the log is damaged")
}
