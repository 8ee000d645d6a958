//! The header and the footer of a segment.
//!
//! The first page holds the header twice, the last page holds the footer once the segment is sealed, frames lie
//! between. A header is written only after the first frames of its segment are durable: it is what makes them count,
//! and what makes frames with their numbers in older segments void.

use std::sync::Arc;

use crate::frame::Tally;
use crate::record::{StreamKey, encode_stream};
use crate::wire::{Fields, len_u32};

/// Where frames begin. Also the size of the header page and of the footer page, so that no write to one of them
/// touches a page with frames.
pub(crate) const PAGE: u64 = 4096;
/// Where the second copy of the header lies.
const COPY: usize = 2048;
const HEADER_MAGIC: u64 = 0x3130_4745_5342_4546;
const FOOTER_MAGIC: u64 = 0x3130_5446_5342_4546;
const VERSION: u16 = 1;
/// Replaced segments that a header can name.
const REPLACES_MAX: usize = 100;
/// Streams that a footer can name.
const STREAMS_MAX: usize = 160;

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Frames in the order in which they were committed.
    Log,
    /// What was unsettled in the segments that it replaces.
    Compact,
}

/// A segment that a compact one replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) slot: u32,
    pub(crate) salt: u64,
}

/// The life of a segment file: it gets a new header each time it is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) kind: Kind,
    /// Number of the file.
    pub(crate) slot: u32,
    /// Rises with every segment that is put to use.
    pub(crate) epoch: u64,
    /// Random; seeds the checksums of all frames.
    pub(crate) salt: u64,
    /// Number of the first frame. Frames from here on are void in segments of lower epochs.
    pub(crate) base_frame: u64,
    /// Sequence number of the first record.
    pub(crate) base_seq: u64,
    /// Frames that were made durable together with this header.
    pub(crate) initial_frames: u32,
    /// Frames begin at multiples of this.
    pub(crate) align: u32,
    /// Bytes of the file.
    pub(crate) size: u64,
    pub(crate) created_ms: i64,
    pub(crate) replaces: Vec<Replaced>,
}

impl SegmentHeader {
    /// The header page: the header twice.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_copy();
        let len = out.len();
        out.resize(crate::wire::narrow(PAGE), 0);
        out.copy_within(..len, COPY);
        out
    }

    /// The header alone.
    pub(crate) fn encode_copy(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(COPY);
        out.extend_from_slice(&HEADER_MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[match self.kind {
            Kind::Log => 0,
            Kind::Compact => 1,
        }]);
        out.extend_from_slice(&self.slot.to_le_bytes());
        for value in [
            self.epoch,
            self.salt,
            self.base_frame,
            self.base_seq,
            self.size,
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.initial_frames.to_le_bytes());
        out.extend_from_slice(&self.align.to_le_bytes());
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        let replaces = &self.replaces[..self.replaces.len().min(REPLACES_MAX)];
        out.extend_from_slice(&len_u32(replaces.len()).to_le_bytes());
        for replaced in replaces {
            out.extend_from_slice(&replaced.slot.to_le_bytes());
            out.extend_from_slice(&replaced.salt.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header page: the first copy that is whole.
    pub(crate) fn decode(page: &[u8]) -> Option<Self> {
        Self::decode_copy(page).or_else(|| Self::decode_copy(page.get(COPY..)?))
    }

    fn decode_copy(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.u64()? != HEADER_MAGIC || fields.u16()? != VERSION {
            return None;
        }
        let kind = match fields.u8()? {
            0 => Kind::Log,
            1 => Kind::Compact,
            _ => return None,
        };
        let slot = fields.u32()?;
        let [epoch, salt, base_frame, base_seq, size] = [
            fields.u64()?,
            fields.u64()?,
            fields.u64()?,
            fields.u64()?,
            fields.u64()?,
        ];
        let initial_frames = fields.u32()?;
        let align = fields.u32()?;
        let created_ms = fields.i64()?;
        let count = fields.u32()?;
        let aligned = align.is_power_of_two() && (512..=4096).contains(&align);
        if !aligned || size < 2 * PAGE || count > len_u32(REPLACES_MAX) {
            return None;
        }
        let mut replaces = Vec::new();
        for _ in 0..count {
            replaces.push(Replaced {
                slot: fields.u32()?,
                salt: fields.u64()?,
            });
        }
        let len = bytes.len() - fields.remaining();
        if fields.u32()? != crc32c::crc32c(bytes.get(..len)?) {
            return None;
        }
        Some(Self {
            kind,
            slot,
            epoch,
            salt,
            base_frame,
            base_seq,
            initial_frames,
            align,
            size,
            created_ms,
            replaces,
        })
    }

    /// What seeds the checksums of this segment's frames.
    pub(crate) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.salt.to_le_bytes())
    }
}

/// What a segment holds, as far as refill needs it to skip segments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    /// Records and bytes by [`stream_hash`], sorted.
    pub(crate) streams: Vec<(u64, u32, u64)>,
    /// One bit for each 256th of the hash key range that has a record.
    pub(crate) buckets: [u64; 4],
    /// True when `streams` or `buckets` do not tell everything.
    pub(crate) partial: bool,
}

