//! Which stream to read, and how to reach it.

use std::fmt;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Credentials as SdkCredentials, Region};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 8;
/// A reader is throttled for a fraction of a second, so waiting longer only makes the check slow.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// How to sign.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The SDK's default chain: environment, profile, container, instance.
    #[default]
    Chain,
    /// A fixed key, for servers that accept any.
    Static {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "Chain",
            Self::Static { .. } => "Static",
        })
    }
}

/// A stream of AWS or of a server that speaks its API.
#[derive(Debug, Clone)]
pub struct StreamTarget {
    /// Name of the stream.
    pub stream: String,
    /// Endpoint; none means AWS's own of the region.
    pub endpoint: Option<String>,
    /// Region; none means the SDK's chain.
    pub region: Option<String>,
    /// Profile of the shared configuration; none means the SDK's chain.
    pub profile: Option<String>,
    /// How to sign.
    pub credentials: Credentials,
}

impl StreamTarget {
    /// A stream of AWS or of `endpoint`, with region and credentials from the SDK's chain.
    pub fn new(stream: impl Into<String>, endpoint: Option<String>) -> Self {
        Self {
            stream: stream.into(),
            endpoint,
            region: None,
            profile: None,
            credentials: Credentials::Chain,
        }
    }

    /// A stream of a test server at `endpoint`, which takes any signature: no credentials are looked up.
    pub fn local(stream: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            endpoint: Some(endpoint.into()),
            region: Some("us-east-1".to_owned()),
            profile: None,
            credentials: Credentials::Static {
                access_key_id: "local".to_owned(),
                secret_access_key: "local".to_owned(),
            },
        }
    }

    pub(super) async fn client(&self) -> Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts.build())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS)
                    .with_initial_backoff(BACKOFF_MIN)
                    .with_max_backoff(BACKOFF_MAX),
            );
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Credentials::Static {
            access_key_id,
            secret_access_key,
        } = &self.credentials
        {
            loader = loader.credentials_provider(SdkCredentials::new(
                access_key_id,
                secret_access_key,
                None,
                None,
                "static",
            ));
        }
        Client::new(&loader.load().await)
    }
}
