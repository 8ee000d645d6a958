//! The settings of the sink, typed. The program reads and checks them; see [`endpoint`](crate::endpoint) for the one
//! check that belongs here.

use std::time::Duration;

use forebay_core::limits::{BYTES_PER_REQUEST_MAX, RECORDS_PER_REQUEST_MAX};

/// How fast a lane may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimit {
    /// Percent of 1 000 records and 1 MiB per second and shard, adapted to what the service accepts.
    Percent(u32),
    /// No limit of our own: only the answers of the service slow a lane down.
    Off,
}

/// Where the credentials come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CredentialSource {
    /// The default chain of the AWS SDK: environment, profile, web identity, container, instance.
    #[default]
    Chain,
    /// Fixed ones, for a stream server of one's own. Never read from a configuration file.
    Fixed {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: String,
    },
}

/// How requests are put together and how many are out at once: the same for every stream.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSettings {
    /// Longest wait of a record for a fuller batch.
    pub linger: Duration,
    /// Send at once while nothing of the stream is in flight.
    pub send_on_idle: bool,
    /// Records of one request, 1 to 500.
    pub records_per_request: usize,
    /// Counted bytes of one request, soft: a single record may exceed it.
    pub bytes_per_request: usize,
    /// Counted bytes of one lane in a request that mixes lanes.
    pub bytes_per_lane_in_request: usize,
    /// Rate limit of a lane.
    pub rate_limit: RateLimit,
    /// Requests in flight per lane; `None` is 1, or 2 where no order is kept.
    pub inflight_per_lane: Option<u32>,
    /// Requests in flight per stream.
    pub inflight_per_stream: u32,
    /// Counted bytes that one lane takes over from the pipeline's queue before it stops taking, side queues included.
    pub lane_bytes: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(10),
            send_on_idle: true,
            records_per_request: RECORDS_PER_REQUEST_MAX,
            bytes_per_request: BYTES_PER_REQUEST_MAX / 2,
            bytes_per_lane_in_request: 256 * 1024,
            rate_limit: RateLimit::Percent(100),
            inflight_per_lane: None,
            inflight_per_stream: 64,
            lane_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Everything the sink has to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct KinesisConfig {
    /// AWS region; `None` asks the SDK's chain.
    pub region: Option<String>,
    /// Profile of the shared AWS configuration files; `None` is the SDK's default.
    pub profile: Option<String>,
    /// Endpoint URL; `None` asks the SDK's chain (`AWS_ENDPOINT_URL_KINESIS` and so on).
    pub endpoint: Option<String>,
    /// Allows `http:` to any host, not only to loopback and private addresses.
    pub allow_plaintext: bool,
    /// Credentials.
    pub credentials: CredentialSource,
    /// Requests.
    pub batch: BatchSettings,
    /// Requests in flight over all streams.
    pub inflight_requests: u32,
    /// Bytes of request bodies in flight over all streams. One request is always allowed.
    pub inflight_bytes: usize,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer; the time that the body needs at 512 KiB/s is added.
    pub attempt_timeout: Duration,
    /// Series with a shard label; shards beyond it share the label `other`.
    pub shard_label_limit: usize,
}

impl Default for KinesisConfig {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            endpoint: None,
            allow_plaintext: false,
            credentials: CredentialSource::Chain,
            batch: BatchSettings::default(),
            inflight_requests: 256,
            inflight_bytes: 64 * 1024 * 1024,
            connect_timeout: Duration::from_millis(3100),
            attempt_timeout: Duration::from_secs(6),
            shard_label_limit: 256,
        }
    }
}

/// Slowest upload that is still waited for.
const UPLOAD_BYTES_PER_SECOND: u64 = 512 * 1024;

impl KinesisConfig {
    /// How long the answer to a request with a body of this size is waited for.
    pub fn attempt_timeout_for(&self, body_bytes: usize) -> Duration {
        let bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        let upload =
            Duration::from_micros(bytes.saturating_mul(1_000_000) / UPLOAD_BYTES_PER_SECOND);
        self.attempt_timeout.saturating_add(upload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_get_the_time_their_upload_needs() {
        let config = KinesisConfig::default();
        assert_eq!(config.attempt_timeout_for(0), Duration::from_secs(6));
        assert_eq!(
            config.attempt_timeout_for(1024 * 1024),
            Duration::from_secs(8)
        );
    }
}
