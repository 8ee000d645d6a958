//! Checkpoints: the state of the log at one position, in two files that are written in turn.

use forebay_core::{Fs, FsError, FsFile as _, OpenMode};
use roaring::RoaringTreemap;
use std::path::Path;

use crate::backlog::Book;
use crate::open_ids::OpenIds;
use crate::segment::SegmentHeader;
use crate::wire::{Fields, len_u32, narrow, read_full, wide, write_all};

/// The two files.
pub(crate) const NAMES: [&str; 2] = ["checkpoint.a", "checkpoint.b"];
const MAGIC: u64 = 0x3130_4b43_5342_4546;
const VERSION: u16 = 1;
/// Bytes before the content: magic, version, length and checksum.
const PREFIX: usize = 8 + 2 + 8 + 4;

/// Totals since the directory was created: appended = settled + unsettled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Records that became durable.
    pub appended: u64,
    /// Records that are no longer owed, those that were lost included.
    pub settled: u64,
    /// Records that damage took.
    pub lost: u64,
}

/// A segment that was in use when the checkpoint was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedSegment {
    pub(crate) header: SegmentHeader,
    pub(crate) end_frame: u64,
    pub(crate) end_seq: u64,
}

/// Everything that recovery needs besides the frames from `next_frame` on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// Rises with every checkpoint that is taken.
    pub(crate) generation: u64,
    pub(crate) next_frame: u64,
    pub(crate) next_seq: u64,
    pub(crate) next_epoch: u64,
    pub(crate) totals: Totals,
    pub(crate) segments: Vec<ListedSegment>,
    pub(crate) open_ids: OpenIds,
    pub(crate) book: Book,
    pub(crate) unsettled: RoaringTreemap,
}

impl Checkpoint {
    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; PREFIX];
        for value in [
            self.generation,
            self.next_frame,
            self.next_seq,
            self.next_epoch,
            self.totals.appended,
            self.totals.settled,
            self.totals.lost,
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&len_u32(self.segments.len()).to_le_bytes());
        for segment in &self.segments {
            let header = segment.header.encode_copy();
            out.extend_from_slice(&len_u32(header.len()).to_le_bytes());
            out.extend_from_slice(&header);
            out.extend_from_slice(&segment.end_frame.to_le_bytes());
            out.extend_from_slice(&segment.end_seq.to_le_bytes());
        }
        self.open_ids.encode(&mut out);
        self.book.encode(&mut out);
        self.unsettled
            .serialize_into(&mut out)
            .expect("a vector takes every write");
        let content = &out[PREFIX..];
        let crc = crc32c::crc32c(content);
        let len = wide(content.len());
        let mut prefix = Vec::with_capacity(PREFIX);
        prefix.extend_from_slice(&MAGIC.to_le_bytes());
        prefix.extend_from_slice(&VERSION.to_le_bytes());
        prefix.extend_from_slice(&len.to_le_bytes());
        prefix.extend_from_slice(&crc.to_le_bytes());
        out[..PREFIX].copy_from_slice(&prefix);
        out
    }

    /// Reads a checkpoint; `None` when it is not whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.u64()? != MAGIC || fields.u16()? != VERSION {
            return None;
        }
        let len = narrow(fields.u64()?);
        let crc = fields.u32()?;
        let content = fields.take(len)?;
        if crc32c::crc32c(content) != crc {
            return None;
        }
        let mut fields = Fields::new(content);
        let [generation, next_frame, next_seq, next_epoch] =
            [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
        let totals = Totals {
            appended: fields.u64()?,
            settled: fields.u64()?,
            lost: fields.u64()?,
        };
        let mut segments = Vec::new();
        for _ in 0..fields.u32()? {
            let len = narrow(u64::from(fields.u32()?));
            segments.push(ListedSegment {
                header: SegmentHeader::decode(fields.take(len)?)?,
                end_frame: fields.u64()?,
                end_seq: fields.u64()?,
            });
        }
        let open_ids = OpenIds::decode(&mut fields)?;
        let book = Book::decode(&mut fields)?;
        let rest = fields.take(fields.remaining())?;
        let unsettled = RoaringTreemap::deserialize_from(rest).ok()?;
        Some(Self {
            generation,
            next_frame,
            next_seq,
            next_epoch,
            totals,
            segments,
            open_ids,
            book,
            unsettled,
        })
    }
}

/// Reads one of the two files; `None` when it is missing or not whole.
pub(crate) fn read<F: Fs>(fs: &F, path: &Path) -> Result<Option<(Checkpoint, Vec<u8>)>, FsError> {
    let file = match fs.open(path, OpenMode::Existing) {
        Ok(file) => file,
        Err(error) if error.kind == forebay_core::FsErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; narrow(file.len()?)];
    let read = read_full(&file, &mut bytes, 0)?;
    bytes.truncate(read);
    let Some(checkpoint) = Checkpoint::decode(&bytes) else {
        return Ok(None);
    };
    let mut prefix = Fields::new(bytes.get(10..18).unwrap_or_default());
    let len = PREFIX + narrow(prefix.u64().unwrap_or_default());
    bytes.truncate(len);
    Ok(Some((checkpoint, bytes)))
}

/// Writes one of the two files and makes it durable.
pub(crate) fn write<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let (file, missing) = match fs.open(path, OpenMode::Existing) {
        Ok(file) => (file, false),
        Err(_) => (fs.open(path, OpenMode::CreateMissing)?, true),
    };
    write_all(&file, bytes, 0)?;
    file.sync_data()?;
    match path.parent().filter(|_| missing) {
        Some(dir) => fs.sync_dir(dir),
        None => Ok(()),
    }
}
