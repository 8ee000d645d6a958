//! The form of a batch: what one request stored, as it lies in a segment.
//!
//! ```text
//! header   36 bytes: magic, payload length, first counter, arrival in ms, sections, CRC of the payload, CRC of the header
//! payload  sections, one per shard that the request touched, by ascending shard:
//!            12 bytes: shard, records, bytes of the records
//!            records in the order of the request, 8 bytes each: index in the request, key length, data length; key; data
//! ```
//! All numbers are little-endian. The counter of a record is the first counter of its batch plus its index in the
//! request, so only the header depends on the state of the stream: the payload and its CRC are made without the lock.

/// Bytes of the header of a batch.
pub(super) const HEADER: usize = 36;
/// Bytes of the header of a section.
pub(super) const SECTION: usize = 12;
/// Bytes of the header of a record.
pub(super) const RECORD: usize = 8;
const MAGIC: u32 = u32::from_le_bytes(*b"FBS1");

/// A record to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRecord<'a> {
    /// Its index in the request.
    pub(crate) index: u16,
    pub(crate) shard: u32,
    pub(crate) key: &'a str,
    pub(crate) data: &'a [u8],
}

/// A batch that is complete but for the fields that the log fills in when it appends it.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Shard and offset in the batch of each section.
    sections: Vec<(u32, u32)>,
    payload_crc: u32,
    /// Counters that the batch uses up.
    counters: u64,
}

impl Batch {
    /// Lays out `records`, which may come in any order of shards; their order within a shard is kept. The request had
    /// `request_len` entries, of which those that were refused are not among `records`.
    pub(crate) fn new(records: &mut [NewRecord<'_>], request_len: usize) -> Self {
        records.sort_unstable_by_key(|record| (record.shard, record.index));
        let data: usize = records
            .iter()
            .map(|r| RECORD + r.key.len() + r.data.len())
            .sum();
        let mut bytes = Vec::with_capacity(HEADER + data + SECTION * records.len().min(64));
        bytes.resize(HEADER, 0);
        let mut sections = Vec::new();
        for group in records.chunk_by(|a, b| a.shard == b.shard) {
            let at = bytes.len();
            sections.push((group[0].shard, offset32(at)));
            bytes.extend_from_slice(&group[0].shard.to_le_bytes());
            bytes.extend_from_slice(&offset32(group.len()).to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            for record in group {
                push_record(&mut bytes, record);
            }
            let length = offset32(bytes.len() - at - SECTION);
            bytes[at + 8..at + SECTION].copy_from_slice(&length.to_le_bytes());
        }
        let payload_crc = crc32fast::hash(&bytes[HEADER..]);
        Self {
            bytes,
            sections,
            payload_crc,
            counters: request_len as u64,
        }
    }

    /// Fills in the header and returns the bytes to be written.
    pub(super) fn seal(&mut self, first: u64, arrival_ms: u64) -> &[u8] {
        let payload = offset32(self.bytes.len() - HEADER);
        let head = &mut self.bytes[..HEADER];
        head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[4..8].copy_from_slice(&payload.to_le_bytes());
        head[8..16].copy_from_slice(&first.to_le_bytes());
        head[16..24].copy_from_slice(&arrival_ms.to_le_bytes());
        head[24..28].copy_from_slice(&offset32(self.sections.len()).to_le_bytes());
        head[28..32].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&head[..32]);
        head[32..36].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }

    pub(super) fn sections(&self) -> &[(u32, u32)] {
        &self.sections
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn counters(&self) -> u64 {
        self.counters
    }
}

/// Lengths inside a batch: a request is limited to some 10 MiB, so they fit.
fn offset32(length: usize) -> u32 {
    u32::try_from(length).expect("a batch is shorter than 4 GiB")
}

fn push_record(bytes: &mut Vec<u8>, record: &NewRecord<'_>) {
    let key_len = u16::try_from(record.key.len()).expect("a partition key has at most 768 bytes");
    bytes.extend_from_slice(&record.index.to_le_bytes());
    bytes.extend_from_slice(&key_len.to_le_bytes());
    bytes.extend_from_slice(&offset32(record.data.len()).to_le_bytes());
    bytes.extend_from_slice(record.key.as_bytes());
    bytes.extend_from_slice(record.data);
}

/// The header of a batch in a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) payload_len: u32,
    pub(super) first: u64,
    pub(super) arrival_ms: u64,
    pub(super) sections: u32,
    payload_crc: u32,
}

impl Header {
    /// Reads a header; `None` when it is none or damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEADER)?;
        let intact = u32_at(head, 0) == MAGIC && u32_at(head, 32) == crc32fast::hash(&head[..32]);
        intact.then(|| Self {
            payload_len: u32_at(head, 4),
            first: u64_at(head, 8),
            arrival_ms: u64_at(head, 16),
            sections: u32_at(head, 24),
            payload_crc: u32_at(head, 28),
        })
    }

    /// Whether `payload` is what was written.
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        crc32fast::hash(payload) == self.payload_crc
    }

    /// Bytes of the whole batch.
    pub(super) fn batch_len(&self) -> u64 {
        HEADER as u64 + u64::from(self.payload_len)
    }
}

/// The header of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub(super) shard: u32,
    pub(super) records: u32,
    pub(super) bytes: u32,
}

impl Section {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..SECTION)?;
        Some(Self {
            shard: u32_at(head, 0),
            records: u32_at(head, 4),
            bytes: u32_at(head, 8),
        })
    }

    /// Bytes of the whole section.
    pub(super) fn section_len(&self) -> u64 {
        SECTION as u64 + u64::from(self.bytes)
    }
}

/// One record of a section.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordView<'a> {
    pub(super) index: u16,
    pub(super) key: &'a [u8],
    pub(super) data: &'a [u8],
}

/// The records of a section's body, until its end or the first that does not fit.
pub(super) fn records(mut body: &[u8]) -> impl Iterator<Item = RecordView<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = body.split_at_checked(RECORD)?;
        let (key, rest) = rest.split_at_checked(usize::from(u16_at(head, 2)))?;
        let (data, rest) = rest.split_at_checked(usize::try_from(u32_at(head, 4)).ok()?)?;
        body = rest;
        Some(RecordView {
            index: u16_at(head, 0),
            key,
            data,
        })
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
