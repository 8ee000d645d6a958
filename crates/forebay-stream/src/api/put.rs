//! PutRecord and PutRecords: the hot path.
//!
//! Strings are borrowed from the body, the data is decoded into one buffer, and the records of a request become one
//! batch that is written at once. The stream's lock is held for the write alone.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use forebay_core::HashKey;
use forebay_core::limits::{
    BYTES_PER_REQUEST_MAX, PARTITION_KEY_UNITS_MAX, RECORD_BYTES_MAX, RECORDS_PER_REQUEST_MAX,
};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::check::Checks;
use super::put_answer::{self, Refusal};
use super::{Operation, Outcome, name_in_arn, read, stream_name};
use crate::error::ApiError;
use crate::faults::{Plan, RecordFault, Target};
use crate::json::{Text, base64_engine};
use crate::log::{Batch, NewRecord};
use crate::sequence::SequenceNumber;
use crate::service::Service;
use crate::stream::Stream;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    records: Option<Entries<'a>>,
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
    #[serde(borrow)]
    sequence_number_for_ordering: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
}

/// The entries of a request, as many as are allowed; the others are only counted.
#[derive(Debug, Default)]
struct Entries<'a> {
    list: Vec<Entry<'a>>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries<'de>, A::Error> {
                let mut list = Vec::with_capacity(64);
                while list.len() < RECORDS_PER_REQUEST_MAX {
                    match seq.next_element()? {
                        Some(entry) => list.push(entry),
                        None => break,
                    }
                }
                let mut count = list.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Entries { list, count })
            }
        }

        deserializer.deserialize_seq(EntriesVisitor)
    }
}

/// The requests of both operations in one form.
struct Request<'a> {
    operation: Operation,
    name: Option<Cow<'a, str>>,
    arn: Option<Cow<'a, str>>,
    entries: Entries<'a>,
    /// A sequence number that the record must come after. Records of a shard are stored in the order of their requests
    /// in any case, so it is only checked.
    ordering: Option<Cow<'a, str>>,
    dry_run: bool,
}

fn text(member: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    member.map(|text| text.0)
}

pub(super) fn put_records(service: &Service, body: &[u8]) -> Outcome {
    let input: PutRecords<'_> = match read(body) {
        Ok(input) => input,
        Err(error) => return Outcome::error(error),
    };
    let request = Request {
        operation: Operation::PutRecords,
        name: text(input.stream_name),
        arn: text(input.stream_arn),
        entries: input.records.unwrap_or_default(),
        ordering: None,
        dry_run: input.dry_run.unwrap_or(false),
    };
    request.run(service)
}

pub(super) fn put_record(service: &Service, body: &[u8]) -> Outcome {
    let input: PutRecord<'_> = match read(body) {
        Ok(input) => input,
        Err(error) => return Outcome::error(error),
    };
    let entry = Entry {
        data: input.data,
        partition_key: input.partition_key,
        explicit_hash_key: input.explicit_hash_key,
    };
    let request = Request {
        operation: Operation::PutRecord,
        name: text(input.stream_name),
        arn: text(input.stream_arn),
        entries: Entries {
            list: vec![entry],
            count: 1,
        },
        ordering: text(input.sequence_number_for_ordering),
        dry_run: false,
    };
    request.run(service)
}

/// A record with its shard, if the stream and the hash key allow one, and where its data lies.
struct Routed<'a> {
    shard: Option<u32>,
    key: &'a str,
    data: Range<usize>,
}

