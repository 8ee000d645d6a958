//! One spooled record: what a rule produced, and what its error action would need.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{HashKey, PartitionKey};

use crate::wire::{Fields, len_u32, put_text, wide};

const FLAG_EXPLICIT: u16 = 1;
const FLAG_ERROR: u16 = 2;
const FLAG_OWN_PAYLOAD: u16 = 4;
/// Bytes of a record before its key and data.
const FIXED: usize = 4 + 2 + 2 + 2 + 8 + 2 + 16 + 4;

/// The stream a record goes to and how it is sent there. Frames hold each of them once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamKey {
    /// Account of the stream; empty for the sender's own.
    pub account: String,
    /// Region of the stream; empty for the sender's own.
    pub region: String,
    /// Name of the stream.
    pub name: String,
    /// Role that is assumed to send; empty for none.
    pub role: String,
    /// Ordering mode, as the pipeline numbers it.
    pub ordering: u8,
    /// Aggregation setting, as the pipeline numbers it.
    pub aggregation: u8,
}

/// What the error action of a rule needs beside the record, captured when the message was evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorContext {
    /// Topic of the publish.
    pub topic: String,
    /// Client that published.
    pub client_id: String,
    /// Trace id of the message.
    pub trace_id: u128,
    /// Address of the client.
    pub source_ip: String,
    /// The evaluated fields of the error action, in the form that the pipeline gave them.
    pub fields: Bytes,
    /// The original payload; `None` when it equals the data of the record.
    pub payload: Option<Bytes>,
}

/// A record as it is spooled and as it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub stream: Arc<StreamKey>,
    /// Rule that produced it.
    pub rule: Arc<str>,
    /// When its publish was received, in milliseconds since the Unix epoch.
    pub received_ms: i64,
    /// Partition key.
    pub partition_key: PartitionKey,
    /// The position that decides its shard.
    pub hash: HashKey,
    /// True when `hash` is an explicit hash key, which must be sent along.
    pub explicit: bool,
    /// Payload, as it will be stored.
    pub data: Bytes,
    /// For rules with an error action.
    pub error: Option<Arc<ErrorContext>>,
}

/// A record whose parts belong to somebody else: what a group copies, without a reference counted or a key copied for
/// each record.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// Where it goes.
    pub stream: &'a Arc<StreamKey>,
    /// Rule that produced it.
    pub rule: &'a Arc<str>,
    /// When its publish was received, in milliseconds since the Unix epoch.
    pub received_ms: i64,
    /// Partition key.
    pub partition_key: &'a str,
    /// The position that decides its shard.
    pub hash: HashKey,
    /// True when `hash` is an explicit hash key, which must be sent along.
    pub explicit: bool,
    /// Payload, as it will be stored.
    pub data: &'a [u8],
    /// For rules with an error action.
    pub error: Option<&'a ErrorContext>,
}

impl Record {
    /// The record as a group takes it.
    pub fn view(&self) -> RecordView<'_> {
        RecordView {
            stream: &self.stream,
            rule: &self.rule,
            received_ms: self.received_ms,
            partition_key: &self.partition_key,
            hash: self.hash,
            explicit: self.explicit,
            data: &self.data,
            error: self.error.as_deref(),
        }
    }

    /// Bytes of its data and partition key: what a backlog counts.
    pub fn payload_bytes(&self) -> u64 {
        wide(self.data.len() + self.partition_key.len())
    }

    /// Bytes that it takes in a frame.
    pub fn encoded_len(&self) -> usize {
        let error = self.error.as_ref().map_or(0, |error| {
            let payload = error
                .payload
                .as_ref()
                .map_or(0, |payload| 4 + payload.len());
            2 * 3
                + error.topic.len()
                + error.client_id.len()
                + error.source_ip.len()
                + 16
                + 4
                + error.fields.len()
                + payload
        });
        FIXED + self.partition_key.len() + self.data.len() + error
    }
}

pub(crate) fn encode_record(out: &mut Vec<u8>, record: RecordView<'_>, stream: u16, rule: u16) {
    let start = out.len();
    let mut flags = 0;
    if record.explicit {
        flags |= FLAG_EXPLICIT;
    }
    if let Some(error) = record.error {
        flags |= FLAG_ERROR;
        if error.payload.is_some() {
            flags |= FLAG_OWN_PAYLOAD;
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u16::to_le_bytes(flags));
    out.extend_from_slice(&stream.to_le_bytes());
    out.extend_from_slice(&rule.to_le_bytes());
    out.extend_from_slice(&record.received_ms.to_le_bytes());
    put_text(out, record.partition_key);
    out.extend_from_slice(&record.hash.value().to_le_bytes());
    put_bytes(out, record.data);
    if let Some(error) = record.error {
        put_text(out, &error.topic);
        put_text(out, &error.client_id);
        put_text(out, &error.source_ip);
        out.extend_from_slice(&error.trace_id.to_le_bytes());
        put_bytes(out, &error.fields);
        if let Some(payload) = &error.payload {
            put_bytes(out, payload);
        }
    }
    let len = len_u32(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&len_u32(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Reads a record; its data are slices of `payload`, of which `fields` reads.
pub(crate) fn decode_record(
    payload: &Bytes,
    fields: &mut Fields<'_>,
    streams: &[Arc<StreamKey>],
    rules: &[Arc<str>],
) -> Option<Record> {
    let len = fields.u32()?;
    let mut own = Fields::new(fields.take(usize::try_from(len).ok()?)?);
    let flags = own.u16()?;
    let stream = Arc::clone(streams.get(usize::from(own.u16()?))?);
    let rule = Arc::clone(rules.get(usize::from(own.u16()?))?);
    let received_ms = own.i64()?;
    let partition_key = PartitionKey::new(own.text()?).ok()?;
    let hash = HashKey::new(own.u128()?);
    let shared = |own: &mut Fields<'_>| -> Option<Bytes> {
        let len = own.u32()?;
        Some(payload.slice_ref(own.take(usize::try_from(len).ok()?)?))
    };
    let data = shared(&mut own)?;
    let error = if flags & FLAG_ERROR == 0 {
        None
    } else {
        Some(Arc::new(ErrorContext {
            topic: own.text()?.to_owned(),
            client_id: own.text()?.to_owned(),
            source_ip: own.text()?.to_owned(),
            trace_id: own.u128()?,
            fields: shared(&mut own)?,
            payload: match flags & FLAG_OWN_PAYLOAD {
                0 => None,
                _ => Some(shared(&mut own)?),
            },
        }))
    };
    Some(Record {
        stream,
        rule,
        received_ms,
        partition_key,
        hash,
        explicit: flags & FLAG_EXPLICIT != 0,
        data,
        error,
    })
}

pub(crate) fn encode_stream(out: &mut Vec<u8>, stream: &StreamKey) {
    for text in [&stream.account, &stream.region, &stream.name, &stream.role] {
        put_text(out, text);
    }
    out.extend_from_slice(&[stream.ordering, stream.aggregation]);
}

pub(crate) fn decode_stream(fields: &mut Fields<'_>) -> Option<StreamKey> {
    Some(StreamKey {
        account: fields.text()?.to_owned(),
        region: fields.text()?.to_owned(),
        name: fields.text()?.to_owned(),
        role: fields.text()?.to_owned(),
        ordering: fields.u8()?,
        aggregation: fields.u8()?,
    })
}
