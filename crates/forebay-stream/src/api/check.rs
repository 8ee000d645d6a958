//! Checks the members of a request and words what is wrong as the service does.

use forebay_core::limits::STREAM_NAME_BYTES_MAX;

use crate::error::ApiError;

const NAME_PATTERN: &str = "[a-zA-Z0-9_.-]+";
const ARN_PATTERN: &str = r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+";
/// Characters of a refused value that a message repeats.
const VALUE_SHOWN: usize = 256;
/// Violations that one message lists.
const VIOLATIONS_MAX: usize = 10;

/// Collects the violations of one request.
#[derive(Debug, Default)]
pub(super) struct Checks {
    violations: Vec<String>,
    count: usize,
}

impl Checks {
    /// Records that `value` at `field` does not satisfy `constraint`.
    pub(super) fn violated(&mut self, field: &str, value: Option<&str>, constraint: &str) {
        self.count += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            let value = value.map_or_else(
                || "null".to_owned(),
                |value| format!("'{}'", value.chars().take(VALUE_SHOWN).collect::<String>()),
            );
            self.violations.push(format!(
                "Value {value} at '{field}' failed to satisfy constraint: Member must {constraint}"
            ));
        }
    }

    /// A member that must be there.
    pub(super) fn required<T>(&mut self, field: &str, value: Option<&T>) {
        if value.is_none() {
            self.violated(field, None, "not be null");
        }
    }

    /// A name of a stream or a shard.
    pub(super) fn name(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if value.is_empty() || !value.bytes().all(allowed) {
            let constraint = format!("satisfy regular expression pattern: {NAME_PATTERN}");
            self.violated(field, Some(value), &constraint);
        }
        self.length(field, value, value.len(), 1, STREAM_NAME_BYTES_MAX);
    }

    /// The ARN of a stream.
    pub(super) fn arn(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if !is_stream_arn(value) {
            let constraint = format!("satisfy regular expression pattern: {ARN_PATTERN}");
            self.violated(field, Some(value), &constraint);
        }
        self.length(field, value, value.len(), 1, 2048);
    }

    /// A text whose length, however it is counted, must lie in a range.
    pub(super) fn length(&mut self, field: &str, value: &str, len: usize, min: usize, max: usize) {
        if len < min {
            let constraint = format!("have length greater than or equal to {min}");
            self.violated(field, Some(value), &constraint);
        } else if len > max {
            let constraint = format!("have length less than or equal to {max}");
            self.violated(field, Some(value), &constraint);
        }
    }

    /// A number that must lie in a range.
    pub(super) fn range(&mut self, field: &str, value: Option<i64>, min: i64, max: i64) {
        let Some(value) = value else { return };
        if value < min {
            let constraint = format!("have value greater than or equal to {min}");
            self.violated(field, Some(&value.to_string()), &constraint);
        } else if value > max {
            let constraint = format!("have value less than or equal to {max}");
            self.violated(field, Some(&value.to_string()), &constraint);
        }
    }

    /// A word that must be one of `allowed`.
    pub(super) fn one_of(&mut self, field: &str, value: Option<&str>, allowed: &[&str]) {
        let Some(value) = value else { return };
        if !allowed.contains(&value) {
            let constraint = format!("satisfy enum value set: [{}]", allowed.join(", "));
            self.violated(field, Some(value), &constraint);
        }
    }

    /// A sequence number as the API writes them, whether this server gave it or not.
    pub(super) fn sequence_number(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        if !digits || value.len() > 129 || (value.starts_with('0') && value != "0") {
            let constraint = r"satisfy regular expression pattern: 0|([1-9]\d{0,128})";
            self.violated(field, Some(value), constraint);
        }
    }

    /// # Errors
    /// When anything was violated.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.count == 0 {
            return Ok(());
        }
        let plural = if self.count == 1 { "" } else { "s" };
        let text = self.violations.join("; ");
        let text = format!("{} validation error{plural} detected: {text}", self.count);
        Err(ApiError::new("ValidationException", text))
    }
}

fn is_stream_arn(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let mut part = || parts.next().unwrap_or_default();
    let (scheme, partition, service, _region, account, resource) =
        (part(), part(), part(), part(), part(), part());
    scheme == "arn"
        && partition.starts_with("aws")
        && service == "kinesis"
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && resource
            .strip_prefix("stream/")
            .is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_worded_as_the_service_words_them() {
        let mut checks = Checks::default();
        checks.name("streamName", Some("a/b"));
        checks.range("shardCount", Some(0), 1, 10);
        checks.required::<i64>("shardId", None);
        let error = checks.finish().unwrap_err();
        assert_eq!(error.code, "ValidationException");
        assert_eq!(
            error.message,
            "3 validation errors detected: Value 'a/b' at 'streamName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value '0' at \
             'shardCount' failed to satisfy constraint: Member must have value greater than or equal \
             to 1; Value null at 'shardId' failed to satisfy constraint: Member must not be null"
        );
    }

    #[test]
    fn arns_are_told_from_what_is_none() {
        assert!(is_stream_arn(
            "arn:aws:kinesis:us-east-1:000000000000:stream/a"
        ));
        assert!(is_stream_arn(
            "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b"
        ));
        for bad in [
            "arn:aws:kinesis:us-east-1:000000000000:stream/",
            "arn:aws:kinesis:us-east-1:0000:stream/a",
            "arn:aws:s3:us-east-1:000000000000:stream/a",
            "a",
        ] {
            assert!(!is_stream_arn(bad), "{bad}");
        }
    }
}
