//! `[kinesis]`: how streams are reached and filled.

use std::time::Duration;

use forebay_core::{Ordering, limits};
use forebay_kinesis::endpoint::{self, EndpointError};

use super::raw::{RawKind, RawTable};
use super::section::Section;
use crate::diagnostics::{Code, Diagnostic, Report};

/// The names of the orderings.
pub(super) const ORDERINGS: [&str; 3] = ["none", "key", "strict"];

/// How long a record that nobody waits for is tried where the key is not set.
const RECORD_DEADLINE: Duration = Duration::from_secs(300);

/// `[kinesis]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kinesis {
    /// `region`. Default: what the AWS SDK finds in environment, profile or instance.
    pub region: Option<String>,
    /// `profile` of the AWS configuration files. Default: the SDK's choice.
    pub profile: Option<String>,
    /// `endpoint`: a URL in place of the service's own. `http:` only to loopback and private addresses, unless
    /// `allow_plaintext`.
    pub endpoint: Option<String>,
    /// `allow_plaintext`: `http:` anywhere. Default false.
    pub allow_plaintext: bool,
    /// `ordering` of streams whose rules do not say. Default `key`.
    pub ordering: Ordering,
    /// `linger`: the longest wait for a fuller batch, 0 s to 60 s. Default 10 ms.
    pub linger: Duration,
    /// `send_on_idle`: no wait while nothing of the stream is in flight. Default true.
    pub send_on_idle: bool,
    /// `records_per_request`, 1 to 500. Default 500.
    pub records_per_request: u32,
    /// `bytes_per_request`: from which on a request is full, 64 KiB to 10 MiB. Default 5 MiB.
    pub bytes_per_request: u64,
    /// `bytes_per_lane_in_request`: of one shard in a combined request, 64 KiB to 1 MiB. Default 256 KiB.
    pub bytes_per_lane_in_request: u64,
    /// `rate_limit`: percent of what a shard accepts, 1 to 1 000; `None` is `"off"`. Default 100.
    pub rate_limit: Option<u32>,
    /// `inflight_per_lane`: requests, 1 to 8. `None`: 1, or 2 where the ordering is `none`.
    pub inflight_per_lane: Option<u32>,
    /// `inflight_per_stream`: requests, 1 to 512. Default 64.
    pub inflight_per_stream: u32,
    /// `inflight_requests`: of the process, 1 to 4 096. Default 256.
    pub inflight_requests: u32,
    /// `connect_timeout`, 100 ms to 60 s. Default 3.1 s.
    pub connect_timeout: Duration,
    /// `attempt_timeout`: of one request, plus its body at 512 KiB/s; 1 s to 5 min. Default 6 s.
    pub attempt_timeout: Duration,
    /// `record_deadline`: from admission, 1 s or more, for `accept` and QoS 0; `None` is `"none"`: tried for ever. Default
    /// 300 s. Records that somebody waits for have no deadline.
    pub record_deadline: Option<Duration>,
    /// `max_streams`: open at once, 1 to 100 000. Default 10 000.
    pub max_streams: u32,
    /// `stream_idle`: after which a stream is released, 10 s to 1 d. Default 10 min.
    pub stream_idle: Duration,
}

const SECOND: Duration = Duration::from_secs(1);