impl Request<'_> {
    /// The stream that the request names.
    fn stream(&self) -> Option<&str> {
        self.name
            .as_deref()
            .or_else(|| self.arn.as_deref().and_then(name_in_arn))
    }

    fn run(&self, service: &Service) -> Outcome {
        let (data, ranges) = match self.decode() {
            Ok(decoded) => decoded,
            Err(error) => return Outcome::error(error),
        };
        let stream = stream_name(service, self.name.as_deref(), self.arn.as_deref())
            .and_then(|name| service.active_stream(name));
        let routed = self.route(stream.as_ref().ok(), ranges);
        let mut plan = self.plan(service, &routed);
        let faults = std::mem::take(&mut plan.records);
        Outcome::planned(plan, || {
            self.check()?;
            let stream = stream?;
            self.check_against(service, &stream, &routed)?;
            let put = Put {
                service,
                stream: &stream,
                routed: &routed,
                data: &data,
                faults,
            };
            match self.operation {
                Operation::PutRecord => put.one(),
                _ => put.many(),
            }
        })
    }

    /// Decodes the data of all entries into one buffer.
    fn decode(&self) -> Result<(Vec<u8>, Vec<Range<usize>>), ApiError> {
        let encoded = self
            .entries
            .list
            .iter()
            .filter_map(|entry| entry.data.as_ref());
        // The longest the data can be; the buffer is filled once and cut to what was written.
        let room = encoded.map(|data| data.0.len().div_ceil(4) * 3).sum();
        let mut buffer = vec![0; room];
        let mut ranges = Vec::with_capacity(self.entries.list.len());
        let mut at = 0;
        for entry in &self.entries.list {
            let data = entry.data.as_ref().map_or("", |data| &*data.0);
            let written = base64_engine()
                .decode_slice(data, &mut buffer[at..])
                .map_err(|error| {
                    let text =
                        format!("the Data of a record cannot be converted to a Blob: {error}");
                    ApiError::new("SerializationException", text)
                })?;
            ranges.push(at..at + written);
            at += written;
        }
        buffer.truncate(at);
        Ok((buffer, ranges))
    }

    fn route(&self, stream: Option<&Arc<Stream>>, ranges: Vec<Range<usize>>) -> Vec<Routed<'_>> {
        let mut routed = Vec::with_capacity(ranges.len());
        for (entry, data) in self.entries.list.iter().zip(ranges) {
            let key = entry.partition_key.as_ref().map_or("", |key| &*key.0);
            let hash = match &entry.explicit_hash_key {
                Some(hash) => hash.0.parse().ok(),
                None => Some(HashKey::of_partition_key(key)),
            };
            let shard = stream.and_then(|stream| hash.map(|hash| stream.shard_of(hash)));
            routed.push(Routed { shard, key, data });
        }
        routed
    }

    fn plan(&self, service: &Service, routed: &[Routed<'_>]) -> Plan {
        if !service.faults().is_active() {
            return Plan::default();
        }
        let records: Vec<_> = routed
            .iter()
            .map(|record| (record.shard, record.key))
            .collect();
        let operation = self.operation.name();
        service.plan(&Target {
            operation,
            stream: self.stream(),
            records: &records,
        })
    }

    /// Checks what can be checked without knowing the stream.
    fn check(&self) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        checks.sequence_number("sequenceNumberForOrdering", self.ordering.as_deref());
        checks.name("streamName", self.name.as_deref());
        checks.arn("streamARN", self.arn.as_deref());
        let count = self.entries.count;
        if self.operation == Operation::PutRecords && count != self.entries.list.len() {
            let constraint = format!("have length less than or equal to {RECORDS_PER_REQUEST_MAX}");
            checks.violated("records", Some(&format!("{count} records")), &constraint);
        }
        if self.operation == Operation::PutRecords && count == 0 {
            checks.violated(
                "records",
                Some("[]"),
                "have length greater than or equal to 1",
            );
        }
        for (index, entry) in self.entries.list.iter().enumerate() {
            if let Some((member, value, constraint)) = violation(entry) {
                let field = match self.operation {
                    Operation::PutRecord => member.to_owned(),
                    _ => format!("records.{}.member.{member}", index + 1),
                };
                checks.violated(&field, value, &constraint);
            }
        }
        checks.finish()
    }

    /// Checks hash keys and sizes.
    fn check_against(
        &self,
        service: &Service,
        stream: &Stream,
        routed: &[Routed<'_>],
    ) -> Result<(), ApiError> {
        let mut total = 0;
        for (record, entry) in routed.iter().zip(&self.entries.list) {
            if record.shard.is_none() {
                let hash = entry.explicit_hash_key.as_ref().map_or("", |hash| &*hash.0);
                return Err(ApiError::invalid_argument(format!(
                    "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. \
                     Specified value was {hash}"
                )));
            }
            let len = record.key.len() + record.data.len();
            let max = stream.max_record_bytes();
            if len > max {
                return Err(ApiError::invalid_argument(format!(
                    "Record size of {len} bytes exceeds the {max} bytes that stream {} under \
                     account {} allows.",
                    stream.name(),
                    service.account()
                )));
            }
            total += len;
        }
        if total > BYTES_PER_REQUEST_MAX {
            return Err(ApiError::invalid_argument(format!(
                "Records size exceeds 10 MB limit: {total} bytes > {BYTES_PER_REQUEST_MAX}"
            )));
        }
        if let Some(number) = self
            .ordering
            .as_deref()
            .filter(|n| SequenceNumber::parse(n).is_none())
        {
            return Err(ApiError::invalid_argument(format!(
                "ExclusiveMinimumSequenceNumber {number} used in PutRecord on stream {} under account \
                 {} is invalid.",
                stream.name(),
                service.account()
            )));
        }
        if self.dry_run {
            let text = "Request would have succeeded, but DryRun flag is set.";
            return Err(ApiError::new("DryRunOperationException", text));
        }
        Ok(())
    }
}