impl Summary {
    pub(crate) fn add(&mut self, stream: u64, records: u32, bytes: u64) {
        match self.streams.binary_search_by_key(&stream, |entry| entry.0) {
            Ok(at) => {
                self.streams[at].1 += records;
                self.streams[at].2 += bytes;
            }
            Err(_) if self.streams.len() == STREAMS_MAX => self.partial = true,
            Err(at) => self.streams.insert(at, (stream, records, bytes)),
        }
    }

    pub(crate) fn add_all(&mut self, tallies: &[Tally]) {
        for (count, _) in tallies {
            let records = u32::try_from(count.records).unwrap_or(u32::MAX);
            self.add(count.stream, records, count.bytes);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (stream, records, bytes) in &other.streams {
            self.add(*stream, *records, *bytes);
        }
        for (own, other) in self.buckets.iter_mut().zip(other.buckets) {
            *own |= other;
        }
        self.partial |= other.partial;
    }

    pub(crate) fn mark(&mut self, hash: u128) {
        let bucket = crate::wire::narrow(u64::try_from(hash >> 120).unwrap_or_default());
        self.buckets[bucket / 64] |= 1 << (bucket % 64);
    }

    /// False only when no record of the stream lies in the hash range `from..=to`.
    pub(crate) fn may_hold(&self, stream: &StreamKey, from: u128, to: u128) -> bool {
        if self.partial {
            return true;
        }
        let hash = stream_hash(stream);
        let known = self.streams.binary_search_by_key(&hash, |entry| entry.0);
        known.is_ok()
            && ((from >> 120)..=(to >> 120)).any(|bucket| {
                let bucket = usize::try_from(bucket).unwrap_or_default();
                self.buckets[bucket / 64] & (1 << (bucket % 64)) != 0
            })
    }
}

/// A number for a stream that is the same in every process.
pub(crate) fn stream_hash(stream: &StreamKey) -> u64 {
    let mut bytes = Vec::with_capacity(64);
    encode_stream(&mut bytes, stream);
    let low = crc32c::crc32c(&bytes);
    let high = crc32c::crc32c_append(0x5bd1_e995, &bytes);
    // The two are related by their common polynomial; the length parts keys that both take for the same.
    (u64::from(high) << 32 | u64::from(low)) ^ (bytes.len() as u64).rotate_right(8)
}

/// The end of a sealed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) epoch: u64,
    pub(crate) salt: u64,
    /// Offset behind the last frame.
    pub(crate) end: u64,
    /// Number behind that of the last frame.
    pub(crate) end_frame: u64,
    /// Sequence number behind that of the last record.
    pub(crate) end_seq: u64,
    /// Checksum over the headers of all frames, in order.
    pub(crate) headers_crc: u32,
    pub(crate) summary: Arc<Summary>,
}

impl Footer {
    /// The footer page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(crate::wire::narrow(PAGE));
        for value in [
            FOOTER_MAGIC,
            self.epoch,
            self.salt,
            self.end,
            self.end_frame,
            self.end_seq,
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.headers_crc.to_le_bytes());
        for bits in self.summary.buckets {
            out.extend_from_slice(&bits.to_le_bytes());
        }
        out.push(u8::from(self.summary.partial));
        out.push(u8::try_from(self.summary.streams.len()).unwrap_or(u8::MAX));
        for (stream, records, bytes) in &self.summary.streams {
            out.extend_from_slice(&stream.to_le_bytes());
            out.extend_from_slice(&records.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(crate::wire::narrow(PAGE), 0);
        out
    }

    /// Reads a footer page of the segment with this header.
    pub(crate) fn decode(page: &[u8], header: &SegmentHeader) -> Option<Self> {
        let mut fields = Fields::new(page);
        if fields.u64()? != FOOTER_MAGIC
            || fields.u64()? != header.epoch
            || fields.u64()? != header.salt
        {
            return None;
        }
        let [end, end_frame, end_seq] = [fields.u64()?, fields.u64()?, fields.u64()?];
        let headers_crc = fields.u32()?;
        let mut summary = Summary::default();
        for bits in &mut summary.buckets {
            *bits = fields.u64()?;
        }
        summary.partial = fields.u8()? != 0;
        for _ in 0..fields.u8()? {
            let entry = (fields.u64()?, fields.u32()?, fields.u64()?);
            summary.streams.push(entry);
        }
        let len = page.len() - fields.remaining();
        if fields.u32()? != crc32c::crc32c(page.get(..len)?) {
            return None;
        }
        let sane = end >= PAGE
            && end <= header.size
            && end_frame >= header.base_frame
            && end_seq >= header.base_seq;
        sane.then(|| Self {
            epoch: header.epoch,
            salt: header.salt,
            end,
            end_frame,
            end_seq,
            headers_crc,
            summary: Arc::new(summary),
        })
    }
}
