//! CreateStream, DeleteStream, DescribeStream, DescribeStreamSummary and ListStreams.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

use super::check::Checks;
use super::{Input, name_in_arn, shards, stream_name};
use crate::error::{ApiError, ServerError};
use crate::json::Text;
use crate::service::{SHARDS_MAX, Service};
use crate::stream::{Stream, StreamMeta};
use crate::token::{Kind, Token};

/// Shards of an on-demand stream when it is created.
const ON_DEMAND_SHARDS: u32 = 4;
const MAX_RECORD_KIB_DEFAULT: u32 = 1024;
const MAX_RECORD_KIB_MAX: u32 = 10_240;
/// How long a token goes on with a list.
pub(super) const TOKEN_LIFE_MS: u64 = 300_000;

/// A stream to be created.
#[derive(Debug)]
pub(crate) struct NewStream {
    name: String,
    shards: u32,
    on_demand: bool,
    max_record_kib: u32,
}

impl NewStream {
    pub(crate) fn provisioned(name: &str, shards: u32) -> Self {
        let name = name.to_owned();
        Self {
            name,
            shards,
            on_demand: false,
            max_record_kib: MAX_RECORD_KIB_DEFAULT,
        }
    }

    /// Creates it.
    pub(crate) fn create(self, service: &Service) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        checks.name("streamName", Some(&self.name));
        checks.range("shardCount", Some(self.shards.into()), 1, SHARDS_MAX.into());
        checks.finish()?;
        let open: u32 = service
            .registry()
            .all()
            .iter()
            .map(|stream| stream.meta().shards)
            .sum();
        if open.saturating_add(self.shards) > SHARDS_MAX {
            return Err(ApiError::new(
                "LimitExceededException",
                format!(
                    "This request would exceed the shard limit for the account {} in {}. Current \
                     shard count for the account: {open}. Limit: {SHARDS_MAX}. Number of additional \
                     shards that would have resulted from this request: {}.",
                    service.account(),
                    service.region(),
                    self.shards
                ),
            ));
        }
        let meta = StreamMeta {
            version: StreamMeta::VERSION,
            name: self.name,
            created_ms: service.creation_time(),
            shards: self.shards,
            on_demand: self.on_demand,
            max_record_kib: self.max_record_kib,
            run: 1,
        };
        let (name, shards) = (meta.name.clone(), meta.shards);
        if service.registry().create(meta).map_err(storage)?.is_none() {
            let text = format!(
                "Stream {name} under account {} already exists.",
                service.account()
            );
            return Err(ApiError::new("ResourceInUseException", text));
        }
        tracing::info!(stream = name, shards, "stream created");
        Ok(())
    }
}

fn storage(error: ServerError) -> ApiError {
    ApiError {
        status: 500,
        code: Cow::Borrowed("InternalFailureException"),
        message: error.to_string(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    shard_count: Option<i64>,
    #[serde(borrow)]
    stream_mode_details: Option<StreamModeDetails<'a>>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_kib: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamModeDetails<'a> {
    #[serde(borrow)]
    stream_mode: Option<Text<'a>>,
}

impl<'a> Input<'a> for CreateStream<'a> {
    fn stream_name(&self) -> Option<Cow<'_, str>> {
        self.stream_name
            .as_ref()
            .map(|name| Cow::Borrowed(&*name.0))
    }
}

pub(super) fn create(service: &Service, input: CreateStream<'_>) -> Result<Vec<u8>, ApiError> {
    let name = input.stream_name.as_ref().map(|name| &*name.0);
    let details = input.stream_mode_details.as_ref();
    let mode = details
        .and_then(|details| details.stream_mode.as_ref())
        .map(|mode| &*mode.0);
    let mut checks = Checks::default();
    checks.required("streamName", name.as_ref());
    checks.name("streamName", name);
    checks.range("shardCount", input.shard_count, 1, SHARDS_MAX.into());
    let (kib_min, kib_max) = (MAX_RECORD_KIB_DEFAULT.into(), MAX_RECORD_KIB_MAX.into());
    checks.range("maxRecordSizeInKiB", input.max_record_kib, kib_min, kib_max);
    if details.is_some() {
        checks.required("streamModeDetails.streamMode", mode.as_ref());
    }
    checks.one_of(
        "streamModeDetails.streamMode",
        mode,
        &["PROVISIONED", "ON_DEMAND"],
    );
    checks.finish()?;
    let on_demand = mode == Some("ON_DEMAND");
    let shards = input.shard_count.map_or(ON_DEMAND_SHARDS, small);
    if !on_demand && input.shard_count.is_none() {
        return Err(ApiError::invalid_argument(
            "ShardCount must be provided for a stream in PROVISIONED mode.",
        ));
    }
    let max_record_kib = input.max_record_kib.map_or(MAX_RECORD_KIB_DEFAULT, small);
    let name = name.unwrap_or_default().to_owned();
    NewStream {
        name,
        shards,
        on_demand,
        max_record_kib,
    }
    .create(service)?;
    Ok(Vec::new())
}

/// A number whose range was checked.
fn small(value: i64) -> u32 {
    u32::try_from(value).expect("the range was checked")
}

/// The input of what asks for nothing but a stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneStream<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    limit: Option<i64>,
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Text<'a>>,
}