impl Kinesis {
    pub(super) fn read(table: RawTable, report: &mut Report) -> Self {
        let mut section = Section::new("kinesis", table, report);
        let allow_plaintext = section.boolean("allow_plaintext").unwrap_or(false);
        let endpoint = read_endpoint(&mut section, allow_plaintext);
        section.word("role_mode", &["ignore"]);
        let record_deadline = section
            .duration_or("record_deadline", "none", SECOND..=Duration::MAX)
            .unwrap_or(Some(RECORD_DEADLINE));
        let millis = Duration::from_millis;
        let kinesis = Self {
            region: read_name(&mut section, "region"),
            profile: read_name(&mut section, "profile"),
            endpoint,
            allow_plaintext,
            ordering: section
                .choice("ordering", &ORDERINGS)
                .map_or(Ordering::Key, |written| written.value),
            linger: section
                .duration("linger", Duration::ZERO..=60 * SECOND)
                .map_or(millis(10), |written| written.value),
            send_on_idle: section.boolean("send_on_idle").unwrap_or(true),
            records_per_request: section
                .integer_u32("records_per_request", 1..=RECORDS_MAX)
                .unwrap_or(RECORDS_MAX),
            bytes_per_request: section
                .size(
                    "bytes_per_request",
                    64 << 10..=limits::BYTES_PER_REQUEST_MAX as u64,
                )
                .map_or(5 << 20, |written| written.value),
            bytes_per_lane_in_request: section
                .size("bytes_per_lane_in_request", 64 << 10..=1 << 20)
                .map_or(256 << 10, |written| written.value),
            rate_limit: read_rate_limit(&mut section),
            inflight_per_lane: section.integer_u32("inflight_per_lane", 1..=8),
            inflight_per_stream: section
                .integer_u32("inflight_per_stream", 1..=512)
                .unwrap_or(64),
            inflight_requests: section
                .integer_u32("inflight_requests", 1..=4096)
                .unwrap_or(256),
            connect_timeout: section
                .duration("connect_timeout", millis(100)..=60 * SECOND)
                .map_or(millis(3100), |written| written.value),
            attempt_timeout: section
                .duration("attempt_timeout", SECOND..=300 * SECOND)
                .map_or(6 * SECOND, |written| written.value),
            record_deadline,
            max_streams: section
                .integer_u32("max_streams", 1..=100_000)
                .unwrap_or(10_000),
            stream_idle: section
                .duration("stream_idle", 10 * SECOND..=86_400 * SECOND)
                .map_or(600 * SECOND, |written| written.value),
        };
        section.finish();
        kinesis
    }
}

#[expect(clippy::cast_possible_truncation, reason = "500")]
const RECORDS_MAX: u32 = limits::RECORDS_PER_REQUEST_MAX as u32;

/// A region or profile: not empty, no space in it.
fn read_name(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let written = section.string(key)?;
    if written.value.is_empty() || written.value.contains(char::is_whitespace) {
        section.out_of_range(key, &written.origin, "a name without spaces");
        return None;
    }
    Some(written.value)
}

fn read_rate_limit(section: &mut Section<'_>) -> Option<u32> {
    const DEFAULT: Option<u32> = Some(100);
    let Some(value) = section.take("rate_limit") else {
        return DEFAULT;
    };
    match &value.kind {
        RawKind::String(word) if word == "off" => None,
        RawKind::Integer(_) => section
            .integer_of("rate_limit", value, 1..=1000)
            .and_then(|written| u32::try_from(written.value).ok())
            .or(DEFAULT),
        _ => {
            section.wrong_type(
                "rate_limit",
                &value,
                "a percentage from 1 to 1000, or \"off\"",
            );
            DEFAULT
        }
    }
}

/// `endpoint`: http or https, and plain http only where nobody can listen. The sender makes the same check for the
/// endpoint that it really uses, which may come from the environment.
fn read_endpoint(section: &mut Section<'_>, allow_plaintext: bool) -> Option<String> {
    let written = section.string("endpoint")?;
    let url = written.value.as_str();
    let diagnostic = match (endpoint::check(url, false), allow_plaintext) {
        (Ok(()), _) => return Some(written.value),
        (Err(EndpointError::NotAUrl { .. }), _) => Diagnostic::error(
            Code::Address,
            format!("`kinesis.endpoint` is no URL: {url:?}"),
        )
        .label("write https://HOST or http://HOST:PORT"),
        (Err(EndpointError::Plaintext { .. }), false) => Diagnostic::error(
            Code::Address,
            format!("`kinesis.endpoint` sends records unencrypted: {url:?}"),
        )
        .label("http is allowed to loopback and private addresses")
        .help("write https, or set `kinesis.allow_plaintext = true`"),
        (Err(EndpointError::Plaintext { .. }), true) => Diagnostic::warning(
            Code::PlaintextEndpoint,
            format!("records travel unencrypted: {url:?}"),
        ),
    };
    section.report().push(diagnostic.at(&written.origin));
    Some(written.value)
}
