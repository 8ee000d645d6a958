//! ListShards, and how a shard is described.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

use super::check::Checks;
use super::streams::{go_on, next_token};
use super::{Input, name_in_arn, stream_name};
use crate::error::ApiError;
use crate::json::{Text, millis_of_seconds};
use crate::sequence::{self, shard_id};
use crate::service::Service;
use crate::stream::Stream;
use crate::token::Kind;

/// Shards on one page, whatever the request asks for.
const PAGE_MAX: u32 = 1000;

/// The description of a shard. No shard of this server is ever closed.
pub(super) fn shard(stream: &Stream, index: u32) -> serde_json::Value {
    let range = stream.map().shard(index as usize).range();
    json!({
        "ShardId": shard_id(index),
        "HashKeyRange": {
            "StartingHashKey": range.start().to_string(),
            "EndingHashKey": range.end().to_string(),
        },
        "SequenceNumberRange": {
            "StartingSequenceNumber": stream.sequence_number(0, index).text(),
        },
    })
}

/// The index of the first shard behind `start`. The service takes ids of shards that do not exist, too.
pub(super) fn first_after(
    service: &Service,
    stream: &Stream,
    start: Option<&str>,
) -> Result<u32, ApiError> {
    let Some(start) = start else { return Ok(0) };
    let index = sequence::shard_index(start)
        .ok_or_else(|| ApiError::shard_not_found(start, stream.name(), service.account()))?;
    Ok(index.saturating_add(1))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListShards<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    next_token: Option<Text<'a>>,
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Text<'a>>,
    max_results: Option<i64>,
    stream_creation_timestamp: Option<f64>,
    #[serde(borrow)]
    shard_filter: Option<ShardFilter<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardFilter<'a> {
    #[serde(borrow)]
    r#type: Option<Text<'a>>,
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
    timestamp: Option<f64>,
}

const FILTER_TYPES: [&str; 6] = [
    "AFTER_SHARD_ID",
    "AT_TRIM_HORIZON",
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
];

fn text<'s>(member: Option<&'s Text<'_>>) -> Option<&'s str> {
    member.map(|text| &*text.0)
}

impl<'a> Input<'a> for ListShards<'a> {
    fn stream_name(&self) -> Option<Cow<'_, str>> {
        if let Some(token) = text(self.next_token.as_ref()) {
            return crate::token::Token::parse(Kind::ListShards, token).map(|t| Cow::Owned(t.name));
        }
        let arn = text(self.stream_arn.as_ref()).and_then(name_in_arn);
        text(self.stream_name.as_ref()).or(arn).map(Cow::Borrowed)
    }
}

pub(super) fn list(service: &Service, input: ListShards<'_>) -> Result<Vec<u8>, ApiError> {
    input.check()?;
    let (stream, from) = match text(input.next_token.as_ref()) {
        Some(token) => input.next_page(service, token)?,
        None => input.first_page(service)?,
    };
    let size = input
        .max_results
        .map_or(PAGE_MAX, |max| u32::try_from(max).unwrap_or(PAGE_MAX));
    let all = stream.meta().shards;
    let to = all.min(from.saturating_add(size.min(PAGE_MAX)));
    let shards: Vec<_> = (from..to).map(|index| shard(&stream, index)).collect();
    let mut answer = json!({ "Shards": shards });
    if to < all && to > 0 {
        let created_ms = stream.meta().created_ms;
        let token = next_token(service, Kind::ListShards, stream.name(), created_ms, to - 1);
        answer["NextToken"] = json!(token);
    }
    Ok(answer.to_string().into_bytes())
}

type Page = (std::sync::Arc<Stream>, u32);

impl ListShards<'_> {
    fn check(&self) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        checks.name("streamName", text(self.stream_name.as_ref()));
        checks.arn("streamARN", text(self.stream_arn.as_ref()));
        checks.name(
            "exclusiveStartShardId",
            text(self.exclusive_start_shard_id.as_ref()),
        );
        checks.range("maxResults", self.max_results, 1, 10_000);
        if let Some(filter) = &self.shard_filter {
            checks.required("shardFilter.type", filter.r#type.as_ref());
            checks.one_of(
                "shardFilter.type",
                text(filter.r#type.as_ref()),
                &FILTER_TYPES,
            );
            checks.name("shardFilter.shardId", text(filter.shard_id.as_ref()));
        }
        checks.finish()
    }

    fn first_page(&self, service: &Service) -> Result<Page, ApiError> {
        let (name, arn) = (
            text(self.stream_name.as_ref()),
            text(self.stream_arn.as_ref()),
        );
        if name.is_none() && arn.is_none() {
            return Err(ApiError::invalid_argument(
                "Either NextToken or StreamName should be provided.",
            ));
        }
        let name = stream_name(service, name, arn)?;
        let stream = service.active_stream(name)?;
        if let Some(created) = self.stream_creation_timestamp
            && millis_of_seconds(created) / 1000 != stream.meta().created_ms / 1000
        {
            return Err(ApiError::stream_not_found(name, service.account()));
        }
        let start = first_after(
            service,
            &stream,
            text(self.exclusive_start_shard_id.as_ref()),
        )?;
        let filter = self.filter(service, &stream)?;
        let first = start.max(filter).min(stream.meta().shards);
        Ok((stream, first))
    }

    /// The first shard that passes the filter. All are open, so only one by id leaves any out.
    fn filter(&self, service: &Service, stream: &Stream) -> Result<u32, ApiError> {
        let Some(filter) = &self.shard_filter else {
            return Ok(0);
        };
        match text(filter.r#type.as_ref()) {
            Some("AFTER_SHARD_ID") => match text(filter.shard_id.as_ref()) {
                Some(id) => first_after(service, stream, Some(id)),
                None => Err(ApiError::invalid_argument(
                    "ShardId must be provided for a ShardFilter of type AFTER_SHARD_ID.",
                )),
            },
            Some(kind @ ("AT_TIMESTAMP" | "FROM_TIMESTAMP")) if filter.timestamp.is_none() => {
                Err(ApiError::invalid_argument(format!(
                    "Timestamp must be provided for a ShardFilter of type {kind}."
                )))
            }
            _ => Ok(0),
        }
    }

    fn next_page(&self, service: &Service, token: &str) -> Result<Page, ApiError> {
        let others = [
            ("StreamName", self.stream_name.is_some()),
            ("StreamARN", self.stream_arn.is_some()),
            (
                "ExclusiveStartShardId",
                self.exclusive_start_shard_id.is_some(),
            ),
            (
                "StreamCreationTimestamp",
                self.stream_creation_timestamp.is_some(),
            ),
            ("ShardFilter", self.shard_filter.is_some()),
        ];
        if let Some((other, _)) = others.into_iter().find(|(_, given)| *given) {
            return Err(ApiError::invalid_argument(format!(
                "NextToken and {other} cannot be provided together."
            )));
        }
        let token = go_on(service, Kind::ListShards, token)?;
        let stream = service.active_stream(&token.name)?;
        if stream.meta().created_ms != token.created_ms {
            return Err(ApiError::stream_not_found(&token.name, service.account()));
        }
        let first = token.shard.saturating_add(1).min(stream.meta().shards);
        Ok((stream, first))
    }
}
