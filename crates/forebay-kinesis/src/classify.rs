//! What an error means for the records of a request: one pure table for every code of the service.
//!
//! The class is decided by the code and not by the HTTP status, which is 400 for nearly everything; the status only
//! speaks where there is no code that is known.

use std::time::Duration;

use compact_str::CompactString;

/// How far a throttle reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The shards of the refused records.
    Shard,
    /// All shards of the stream.
    Stream,
}

/// What is to be done about records that were not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Refused for its rate and not stored: wait, slow down, send again.
    Throttled(Reach),
    /// Nobody knows whether it was stored: send again, which may duplicate it.
    Ambiguous,
    /// As [`Ambiguous`](Self::Ambiguous), by a code that no document names. Where nothing was promised it is given up
    /// after [`UNKNOWN_ATTEMPTS_MAX`] attempts.
    Unknown,
    /// Nothing left this machine: send again, cannot duplicate.
    NotSent,
    /// Not stored for a reason that a person must repair, such as permissions or a missing stream: hold and probe.
    Configuration,
    /// One record of the request is at fault and nothing was stored: find it by halving. The one that is refused
    /// alone failed for good.
    Split,
    /// A mistake of this program: the records failed for good.
    Bug,
}

/// Attempts after which a record that nothing was promised for is given up when each ended with an unknown code.
pub const UNKNOWN_ATTEMPTS_MAX: u32 = 5;

/// How a call ended that brought no answer to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFailure {
    /// The service answered with this HTTP status and an error.
    Service(u16),
    /// No byte of the body left: no name, no connection, no TLS.
    NotSent,
    /// The body was being sent or had been sent: timeout, reset, an answer that cannot be read.
    Unclear,
    /// The request could not be made: no region, no credentials, a bad endpoint.
    Construction,
}

/// An error of a whole call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// How it ended.
    pub failure: CallFailure,
    /// The error code, or a word of ours where the service sent none.
    pub code: CompactString,
    /// What the service or the transport said.
    pub message: String,
    /// The request id that the service gave it, for its support.
    pub request_id: Option<CompactString>,
    /// Shortest delay that the service asks for (`x-amz-retry-after`).
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// An error that is not an answer of the service.
    pub fn local(failure: CallFailure, code: &str, message: impl Into<String>) -> Self {
        Self {
            failure,
            code: CompactString::from(code),
            message: message.into(),
            request_id: None,
            retry_after: None,
        }
    }

    /// What it means for the records of the request.
    pub fn class(&self) -> Class {
        match self.failure {
            CallFailure::NotSent => Class::NotSent,
            CallFailure::Unclear => Class::Ambiguous,
            CallFailure::Construction => Class::Configuration,
            CallFailure::Service(status) => request_code(&self.code, status),
        }
    }

    /// True when the stream does not exist, or not yet.
    pub fn is_not_found(&self) -> bool {
        self.code == "ResourceNotFoundException"
    }
}

/// True for the configuration errors that a rule's error action takes at once: what AWS refuses because of the stream,
/// its key or a permission. Credentials that expired or are not there are the process's own trouble and heal.
pub fn is_for_error_action(code: &str) -> bool {
    matches!(code, "ResourceNotFoundException" | "AccessDeniedException")
        || (code.starts_with("KMS") && code != "KMSThrottlingException")
}

/// The class of an error code of one record in an answer with HTTP status 200.
pub fn record_code(code: &str) -> Class {
    match code {
        "ProvisionedThroughputExceededException" => Class::Throttled(Reach::Shard),
        "KMSThrottlingException" => Class::Throttled(Reach::Stream),
        "InternalFailure" | "InternalFailureException" => Class::Ambiguous,
        code if code.starts_with("KMS") => Class::Configuration,
        _ => Class::Unknown,
    }
}

/// The class of an error code of a whole request. An unknown code is judged by the HTTP status.
pub fn request_code(code: &str, status: u16) -> Class {
    match code {
        "ProvisionedThroughputExceededException" => Class::Throttled(Reach::Shard),
        "LimitExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "KMSThrottlingException"
        | "SlowDown"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "TooManyRequestsException" => Class::Throttled(Reach::Stream),
        "InternalFailure"
        | "InternalFailureException"
        | "InternalServerError"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Class::Ambiguous,
        "ResourceNotFoundException"
        | "ResourceInUseException"
        | "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "OptInRequired"
        | "AccountProblem" => Class::Configuration,
        "InvalidArgumentException"
        | "ValidationException"
        | "SerializationException"
        | "MalformedRequest"
        | "RequestEntityTooLarge" => Class::Split,
        "UnknownOperationException" | "DryRunOperationException" => Class::Bug,
        code if code.starts_with("KMS") => Class::Configuration,
        _ => request_status(status),
    }
}

fn request_status(status: u16) -> Class {
    match status {
        413 => Class::Split,
        429 => Class::Throttled(Reach::Stream),
        401 | 403 | 404 | 407 => Class::Configuration,
        _ => Class::Ambiguous,
    }
}

