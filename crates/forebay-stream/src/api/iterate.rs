//! GetShardIterator and GetRecords.

use std::borrow::Cow;

use forebay_core::limits::BYTES_PER_REQUEST_MAX;
use serde::Deserialize;

use super::check::Checks;
use super::{Input, name_in_arn, stream_name};
use crate::error::{ApiError, rate_exceeded};
use crate::json::{Text, millis_of_seconds, push_base64, push_number, push_string, push_timestamp};
use crate::log::Collector;
use crate::sequence::{SequenceNumber, shard_id};
use crate::service::Service;
use crate::stream::Stream;
use crate::token::{Kind, Token};

/// How long an iterator can be used.
const ITERATOR_LIFE_MS: u64 = 300_000;
/// Records that one GetRecords gives at most, and gives when it names no limit.
const RECORDS_MAX: usize = 10_000;

const ITERATOR_TYPES: [&str; 5] = [
    "AFTER_SEQUENCE_NUMBER",
    "LATEST",
    "AT_TIMESTAMP",
    "AT_SEQUENCE_NUMBER",
    "TRIM_HORIZON",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetShardIterator<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
    #[serde(borrow)]
    shard_iterator_type: Option<Text<'a>>,
    #[serde(borrow)]
    starting_sequence_number: Option<Text<'a>>,
    timestamp: Option<f64>,
}

fn text<'s>(member: Option<&'s Text<'_>>) -> Option<&'s str> {
    member.map(|text| &*text.0)
}

impl<'a> Input<'a> for GetShardIterator<'a> {
    fn stream_name(&self) -> Option<Cow<'_, str>> {
        let arn = text(self.stream_arn.as_ref()).and_then(name_in_arn);
        text(self.stream_name.as_ref()).or(arn).map(Cow::Borrowed)
    }
}

pub(super) fn shard_iterator(
    service: &Service,
    input: GetShardIterator<'_>,
) -> Result<Vec<u8>, ApiError> {
    let (name, arn) = (
        text(input.stream_name.as_ref()),
        text(input.stream_arn.as_ref()),
    );
    let kind = text(input.shard_iterator_type.as_ref());
    let mut checks = Checks::default();
    checks.name("streamName", name);
    checks.arn("streamARN", arn);
    checks.required("shardId", input.shard_id.as_ref());
    checks.name("shardId", text(input.shard_id.as_ref()));
    checks.required("shardIteratorType", kind.as_ref());
    checks.one_of("shardIteratorType", kind, &ITERATOR_TYPES);
    checks.sequence_number(
        "startingSequenceNumber",
        text(input.starting_sequence_number.as_ref()),
    );
    checks.finish()?;
    let stream = service.active_stream(stream_name(service, name, arn)?)?;
    let id = text(input.shard_id.as_ref()).unwrap_or_default();
    let shard = stream
        .shard_index(id)
        .ok_or_else(|| ApiError::shard_not_found(id, stream.name(), service.account()))?;
    if service.limits().enabled() && !stream.limits().admit_iterator(shard, service.now()) {
        return Err(throttled(service, &stream, shard));
    }
    let (counter, not_before_ms) =
        input.position(service, &stream, shard, kind.unwrap_or_default())?;
    let iterator = iterator(service, &stream, shard, counter, not_before_ms);
    Ok(format!("{{\"ShardIterator\":\"{iterator}\"}}").into_bytes())
}

impl GetShardIterator<'_> {
    /// The counter and the arrival time from which records are wanted.
    fn position(
        &self,
        service: &Service,
        stream: &Stream,
        shard: u32,
        kind: &str,
    ) -> Result<(u64, u64), ApiError> {
        let start = text(self.starting_sequence_number.as_ref());
        let by_number = matches!(kind, "AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER");
        if by_number != start.is_some() {
            return Err(ApiError::invalid_argument(format!(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and \
                 StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. \
                 Request specified {kind} and {} StartingSequenceNumber.",
                if start.is_some() { "also a" } else { "no" }
            )));
        }
        if let Some(start) = start {
            let counter = starting_counter(service, stream, shard, start)?;
            return Ok((counter + u64::from(kind == "AFTER_SEQUENCE_NUMBER"), 0));
        }
        match kind {
            "LATEST" => Ok((stream.log().next_counter(), 0)),
            "AT_TIMESTAMP" => self
                .timestamp(service)
                .map(|not_before_ms| (0, not_before_ms)),
            _ => Ok((0, 0)),
        }
    }

    fn timestamp(&self, service: &Service) -> Result<u64, ApiError> {
        let Some(seconds) = self.timestamp else {
            return Err(ApiError::invalid_argument(
                "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current \
                 request has no timestamp parameter.",
            ));
        };
        let (millis, now) = (millis_of_seconds(seconds), service.wall_ms());
        if millis > now {
            return Err(ApiError::invalid_argument(format!(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
                 timestampInMillis: {millis}, currentTimestampInMillis: {now}"
            )));
        }
        Ok(millis)
    }
}

/// The counter in a sequence number that must be one of this shard.
fn starting_counter(
    service: &Service,
    stream: &Stream,
    shard: u32,
    start: &str,
) -> Result<u64, ApiError> {
    let used = format!(
        "StartingSequenceNumber {start} used in GetShardIterator on shard {} in stream {} under \
         account {} is invalid",
        shard_id(shard),
        stream.name(),
        service.account()
    );
    let number = SequenceNumber::parse(start)
        .ok_or_else(|| ApiError::invalid_argument(format!("{used}.")))?;
    if number.shard != shard {
        return Err(ApiError::invalid_argument(format!(
            "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard \
             with {}",
            shard_id(number.shard),
            shard_id(shard)
        )));
    }
    if number.created_ms != stream.meta().created_ms {
        return Err(ApiError::invalid_argument(format!(
            "{used} because it did not come from this stream."
        )));
    }
    Ok(number.counter)
}