/// What is wrong with an entry: the member, its value and the constraint it breaks.
fn violation<'e>(
    entry: &'e Entry<'_>,
) -> Option<(&'static str, Option<&'e str>, Cow<'static, str>)> {
    let Some(key) = entry.partition_key.as_ref().map(|key| &*key.0) else {
        return Some(("partitionKey", None, "not be null".into()));
    };
    if key.is_empty() {
        return Some((
            "partitionKey",
            Some(key),
            "have length greater than or equal to 1".into(),
        ));
    }
    // A UTF-8 byte never stands for more than one UTF-16 unit.
    if key.len() > PARTITION_KEY_UNITS_MAX && key.encode_utf16().count() > PARTITION_KEY_UNITS_MAX {
        let constraint = format!("have length less than or equal to {PARTITION_KEY_UNITS_MAX}");
        return Some(("partitionKey", Some(key), constraint.into()));
    }
    let Some(data) = entry.data.as_ref().map(|data| &*data.0) else {
        return Some(("data", None, "not be null".into()));
    };
    // Padding only makes the estimate higher, so a record at the limit gets the exact look of its stream later.
    if (data.len() / 4).saturating_sub(1) * 3 > RECORD_BYTES_MAX {
        let constraint = format!("have length less than or equal to {RECORD_BYTES_MAX}");
        return Some(("data", Some("java.nio.HeapByteBuffer"), constraint.into()));
    }
    let hash = entry.explicit_hash_key.as_ref().map(|hash| &*hash.0)?;
    let canonical = !hash.is_empty()
        && hash.len() <= 39
        && hash.bytes().all(|b| b.is_ascii_digit())
        && (hash == "0" || !hash.starts_with('0'));
    let constraint = r"satisfy regular expression pattern: 0|([1-9]\d{0,38})";
    (!canonical).then_some(("explicitHashKey", Some(hash), constraint.into()))
}

/// A request that is fine, about to be stored.
struct Put<'a> {
    service: &'a Service,
    stream: &'a Stream,
    routed: &'a [Routed<'a>],
    data: &'a [u8],
    /// By index of the record; empty when there are none.
    faults: Vec<Option<RecordFault>>,
}

