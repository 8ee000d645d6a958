//! PutRecord and PutRecords: the hot path.
//!
//! Strings are borrowed from the body, the data is decoded into one buffer, and the records of a request become one
//! batch that is written at once. The stream's lock is held for the write alone.

mod answer;
mod check;
mod input;
mod store;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use forebay_core::HashKey;

use self::input::{Entries, Entry, PutRecord, PutRecords};
use self::store::Put;
use super::{Operation, Outcome, name_in_arn, read, stream_name};
use crate::error::ApiError;
use crate::faults::{Plan, Target};
use crate::json::{Text, base64_engine};
use crate::service::Service;
use crate::stream::Stream;

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
}
