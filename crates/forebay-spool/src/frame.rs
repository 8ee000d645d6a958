//! Frames: what one group commit writes.
//!
//! A frame is a header and a payload of four parts: records, the tables that they refer to, events, and the delta of
//! the unsettled set. Both checksums start from the salt of the segment, so that neither the leftovers of an earlier
//! life of the file nor a payload that looks like a frame can be taken for one.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringTreemap;

use crate::backlog::{Count, DeltaCounts};
use crate::open_ids::{Event, decode_event, encode_event};
use crate::record::{
    Record, RecordView, StreamKey, decode_record, decode_stream, encode_record, encode_stream,
};
use crate::segment::{SegmentHeader, Summary, stream_hash};
use crate::wire::{Fields, len_u32, narrow, put_text, round_up, wide};

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 80;
const MAGIC: u32 = 0x3152_4246;
const VERSION: u16 = 1;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Number of the frame: one more than that of the frame before, in whichever segment that is.
    pub(crate) frame: u64,
    /// Sequence number of the first record.
    pub(crate) first_seq: u64,
    /// Sequence number behind that of the last record of the frame before. Differs from `first_seq` after a restart.
    pub(crate) prior_end: u64,
    pub(crate) records: u32,
    pub(crate) events: u32,
    pub(crate) payload_len: u32,
    /// Offsets in the payload of what follows the records.
    pub(crate) tables_at: u32,
    pub(crate) events_at: u32,
    pub(crate) delta_at: u32,
    pub(crate) payload_crc: u32,
}

impl FrameHeader {
    /// Sequence number behind that of the last record.
    pub(crate) fn end_seq(&self) -> u64 {
        self.first_seq + u64::from(self.records)
    }

    /// Bytes from the begin of this frame to where the next can begin.
    pub(crate) fn stride(&self, align: u32) -> u64 {
        round_up(wide(HEADER) + u64::from(self.payload_len), u64::from(align))
    }