impl<'a> Input<'a> for OneStream<'a> {
    fn stream_name(&self) -> Option<Cow<'_, str>> {
        let name = self.stream_name.as_ref().map(|name| &*name.0);
        let arn = self.stream_arn.as_ref().map(|arn| &*arn.0);
        name.or_else(|| arn.and_then(name_in_arn))
            .map(Cow::Borrowed)
    }
}

impl OneStream<'_> {
    fn checked<'s>(&'s self, service: &Service) -> Result<&'s str, ApiError> {
        let name = self.stream_name.as_ref().map(|name| &*name.0);
        let arn = self.stream_arn.as_ref().map(|arn| &*arn.0);
        let mut checks = Checks::default();
        checks.name("streamName", name);
        checks.arn("streamARN", arn);
        checks.range("limit", self.limit, 1, 10_000);
        let start = self.exclusive_start_shard_id.as_ref().map(|id| &*id.0);
        checks.name("exclusiveStartShardId", start);
        checks.finish()?;
        stream_name(service, name, arn)
    }
}

pub(super) fn delete(service: &Service, input: OneStream<'_>) -> Result<Vec<u8>, ApiError> {
    let name = input.checked(service)?;
    if !service.registry().delete(name).map_err(storage)? {
        return Err(ApiError::stream_not_found(name, service.account()));
    }
    tracing::info!(stream = name, "stream deleted");
    Ok(Vec::new())
}

pub(super) fn describe(service: &Service, input: OneStream<'_>) -> Result<Vec<u8>, ApiError> {
    let stream = service.stream(input.checked(service)?)?;
    let limit = input.limit.map_or(100, small) as usize;
    let start = input.exclusive_start_shard_id.as_ref().map(|id| &*id.0);
    // A stream that is being created has no shards yet.
    let all = if service.is_active(&stream) {
        stream.meta().shards
    } else {
        0
    };
    let from = shards::first_after(service, &stream, start)?.min(all);
    let to = all.min(from.saturating_add(u32::try_from(limit).unwrap_or(u32::MAX)));
    let mut description = facts(service, &stream);
    description["HasMoreShards"] = json!(to < all);
    description["Shards"] = (from..to)
        .map(|shard| shards::shard(&stream, shard))
        .collect();
    Ok(body(&json!({ "StreamDescription": description })))
}

pub(super) fn summary(service: &Service, input: OneStream<'_>) -> Result<Vec<u8>, ApiError> {
    let stream = service.stream(input.checked(service)?)?;
    let open = if service.is_active(&stream) {
        stream.meta().shards
    } else {
        0
    };
    let mut summary = facts(service, &stream);
    summary["OpenShardCount"] = json!(open);
    summary["ConsumerCount"] = json!(0);
    summary["MaxRecordSizeInKiB"] = json!(stream.meta().max_record_kib);
    Ok(body(&json!({ "StreamDescriptionSummary": summary })))
}