impl Put<'_> {
    fn many(self) -> Result<Vec<u8>, ApiError> {
        let refusals = self.refusals();
        let first = self.store(&refusals)?;
        Ok(put_answer::put_records(
            self.service,
            self.stream,
            first,
            &self.shards(),
            &refusals,
        ))
    }

    fn one(self) -> Result<Vec<u8>, ApiError> {
        let mut refusals = self.refusals();
        let shard = self.shards()[0];
        if let Some(refusal) = refusals.pop().flatten() {
            return Err(refusal.into_error(self.service, self.stream, shard));
        }
        let first = self.store(&refusals)?;
        Ok(put_answer::put_record(self.stream, first, shard))
    }

    fn shards(&self) -> Vec<u32> {
        self.routed
            .iter()
            .filter_map(|record| record.shard)
            .collect()
    }

    /// Which records are refused, by index; empty when none is.
    fn refusals(&self) -> Vec<Option<Refusal>> {
        let mut refusals = Vec::new();
        let mut refuse = |index: usize, refusal| {
            refusals.resize(self.routed.len(), None);
            refusals[index] = Some(refusal);
        };
        for (index, fault) in self.faults.iter().enumerate() {
            if let Some(RecordFault::Refuse { code, message }) = fault {
                let (code, message) = (code.clone(), message.clone());
                refuse(index, Refusal::Fault { code, message });
            }
        }
        if let Some(rates) = self.service.limits().write_rates() {
            let now = self.service.now();
            let mut limits = self.stream.limits();
            for (index, record) in self.routed.iter().enumerate() {
                let len = record.key.len() + record.data.len();
                let faulted = matches!(
                    self.faults.get(index),
                    Some(Some(RecordFault::Refuse { .. }))
                );
                let shard = record.shard.unwrap_or_default();
                if !faulted && !limits.admit_record(shard, len, now, rates) {
                    refuse(index, Refusal::Throttled);
                }
            }
        }
        for (record, refusal) in self.routed.iter().zip(&refusals) {
            if let (Some(shard), Some(refusal)) = (record.shard, refusal) {
                self.stream.counters(shard).add_refused();
                self.service
                    .counters()
                    .records_refused
                    .add(refusal.code(), 1);
            }
        }
        refusals
    }

    /// Stores the records that are not refused and returns the counter of the one with index 0.
    fn store(&self, refusals: &[Option<Refusal>]) -> Result<u64, ApiError> {
        let kept = |index: usize| {
            refusals.get(index).is_none_or(Option::is_none)
                && self
                    .faults
                    .get(index)
                    .is_none_or(|fault| *fault != Some(RecordFault::Drop))
        };
        let mut records = Vec::with_capacity(self.routed.len());
        for (index, record) in (0_u16..).zip(self.routed) {
            if let Some(shard) = record.shard.filter(|_| kept(usize::from(index))) {
                let data = &self.data[record.data.clone()];
                records.push(NewRecord {
                    index,
                    shard,
                    key: record.key,
                    data,
                });
            }
        }
        if records.is_empty() {
            return Ok(self.stream.log().skip(self.routed.len() as u64));
        }
        let mut batch = Batch::new(&mut records, self.routed.len());
        let now_ms = self.service.wall_ms();
        let appended = self.stream.log().append(&mut batch, now_ms);
        let appended = appended.map_err(|error| self.failed(&error))?;
        self.service.registry().grown(self.stream, appended.bytes);
        self.count(&records);
        Ok(appended.first)
    }

    fn failed(&self, error: &std::io::Error) -> ApiError {
        if error.kind() == std::io::ErrorKind::NotFound {
            return ApiError::stream_not_found(self.stream.name(), self.service.account());
        }
        ApiError::storage(error)
    }

    /// Counts what was stored, and charges its bytes in whole KiB.
    fn count(&self, records: &[NewRecord<'_>]) {
        let len = |record: &NewRecord<'_>| record.key.len() + record.data.len();
        let limited = self.service.limits().enabled();
        let mut total = 0;
        for group in records.chunk_by(|a, b| a.shard == b.shard) {
            let shard = group[0].shard;
            let bytes = group.iter().map(len).sum();
            self.stream.counters(shard).add_stored(group.len(), bytes);
            if limited {
                self.stream.limits().round_up(shard, bytes);
            }
            total += bytes;
        }
        let counters = self.service.counters();
        counters
            .records_stored
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        counters
            .bytes_stored
            .fetch_add(total as u64, Ordering::Relaxed);
    }
}