    /// The header as it lies in a segment.
    pub(crate) fn encode(&self, segment: &SegmentHeader) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        let [.., high] = split(segment.salt);
        out.extend_from_slice(&(MAGIC ^ high).to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        for value in [segment.epoch, self.frame, self.first_seq, self.prior_end] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in [
            self.records,
            self.events,
            self.payload_len,
            self.tables_at,
            self.events_at,
            self.delta_at,
            self.payload_crc,
            0,
            0,
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(segment.seed(), &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.try_into().expect("the fields above fill the header")
    }

    /// Reads a header; `None` where there is none of this segment.
    pub(crate) fn decode(bytes: &[u8], segment: &SegmentHeader) -> Option<Self> {
        let mut fields = Fields::new(bytes.get(..HEADER)?);
        let [.., high] = split(segment.salt);
        if fields.u32()? != MAGIC ^ high || fields.u16()? != VERSION {
            return None;
        }
        fields.u16()?;
        if fields.u64()? != segment.epoch {
            return None;
        }
        let header = Self {
            frame: fields.u64()?,
            first_seq: fields.u64()?,
            prior_end: fields.u64()?,
            records: fields.u32()?,
            events: fields.u32()?,
            payload_len: fields.u32()?,
            tables_at: fields.u32()?,
            events_at: fields.u32()?,
            delta_at: fields.u32()?,
            payload_crc: fields.u32()?,
        };
        let crc = crc32c::crc32c_append(segment.seed(), bytes.get(..HEADER - 4)?);
        let mut last = Fields::new(bytes.get(HEADER - 4..HEADER)?);
        let ordered = header.tables_at <= header.events_at
            && header.events_at <= header.delta_at
            && header.delta_at <= header.payload_len;
        (last.u32()? == crc && ordered).then_some(header)
    }

    /// True when `payload` is what this header was written for.
    pub(crate) fn matches(&self, payload: &[u8], segment: &SegmentHeader) -> bool {
        crc32c::crc32c_append(segment.seed(), payload) == self.payload_crc
    }
}

fn split(salt: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = salt.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

/// A frame that can be written to any segment, and written again to another.
#[derive(Debug, Clone)]
pub(crate) struct FrameBuffer {
    pub(crate) header: FrameHeader,
    /// What its records are, as far as a segment's footer tells.
    pub(crate) summary: Summary,
    /// Room for the header, then the payload, then padding.
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// A frame of a payload that was read back.
    pub(crate) fn from_payload(header: FrameHeader, payload: &[u8], summary: Summary) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(payload);
        Self {
            header,
            summary,
            bytes,
        }
    }

    /// Fills in what depends on the segment and returns the bytes to write.
    pub(crate) fn seal(&mut self, segment: &SegmentHeader) -> &[u8] {
        let end = HEADER + narrow(u64::from(self.header.payload_len));
        self.bytes.truncate(end);
        self.header.payload_crc = crc32c::crc32c_append(segment.seed(), &self.bytes[HEADER..end]);
        let header = self.header.encode(segment);
        self.bytes[..HEADER].copy_from_slice(&header);
        self.bytes
            .resize(narrow(self.header.stride(segment.align)), 0);
        &self.bytes
    }

    /// Its memory, for another group.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The header as [`FrameBuffer::seal`] wrote it.
    pub(crate) fn header_bytes(&self) -> &[u8] {
        &self.bytes[..HEADER]
    }
}

/// The publishes and events of one commit, encoded as they come. Everything in a group becomes durable in one frame,
/// so a publish whose records were all pushed to one group is kept whole or not at all.
#[derive(Debug)]
pub struct Group {
    bytes: Vec<u8>,
    records: u32,
    streams: Vec<Arc<StreamKey>>,
    rules: Vec<Arc<str>>,
    events: Vec<Event>,
    events_len: usize,
    tallies: Vec<Count>,
    summary: Summary,
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// An empty group.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER],
            records: 0,
            streams: Vec::new(),
            rules: Vec::new(),
            events: Vec::new(),
            events_len: 0,
            tallies: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// Adds a record. Its sequence number will be that of the commit plus its position in the group.
    ///
    /// # Panics
    /// When the group has 65 535 different streams or rules; a group of 4 096 records cannot.
    pub fn push(&mut self, record: &Record) {
        self.push_view(record.view());
    }

    /// Like [`push`](Self::push), for a record whose parts lie elsewhere.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    pub fn push_view(&mut self, record: RecordView<'_>) {
        let stream = intern(&mut self.streams, record.stream);
        let rule = intern(&mut self.rules, record.rule);
        let at = usize::from(stream);
        if at == self.tallies.len() {
            self.tallies.push(Count {
                stream: stream_hash(record.stream),
                records: 0,
                bytes: 0,
                since_ms: record.received_ms,
            });
        }
        let tally = &mut self.tallies[at];
        tally.records += 1;
        tally.bytes += wide(record.data.len() + record.partition_key.len());
        tally.since_ms = tally.since_ms.min(record.received_ms);
        self.summary.mark(record.hash.value());
        encode_record(&mut self.bytes, record, stream, rule);
        self.records += 1;
    }

    /// Adds an event. Events of one group take effect in the order in which they were added.
    pub fn push_event(&mut self, event: Event) {
        let client = match &event {
            Event::Open { client, .. }
            | Event::Release { client, .. }
            | Event::Forget { client } => client.len(),
        };
        self.events_len += 5 + client;
        self.events.push(event);
    }

    /// Takes memory of a frame that is on disk, so that a group costs no allocation of its size.
    pub(crate) fn reuse(&mut self, mut bytes: Vec<u8>) {
        if self.is_empty() {
            bytes.clear();
            bytes.resize(HEADER, 0);
            self.bytes = bytes;
        }
    }

    /// Number of records.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes that the group takes in the log so far, without the names of its streams and rules.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.events_len
    }

    /// True when it holds neither records nor events.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.events.is_empty()
    }

    /// An upper bound of the payload, whatever the tables hold.
    pub(crate) fn payload_bound(&self) -> usize {
        let mut tables = Vec::new();
        self.encode_tables(&mut tables);
        self.bytes() - HEADER + tables.len()
    }

    fn encode_tables(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&len_u32(self.streams.len()).to_le_bytes());
        for stream in &self.streams {
            encode_stream(out, stream);
        }
        out.extend_from_slice(&len_u32(self.rules.len()).to_le_bytes());
        for rule in &self.rules {
            put_text(out, rule);
        }
    }

    /// Turns the group into a frame and leaves an empty group behind.
    pub(crate) fn take_frame(
        &mut self,
        frame: u64,
        first_seq: u64,
        prior_end: u64,
        delta: &Delta,
    ) -> (FrameBuffer, Vec<Event>, Vec<Tally>) {
        let mut group = std::mem::take(self);
        let tallies: Vec<Tally> = std::mem::take(&mut group.tallies)
            .into_iter()
            .zip(group.streams.iter().cloned())
            .collect();
        group.summary.add_all(&tallies);
        let tables_at = len_u32(group.bytes.len() - HEADER);
        let mut tables = Vec::new();
        group.encode_tables(&mut tables);
        let mut bytes = std::mem::take(&mut group.bytes);
        bytes.extend_from_slice(&tables);
        let events_at = len_u32(bytes.len() - HEADER);
        for event in &group.events {
            encode_event(&mut bytes, event);
        }
        let delta_at = len_u32(bytes.len() - HEADER);
        if !delta.seqs.is_empty() {
            let written = delta.seqs.serialize_into(&mut bytes);
            written.expect("a vector takes every write");
            delta.counts.encode(&mut bytes);
        }
        let header = FrameHeader {
            frame,
            first_seq,
            prior_end,
            records: group.records,
            events: len_u32(group.events.len()),
            payload_len: len_u32(bytes.len() - HEADER),
            tables_at,
            events_at,
            delta_at,
            payload_crc: 0,
        };
        let buffer = FrameBuffer {
            header,
            summary: group.summary,
            bytes,
        };
        (buffer, group.events, tallies)
    }
}