/// What both descriptions of a stream say.
fn facts(service: &Service, stream: &Stream) -> serde_json::Value {
    let hours = service.registry().retention_ms().div_ceil(3_600_000);
    let mut facts = listed(service, stream);
    facts["RetentionPeriodHours"] = json!(hours);
    facts["EnhancedMonitoring"] = json!([{ "ShardLevelMetrics": [] }]);
    facts["EncryptionType"] = json!("NONE");
    facts
}

/// What a list of streams says of each.
fn listed(service: &Service, stream: &Stream) -> serde_json::Value {
    let meta = stream.meta();
    json!({
        "StreamName": meta.name,
        "StreamARN": service.arn(&meta.name),
        "StreamStatus": if service.is_active(stream) { "ACTIVE" } else { "CREATING" },
        "StreamModeDetails": { "StreamMode": if meta.on_demand { "ON_DEMAND" } else { "PROVISIONED" } },
        "StreamCreationTimestamp": seconds(meta.created_ms),
    })
}

/// A timestamp in seconds since the epoch.
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn body(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListStreams<'a> {
    limit: Option<i64>,
    #[serde(borrow)]
    exclusive_start_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    next_token: Option<Text<'a>>,
}

impl<'a> Input<'a> for ListStreams<'a> {
    fn stream_name(&self) -> Option<Cow<'_, str>> {
        None
    }
}

pub(super) fn list(service: &Service, input: ListStreams<'_>) -> Result<Vec<u8>, ApiError> {
    let start = input
        .exclusive_start_stream_name
        .as_ref()
        .map(|name| &*name.0);
    let mut checks = Checks::default();
    checks.range("limit", input.limit, 1, 10_000);
    checks.name("exclusiveStartStreamName", start);
    checks.finish()?;
    let after = match &input.next_token {
        Some(_) if start.is_some() => {
            return Err(ApiError::invalid_argument(
                "NextToken and ExclusiveStartStreamName cannot be provided together.",
            ));
        }
        Some(token) => Some(go_on(service, Kind::ListStreams, &token.0)?.name),
        None => start.map(str::to_owned),
    };
    let limit = input.limit.map_or(100, small) as usize;
    let mut streams = service.registry().all();
    streams.retain(|stream| after.as_deref().is_none_or(|after| stream.name() > after));
    let more = streams.len() > limit;
    streams.truncate(limit);
    let names: Vec<_> = streams.iter().map(|stream| stream.name()).collect();
    let summaries: Vec<_> = streams
        .iter()
        .map(|stream| listed(service, stream))
        .collect();
    let mut answer =
        json!({ "StreamNames": names, "HasMoreStreams": more, "StreamSummaries": summaries });
    if more && let Some(last) = names.last() {
        answer["NextToken"] = json!(next_token(service, Kind::ListStreams, last, 0, 0));
    }
    Ok(body(&answer))
}

/// A token that goes on with a list behind `name`, or behind `shard` of the stream `name`.
pub(super) fn next_token(
    service: &Service,
    kind: Kind,
    name: &str,
    created_ms: u64,
    shard: u32,
) -> String {
    let issued_ms = service.wall_ms();
    let name = name.to_owned();
    Token {
        kind,
        issued_ms,
        created_ms,
        shard,
        counter: 0,
        not_before_ms: 0,
        name,
    }
    .text()
}

/// Reads a token that goes on with a list.
pub(super) fn go_on(service: &Service, kind: Kind, text: &str) -> Result<Token, ApiError> {
    let token = Token::parse(kind, text)
        .ok_or_else(|| ApiError::invalid_argument("NextToken is invalid."))?;
    if service.wall_ms().saturating_sub(token.issued_ms) > TOKEN_LIFE_MS {
        return Err(ApiError::new(
            "ExpiredNextTokenException",
            format!(
                "NextToken expired: it is older than {} seconds.",
                TOKEN_LIFE_MS / 1000
            ),
        ));
    }
    Ok(token)
}
