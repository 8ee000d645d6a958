//! What makes a request to be refused as a whole.

use std::borrow::Cow;

use forebay_core::limits::{
    BYTES_PER_REQUEST_MAX, PARTITION_KEY_UNITS_MAX, RECORD_BYTES_MAX, RECORDS_PER_REQUEST_MAX,
};

use super::input::Entry;
use super::{Request, Routed};
use crate::api::Operation;
use crate::api::check::Checks;
use crate::error::ApiError;
use crate::sequence::SequenceNumber;
use crate::service::Service;
use crate::stream::Stream;

impl Request<'_> {
    /// Checks what can be checked without knowing the stream.
    pub(super) fn check(&self) -> Result<(), ApiError> {
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
    pub(super) fn check_against(
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
