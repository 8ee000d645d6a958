//! The answers of PutRecord and PutRecords, written straight into one buffer.

use std::borrow::Cow;

use crate::error::{ApiError, rate_exceeded};
use crate::json::{push_number, push_string};
use crate::sequence::{self, push_shard_id};
use crate::service::Service;
use crate::stream::Stream;

const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// Why one record is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its shard takes no more.
    Throttled,
    /// A fault was injected.
    Fault {
        code: String,
        message: Option<String>,
    },
}

impl Refusal {
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Throttled => THROTTLED,
            Self::Fault { code, .. } => code,
        }
    }

    fn message(&self, service: &Service, stream: &Stream, shard: u32) -> String {
        match self {
            Self::Fault {
                message: Some(message),
                ..
            } => message.clone(),
            refusal => match refusal.code() {
                THROTTLED => {
                    rate_exceeded(&sequence::shard_id(shard), stream.name(), service.account())
                }
                "InternalFailure" => "Internal Service Failure".to_owned(),
                code => code.to_owned(),
            },
        }
    }

    /// The refusal of the only record as that of its request.
    pub(super) fn into_error(self, service: &Service, stream: &Stream, shard: u32) -> ApiError {
        let message = self.message(service, stream, shard);
        let code = match self {
            Self::Throttled => Cow::Borrowed(THROTTLED),
            Self::Fault { code, .. } => Cow::Owned(code),
        };
        let status = if code.starts_with("InternalFailure") {
            500
        } else {
            400
        };
        ApiError {
            status,
            code,
            message,
        }
    }
}

/// The answer of PutRecord.
pub(super) fn put_record(stream: &Stream, counter: u64, shard: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    push_stored(&mut out, stream, counter, shard);
    out
}

fn push_stored(out: &mut Vec<u8>, stream: &Stream, counter: u64, shard: u32) {
    out.extend_from_slice(b"{\"SequenceNumber\":\"");
    stream.sequence_number(counter, shard).push(out);
    out.extend_from_slice(b"\",\"ShardId\":\"");
    push_shard_id(out, shard);
    out.extend_from_slice(b"\"}");
}

/// The answer of PutRecords. `first` is the counter of the record with index 0, `shards` the shard of each record,
/// `refusals` by index or empty.
pub(super) fn put_records(
    service: &Service,
    stream: &Stream,
    first: u64,
    shards: &[u32],
    refusals: &[Option<Refusal>],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + shards.len() * 128);
    let failed = refusals.iter().filter(|refusal| refusal.is_some()).count();
    out.extend_from_slice(b"{\"FailedRecordCount\":");
    push_number(&mut out, failed as u64);
    out.extend_from_slice(b",\"Records\":[");
    for (index, (shard, counter)) in shards.iter().zip(first..).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match refusals.get(index) {
            Some(Some(refusal)) => {
                out.extend_from_slice(b"{\"ErrorCode\":");
                push_string(&mut out, refusal.code());
                out.extend_from_slice(b",\"ErrorMessage\":");
                push_string(&mut out, &refusal.message(service, stream, *shard));
                out.push(b'}');
            }
            _ => push_stored(&mut out, stream, counter, *shard),
        }
    }
    out.extend_from_slice(b"]}");
    out
}
