//! The calls that the sink makes, without the SDK: the seam at which tests put a double.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use forebay_core::{Shard, StreamName};

use crate::classify::CallError;

/// What the service says about one record of a PutRecords request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryAnswer {
    /// It has a sequence number.
    Stored {
        /// The shard that it is in.
        shard: CompactString,
    },
    /// It was not stored, or nobody knows, which the code tells.
    Refused {
        /// The error code.
        code: CompactString,
        /// The error message, perhaps empty.
        message: CompactString,
    },
    /// Neither a sequence number nor an error code.
    Unclear,
}

/// The answer to a PutRecords request with HTTP status 200: one entry per record, in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutRecordsAnswer {
    /// The entries.
    pub entries: Vec<EntryAnswer>,
}

/// What is known about a stream besides its shards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamSummary {
    /// When it was created, milliseconds since the Unix epoch: another value is another stream of the same name.
    pub created_ms: Option<i64>,
    /// Counted bytes that one record may have.
    pub record_bytes_max: Option<usize>,
    /// It is being created or resharded.
    pub updating: bool,
    /// It reshards by itself.
    pub on_demand: bool,
}

/// The service as the sink sees it.
pub trait KinesisApi: Send + Sync + 'static {
    /// Sends a PutRecords request with this body, once, and gives up after `timeout`.
    fn put_records(
        &self,
        stream: &StreamName,
        body: Bytes,
        timeout: Duration,
    ) -> impl Future<Output = Result<PutRecordsAnswer, CallError>> + Send;

    /// Lists the open shards, all pages of it.
    fn list_shards(
        &self,
        stream: &StreamName,
    ) -> impl Future<Output = Result<Vec<Shard>, CallError>> + Send;

    /// Asks what the stream is like.
    fn describe_summary(
        &self,
        stream: &StreamName,
    ) -> impl Future<Output = Result<StreamSummary, CallError>> + Send;

    /// Forgets the credentials in use, so that the next call resolves them again.
    fn refresh_credentials(&self);
}