fn intern<T: ?Sized + PartialEq>(table: &mut Vec<Arc<T>>, value: &Arc<T>) -> u16 {
    // Pointers first: the records of a group share them, and the last one is the likeliest.
    let known = table
        .iter()
        .rposition(|known| Arc::ptr_eq(known, value))
        .or_else(|| table.iter().rposition(|known| known == value));
    let at = known.unwrap_or_else(|| {
        table.push(Arc::clone(value));
        table.len() - 1
    });
    u16::try_from(at).expect("a group has fewer than 65 536 streams and rules")
}

/// Records of one stream.
pub(crate) type Tally = (Count, Arc<StreamKey>);

/// What was settled since the frame before.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) seqs: RoaringTreemap,
    pub(crate) counts: DeltaCounts,
}

/// The decoded payload of a frame.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) records: Vec<Record>,
    pub(crate) events: Vec<Event>,
    pub(crate) delta: Delta,
    streams: Vec<Arc<StreamKey>>,
}

impl Content {
    /// The records by stream, and what a footer says of them.
    pub(crate) fn tallies(&self) -> (Vec<Tally>, Summary) {
        let mut tallies: Vec<Tally> = Vec::new();
        let mut summary = Summary::default();
        let mut places: Vec<Option<usize>> = vec![None; self.streams.len()];
        let mut last = 0;
        for record in &self.records {
            summary.mark(record.hash.value());
            let same = |at: &usize| Arc::ptr_eq(&self.streams[*at], &record.stream);
            let found = Some(last).filter(same);
            let Some(stream) = found.or_else(|| (0..self.streams.len()).find(same)) else {
                continue;
            };
            last = stream;
            let at = *places[stream].get_or_insert_with(|| {
                let none = Count {
                    stream: stream_hash(&record.stream),
                    records: 0,
                    bytes: 0,
                    since_ms: record.received_ms,
                };
                tallies.push((none, Arc::clone(&record.stream)));
                tallies.len() - 1
            });
            let tally = &mut tallies[at].0;
            tally.records += 1;
            tally.bytes += record.payload_bytes();
            tally.since_ms = tally.since_ms.min(record.received_ms);
        }
        summary.add_all(&tallies);
        (tallies, summary)
    }
}

/// Reads a payload whose checksum was right. `None` means that its writer was not this code.
pub(crate) fn decode_payload(header: &FrameHeader, payload: &Bytes) -> Option<Content> {
    let part = |from: u32, to: u32| payload.get(narrow(from.into())..narrow(to.into()));
    let mut content = Content::default();
    let mut tables = Fields::new(part(header.tables_at, header.events_at)?);
    let mut streams: Vec<Arc<StreamKey>> = Vec::new();
    for _ in 0..tables.u32()? {
        streams.push(Arc::new(decode_stream(&mut tables)?));
    }
    let mut rules: Vec<Arc<str>> = Vec::new();
    for _ in 0..tables.u32()? {
        rules.push(Arc::from(tables.text()?));
    }
    let mut fields = Fields::new(part(0, header.tables_at)?);
    for _ in 0..header.records {
        let record = decode_record(payload, &mut fields, &streams, &rules)?;
        content.records.push(record);
    }
    let mut fields = Fields::new(part(header.events_at, header.delta_at)?);
    for _ in 0..header.events {
        content.events.push(decode_event(&mut fields)?);
    }
    let mut delta = part(header.delta_at, header.payload_len)?;
    if !delta.is_empty() {
        content.delta.seqs = RoaringTreemap::deserialize_from(&mut delta).ok()?;
        content.delta.counts = DeltaCounts::decode(&mut Fields::new(delta))?;
    }
    content.streams = streams;
    Some(content)
}
