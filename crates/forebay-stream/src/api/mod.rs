//! The operations of the API: from the body of a request to the body of its answer.
//!
//! Everything here is synchronous and knows nothing of HTTP. A request passes in this order: its JSON is read, faults
//! may end it, its members are checked, it is carried out.

mod check;
mod control;
mod iterate;
mod put;
mod shards;
mod streams;

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use crate::error::ApiError;
use crate::faults::{Ending, Plan, Target};
use crate::service::Service;

pub(crate) use control::ControlOperation;
pub(crate) use streams::NewStream;

/// The operations of the Kinesis API that this server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateStream,
    DeleteStream,
    DescribeStream,
    DescribeStreamSummary,
    GetRecords,
    GetShardIterator,
    ListShards,
    ListStreams,
    PutRecord,
    PutRecords,
}

impl Operation {
    const ALL: [Self; 10] = [
        Self::CreateStream,
        Self::DeleteStream,
        Self::DescribeStream,
        Self::DescribeStreamSummary,
        Self::GetRecords,
        Self::GetShardIterator,
        Self::ListShards,
        Self::ListStreams,
        Self::PutRecord,
        Self::PutRecords,
    ];

    /// Number of operations.
    pub(crate) const COUNT: usize = Self::ALL.len();

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateStream => "CreateStream",
            Self::DeleteStream => "DeleteStream",
            Self::DescribeStream => "DescribeStream",
            Self::DescribeStreamSummary => "DescribeStreamSummary",
            Self::GetRecords => "GetRecords",
            Self::GetShardIterator => "GetShardIterator",
            Self::ListShards => "ListShards",
            Self::ListStreams => "ListStreams",
            Self::PutRecord => "PutRecord",
            Self::PutRecords => "PutRecords",
        }
    }

    /// How often the call may be made per account (Kinesis API reference, the page of each operation). The data plane
    /// is limited per shard instead.
    pub(crate) fn calls_per_second(self) -> Option<f64> {
        match self {
            Self::CreateStream | Self::DeleteStream | Self::ListStreams => Some(5.0),
            Self::DescribeStream => Some(10.0),
            Self::DescribeStreamSummary => Some(20.0),
            Self::ListShards => Some(1000.0),
            Self::GetRecords | Self::GetShardIterator | Self::PutRecord | Self::PutRecords => None,
        }
    }
}

/// What a request leads to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The answer: the body of a success, or the error.
    pub(crate) reply: Result<Vec<u8>, ApiError>,
    /// What a fault does instead of sending it, or to it.
    pub(crate) ending: Option<Ending>,
    /// How long it waits.
    pub(crate) delay: Duration,
}

impl Outcome {
    fn error(error: ApiError) -> Self {
        Self {
            reply: Err(error),
            ending: None,
            delay: Duration::ZERO,
        }
    }

    /// The outcome of a request with this plan that `carry_out` would do.
    fn planned(plan: Plan, carry_out: impl FnOnce() -> Result<Vec<u8>, ApiError>) -> Self {
        let Plan {
            instead,
            after,
            delay,
            records: _,
        } = plan;
        match instead {
            Some(Ending::Refuse {
                status,
                code,
                message,
            }) => {
                let error = ApiError {
                    status,
                    code: Cow::Owned(code),
                    message,
                };
                Self {
                    reply: Err(error),
                    ending: None,
                    delay,
                }
            }
            Some(ending) => Self {
                reply: Ok(Vec::new()),
                ending: Some(ending),
                delay,
            },
            None => Self {
                reply: carry_out(),
                ending: after,
                delay,
            },
        }
    }
}

/// Carries out a request.
pub(crate) fn execute(service: &Service, operation: Operation, body: &[u8]) -> Outcome {
    match operation {
        Operation::PutRecords => put::put_records(service, body),
        Operation::PutRecord => put::put_record(service, body),
        Operation::CreateStream => call(service, operation, body, streams::create),
        Operation::DeleteStream => call(service, operation, body, streams::delete),
        Operation::DescribeStream => call(service, operation, body, streams::describe),
        Operation::DescribeStreamSummary => call(service, operation, body, streams::summary),
        Operation::ListStreams => call(service, operation, body, streams::list),
        Operation::ListShards => call(service, operation, body, shards::list),
        Operation::GetShardIterator => call(service, operation, body, iterate::shard_iterator),
        Operation::GetRecords => call(service, operation, body, iterate::records),
    }
}

/// The input of an operation that stores no records.
trait Input<'a>: Deserialize<'a> {
    /// The stream that it names, for the match of faults.
    fn stream_name(&self) -> Option<Cow<'_, str>>;
}

fn call<'a, I: Input<'a>>(
    service: &Service,
    operation: Operation,
    body: &'a [u8],
    carry_out: impl FnOnce(&Service, I) -> Result<Vec<u8>, ApiError>,
) -> Outcome {
    let input: I = match read(body) {
        Ok(input) => input,
        Err(error) => return Outcome::error(error),
    };
    let stream = input.stream_name();
    let target = Target {
        operation: operation.name(),
        stream: stream.as_deref(),
        records: &[],
    };
    let plan = service.plan(&target);
    drop(stream);
    Outcome::planned(plan, || {
        service.admit_call(operation)?;
        carry_out(service, input)
    })
}

/// Reads the JSON of a request.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new("SerializationException", error.to_string()))
}

/// The name in the ARN of a stream.
fn name_in_arn(arn: &str) -> Option<&str> {
    arn.split_once(":stream/").map(|(_, name)| name)
}

/// The name of the stream that a request is for, given by name or by ARN; both are allowed if they agree.
fn stream_name<'a>(
    service: &Service,
    name: Option<&'a str>,
    arn: Option<&'a str>,
) -> Result<&'a str, ApiError> {
    let Some(arn) = arn else {
        return name.ok_or_else(|| {
            ApiError::invalid_argument("Either StreamName or StreamARN must be provided.")
        });
    };
    let in_arn = name_in_arn(arn).unwrap_or(arn);
    if name.is_some_and(|name| name != in_arn) {
        return Err(ApiError::invalid_argument(format!(
            "StreamName {} does not match StreamARN {arn}.",
            name.unwrap_or_default()
        )));
    }
    // Another account's or region's stream is not here, whatever its name.
    if arn != service.arn(in_arn) {
        let account = arn.split(':').nth(4).unwrap_or_default();
        return Err(ApiError::stream_not_found(in_arn, account));
    }
    Ok(in_arn)
}