/// True when asking again at once with new credentials may help: they expired, or are not the ones they were.
pub fn is_credential_code(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
    )
}

/// The code as a metric label: itself when it is one of the known ones, else `other`. Bounds the label's values.
pub fn code_label(code: &str) -> &'static str {
    KNOWN_CODES
        .iter()
        .find(|known| **known == code)
        .copied()
        .unwrap_or("other")
}

/// Error codes that may appear as a metric label.
const KNOWN_CODES: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AccountProblem",
    "BandwidthLimitExceeded",
    "DryRunOperationException",
    "ExpiredNextTokenException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InternalError",
    "InternalFailure",
    "InternalFailureException",
    "InternalServerError",
    "InvalidArgumentException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
    "KMSOptInRequired",
    "KMSThrottlingException",
    "LimitExceededException",
    "MalformedRequest",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "ProvisionedThroughputExceededException",
    "RequestEntityTooLarge",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeTooSkewed",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "SerializationException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SignatureDoesNotMatch",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "UnknownOperationException",
    "UnrecognizedClientException",
    "ValidationException",
    // Ours, where no answer of the service could be read.
    "Connect",
    "Construction",
    "NoCredentials",
    "ResponseMismatch",
    "Timeout",
    "Transport",
    "UnreadableAnswer",
];

#[cfg(test)]
mod tests {
    use super::*;

    const T_SHARD: Class = Class::Throttled(Reach::Shard);
    const T_STREAM: Class = Class::Throttled(Reach::Stream);

    #[test]
    fn every_record_code_has_its_class() {
        for (code, class) in [
            ("ProvisionedThroughputExceededException", T_SHARD),
            ("InternalFailure", Class::Ambiguous),
            ("KMSThrottlingException", T_STREAM),
            ("KMSDisabledException", Class::Configuration),
            ("KMSSomethingNew", Class::Configuration),
            ("SomethingNew", Class::Unknown),
            ("", Class::Unknown),
        ] {
            assert_eq!(record_code(code), class, "{code}");
        }
    }

    #[test]
    fn every_request_code_has_its_class() {
        let table: &[(Class, &[&str])] = &[
            (T_SHARD, &["ProvisionedThroughputExceededException"]),
            (
                T_STREAM,
                &[
                    "LimitExceededException",
                    "ThrottlingException",
                    "KMSThrottlingException",
                    "SlowDown",
                    "RequestLimitExceeded",
                    "TooManyRequestsException",
                ],
            ),
            (
                Class::Ambiguous,
                &[
                    "InternalFailureException",
                    "ServiceUnavailable",
                    "InternalServerError",
                ],
            ),
            (
                Class::Configuration,
                &[
                    "ResourceNotFoundException",
                    "ResourceInUseException",
                    "AccessDeniedException",
                    "KMSDisabledException",
                    "KMSInvalidStateException",
                    "KMSNotFoundException",
                    "KMSAccessDeniedException",
                    "KMSOptInRequired",
                    "ExpiredToken",
                    "ExpiredTokenException",
                    "UnrecognizedClientException",
                    "InvalidClientTokenId",
                    "InvalidSignatureException",
                    "SignatureDoesNotMatch",
                    "IncompleteSignature",
                    "MissingAuthenticationToken",
                    "RequestExpired",
                    "RequestTimeTooSkewed",
                    "OptInRequired",
                    "AccountProblem",
                ],
            ),
            (
                Class::Split,
                &[
                    "InvalidArgumentException",
                    "ValidationException",
                    "SerializationException",
                    "MalformedRequest",
                    "RequestEntityTooLarge",
                ],
            ),
            (Class::Bug, &["UnknownOperationException"]),
        ];
        for (class, codes) in table {
            for code in *codes {
                // The code decides whatever the status says.
                assert_eq!(request_code(code, 400), *class, "{code}");
                assert_eq!(request_code(code, 500), *class, "{code}");
                assert_eq!(code_label(code), *code, "a known code is its own label");
            }
        }
    }

    #[test]
    fn the_status_speaks_where_the_code_is_unknown() {
        for (status, class) in [
            (500, Class::Ambiguous),
            (502, Class::Ambiguous),
            (503, Class::Ambiguous),
            (504, Class::Ambiguous),
            (429, T_STREAM),
            (413, Class::Split),
            (403, Class::Configuration),
            (400, Class::Ambiguous),
        ] {
            assert_eq!(request_code("SomethingNew", status), class, "{status}");
        }
        assert_eq!(code_label("SomethingNew"), "other");
    }

    #[test]
    fn transport_errors_are_told_apart_by_what_left_the_machine() {
        for (failure, class) in [
            (CallFailure::NotSent, Class::NotSent),
            (CallFailure::Unclear, Class::Ambiguous),
            (CallFailure::Construction, Class::Configuration),
        ] {
            assert_eq!(CallError::local(failure, "Transport", "x").class(), class);
        }
    }
}