fn iterator(
    service: &Service,
    stream: &Stream,
    shard: u32,
    counter: u64,
    not_before_ms: u64,
) -> String {
    Token {
        kind: Kind::ShardIterator,
        issued_ms: service.wall_ms(),
        created_ms: stream.meta().created_ms,
        shard,
        counter,
        not_before_ms,
        name: stream.name().to_owned(),
    }
    .text()
}

fn throttled(service: &Service, stream: &Stream, shard: u32) -> ApiError {
    ApiError::new(
        "ProvisionedThroughputExceededException",
        rate_exceeded(&shard_id(shard), stream.name(), service.account()),
    )
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecords<'a> {
    #[serde(borrow)]
    shard_iterator: Option<Text<'a>>,
    limit: Option<i64>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
}

impl<'a> Input<'a> for GetRecords<'a> {
    fn stream_name(&self) -> Option<Cow<'_, str>> {
        let token = Token::parse(Kind::ShardIterator, text(self.shard_iterator.as_ref())?)?;
        Some(Cow::Owned(token.name))
    }
}

pub(super) fn records(service: &Service, input: GetRecords<'_>) -> Result<Vec<u8>, ApiError> {
    let arn = text(input.stream_arn.as_ref());
    let mut checks = Checks::default();
    checks.required("shardIterator", input.shard_iterator.as_ref());
    if let Some(text) = text(input.shard_iterator.as_ref()) {
        checks.length("shardIterator", text, text.len(), 1, 512);
    }
    checks.range("limit", input.limit, 1, 10_000);
    checks.arn("streamARN", arn);
    checks.finish()?;
    let token = valid_iterator(
        service,
        text(input.shard_iterator.as_ref()).unwrap_or_default(),
    )?;
    if let Some(arn) = arn {
        stream_name(service, Some(&token.name), Some(arn))?;
    }
    let missing =
        || ApiError::shard_not_found(&shard_id(token.shard), &token.name, service.account());
    let stream = service.active_stream(&token.name).map_err(|_| missing())?;
    if stream.meta().created_ms != token.created_ms || token.shard >= stream.meta().shards {
        return Err(missing());
    }
    if service.limits().enabled() && !stream.limits().admit_read(token.shard, service.now()) {
        return Err(throttled(service, &stream, token.shard));
    }
    let limit = input
        .limit
        .map_or(RECORDS_MAX, |limit| usize::try_from(limit).unwrap_or(1));
    let trimmed_ms = service
        .wall_ms()
        .saturating_sub(service.registry().retention_ms());
    let not_before_ms = token.not_before_ms.max(trimmed_ms);
    let mut found = Collector::new(token.counter, not_before_ms, limit, BYTES_PER_REQUEST_MAX);
    let read = stream.log().collect(token.shard, &mut found);
    read.map_err(|error| ApiError::storage(&error))?;
    if service.limits().enabled() {
        stream.limits().charge_read(token.shard, found.bytes());
    }
    Ok(answer(service, &stream, &token, &found))
}

fn valid_iterator(service: &Service, text: &str) -> Result<Token, ApiError> {
    let token = Token::parse(Kind::ShardIterator, text)
        .ok_or_else(|| ApiError::invalid_argument("Invalid ShardIterator."))?;
    let age_ms = service.wall_ms().saturating_sub(token.issued_ms);
    if age_ms > ITERATOR_LIFE_MS {
        return Err(ApiError::new(
            "ExpiredIteratorException",
            format!(
                "Iterator expired. The iterator was created {age_ms} milliseconds ago, which is more \
                 than the tolerated delay of {ITERATOR_LIFE_MS} milliseconds."
            ),
        ));
    }
    Ok(token)
}

fn answer(service: &Service, stream: &Stream, token: &Token, found: &Collector) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + found.len() * 192 + found.bytes().div_ceil(3) * 4);
    out.extend_from_slice(b"{\"Records\":[");
    let mut last_ms = None;
    for record in found.records() {
        if last_ms.is_some() {
            out.push(b',');
        }
        last_ms = Some(record.arrival_ms);
        out.extend_from_slice(b"{\"SequenceNumber\":\"");
        stream
            .sequence_number(record.counter, token.shard)
            .push(&mut out);
        out.extend_from_slice(b"\",\"ApproximateArrivalTimestamp\":");
        push_timestamp(&mut out, record.arrival_ms);
        out.extend_from_slice(b",\"Data\":");
        push_base64(&mut out, record.data);
        out.extend_from_slice(b",\"PartitionKey\":");
        push_string(&mut out, record.key);
        out.push(b'}');
    }
    // Behind the newest record an answer is exactly when the shard has more than it gives.
    let behind_ms = match last_ms {
        Some(last_ms) if found.has_more() => service.wall_ms().saturating_sub(last_ms).max(1),
        _ => 0,
    };
    let next = iterator(
        service,
        stream,
        token.shard,
        found.next(),
        token.not_before_ms,
    );
    out.extend_from_slice(b"],\"NextShardIterator\":\"");
    out.extend_from_slice(next.as_bytes());
    out.extend_from_slice(b"\",\"MillisBehindLatest\":");
    push_number(&mut out, behind_ms);
    out.push(b'}');
    out
}
