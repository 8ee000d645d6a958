//! The service through the AWS SDK: the one door to it.

mod answer;
mod call;
mod error;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Credentials, IdentityCache, SharedCredentialsProvider};
use aws_sdk_kinesis::operation::list_shards::ListShardsOutput;
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType, StreamMode, StreamStatus};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{SharedHttpClient, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use forebay_core::{Shard, StreamName};

use self::call::{CallState, CallWatch, PutRecordsCall};
use self::error::call_error;
use crate::api::{KinesisApi, PutRecordsAnswer, StreamSummary};
use crate::classify::{CallError, CallFailure};
use crate::config::{CredentialSource, KinesisConfig};
use crate::endpoint;

/// How long an idle connection is kept. The service closes idle ones after a while, and a request on such a connection
/// would be lost with an unknown outcome.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// Idle connections that are kept.
const POOL_IDLE_MAX: usize = 64;
/// Attempts of a control call.
const CONTROL_ATTEMPTS: u32 = 3;
/// Pages of a shard list, of 1 000 shards each.
const PAGES_MAX: usize = 1_000;

/// The service through the AWS SDK.
#[derive(Debug)]
pub struct SdkKinesis {
    data: Mutex<Client>,
    control: Mutex<Client>,
}

impl SdkKinesis {
    /// Resolves region and endpoint and makes the clients. Nothing is sent and no credentials are looked up yet.
    pub async fn connect(config: &KinesisConfig) -> Self {
        let mut loader =
            aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client());
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &config.profile {
            loader = loader.profile_name(profile);
        }
        if let CredentialSource::Fixed {
            access_key_id,
            secret_access_key,
        } = &config.credentials
        {
            let credentials =
                Credentials::new(access_key_id, secret_access_key, None, None, "forebay");
            loader = loader.credentials_provider(SharedCredentialsProvider::new(credentials));
        }
        let shared = loader.load().await;
        let mut builder = aws_sdk_kinesis::config::Builder::from(&shared);
        builder.set_interceptors(std::iter::empty());
        if let Some(endpoint) = &config.endpoint {
            builder.set_endpoint_url(Some(endpoint.clone()));
        }
        builder.push_interceptor(
            EndpointGuard {
                allow_plaintext: config.allow_plaintext,
                logged: AtomicBool::new(false),
            }
            .into_shared(),
        );
        let connect = TimeoutConfig::builder().connect_timeout(config.connect_timeout);
        let data = builder
            .clone()
            .retry_config(RetryConfig::standard().with_max_attempts(1))
            .timeout_config(connect.clone().build());
        let control = builder
            .retry_config(RetryConfig::standard().with_max_attempts(CONTROL_ATTEMPTS))
            .timeout_config(
                connect
                    .operation_attempt_timeout(config.attempt_timeout)
                    .build(),
            );
        Self {
            data: Mutex::new(Client::from_conf(data.build())),
            control: Mutex::new(Client::from_conf(control.build())),
        }
    }

    fn data(&self) -> Client {
        self.data
            .lock()
            .expect("no panic while the client is locked")
            .clone()
    }

    fn control(&self) -> Client {
        self.control
            .lock()
            .expect("no panic while the client is locked")
            .clone()
    }

    async fn list_page(
        &self,
        stream: &StreamName,
        token: Option<String>,
        filtered: bool,
    ) -> Result<ListShardsOutput, CallError> {
        let request = self.control().list_shards().max_results(1_000);
        let request = match token {
            // The token stands for everything else.
            Some(token) => request.next_token(token),
            None => {
                let filter = ShardFilter::builder()
                    .r#type(ShardFilterType::AtLatest)
                    .build();
                let filter = filter.ok().filter(|_| filtered);
                request
                    .stream_name(stream.as_str())
                    .set_shard_filter(filter)
            }
        };
        let state = Arc::new(CallState::default());
        let watched = request
            .customize()
            .interceptor(CallWatch(Arc::clone(&state)));
        watched
            .send()
            .await
            .map_err(|error| call_error(error, &state))
    }

    async fn list_all(&self, stream: &StreamName, filtered: bool) -> Result<Vec<Shard>, CallError> {
        let mut shards = Vec::new();
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let page = self.list_page(stream, token.take(), filtered).await?;
            for shard in page.shards() {
                if let Some(shard) = open_shard(shard)? {
                    shards.push(shard);
                }
            }
            match page.next_token() {
                Some(next) if !next.is_empty() => token = Some(next.to_owned()),
                _ => return Ok(shards),
            }
        }
        let message = format!("more than {PAGES_MAX} pages of shards");
        Err(CallError::local(
            CallFailure::Unclear,
            "UnreadableAnswer",
            message,
        ))
    }
}

impl KinesisApi for SdkKinesis {
    async fn put_records(
        &self,
        stream: &StreamName,
        body: Bytes,
        timeout: Duration,
    ) -> Result<PutRecordsAnswer, CallError> {
        let state = Arc::new(CallState::default());
        let call = PutRecordsCall {
            body,
            state: Arc::clone(&state),
        };
        // The records are in the body that replaces what the SDK makes of this.
        let request = self
            .data()
            .put_records()
            .stream_name(stream.as_str())
            .set_records(Some(Vec::new()));
        let request = request
            .customize()
            .interceptor(CallWatch(Arc::clone(&state)))
            .interceptor(call);
        match tokio::time::timeout(timeout, request.send()).await {
            Err(_elapsed) => Err(error::timeout(timeout, &state)),
            Ok(Err(error)) => Err(call_error(error, &state)),
            Ok(Ok(_)) => state.take_answer().ok_or_else(|| {
                CallError::local(
                    CallFailure::Unclear,
                    "UnreadableAnswer",
                    "the answer was not read",
                )
            }),
        }
    }

    async fn list_shards(&self, stream: &StreamName) -> Result<Vec<Shard>, CallError> {
        let mut filtered = true;
        for _ in 0..2 {
            match self.list_all(stream, filtered).await {
                // The pages took longer than the token lives: from the first one again.
                Err(error) if error.code == "ExpiredNextTokenException" => {}
                // Servers that are not AWS's may not know the filter; closed shards are left out here as well.
                Err(error) if is_argument_error(&error) => filtered = false,
                result => return result,
            }
        }
        self.list_all(stream, filtered).await
    }

    async fn describe_summary(&self, stream: &StreamName) -> Result<StreamSummary, CallError> {
        let request = self
            .control()
            .describe_stream_summary()
            .stream_name(stream.as_str());
        let state = Arc::new(CallState::default());
        let watched = request
            .customize()
            .interceptor(CallWatch(Arc::clone(&state)));
        let output = watched
            .send()
            .await
            .map_err(|error| call_error(error, &state))?;
        let Some(summary) = output.stream_description_summary() else {
            return Ok(StreamSummary::default());
        };
        let mode = summary
            .stream_mode_details()
            .map(|details| details.stream_mode());
        let kibibytes = summary
            .max_record_size_in_kib()
            .and_then(|size| usize::try_from(size).ok());
        let status = summary.stream_status();
        Ok(StreamSummary {
            created_ms: summary.stream_creation_timestamp().to_millis().ok(),
            record_bytes_max: kibibytes.filter(|size| *size > 0).map(|size| size * 1024),
            updating: matches!(status, StreamStatus::Updating | StreamStatus::Creating),
            on_demand: mode == Some(&StreamMode::OnDemand),
        })
    }

    fn refresh_credentials(&self) {
        for slot in [&self.data, &self.control] {
            let mut client = slot.lock().expect("no panic while the client is locked");
            let fresh = client
                .config()
                .to_builder()
                .identity_cache(IdentityCache::lazy().build());
            *client = Client::from_conf(fresh.build());
        }
    }
}

fn is_argument_error(error: &CallError) -> bool {
    matches!(
        error.code.as_str(),
        "InvalidArgumentException" | "ValidationException" | "SerializationException"
    )
}

/// The shard if it is open. A shard is closed when its range of sequence numbers has an end.
fn open_shard(shard: &aws_sdk_kinesis::types::Shard) -> Result<Option<Shard>, CallError> {
    let closed = shard
        .sequence_number_range()
        .and_then(|range| range.ending_sequence_number())
        .is_some_and(|end| !end.is_empty());
    if closed {
        return Ok(None);
    }
    let unreadable = || {
        let message = format!(
            "shard {} has no readable range of hash keys",
            shard.shard_id()
        );
        CallError::local(CallFailure::Unclear, "UnreadableAnswer", message)
    };
    let range = shard.hash_key_range().ok_or_else(unreadable)?;
    let start = range
        .starting_hash_key()
        .parse()
        .map_err(|_| unreadable())?;
    let end = range.ending_hash_key().parse().map_err(|_| unreadable())?;
    Ok(Some(Shard::new(shard.shard_id(), start, end)))
}

/// One connection pool for all clients: hyper with rustls, proxies of the environment, no delay.
fn http_client() -> SharedHttpClient {
    let connector: OnceLock<SharedHttpConnector> = OnceLock::new();
    http_client_fn(move |settings, components| {
        let made = connector.get_or_init(|| {
            let mut builder = Connector::builder()
                .connector_settings(settings.clone())
                .enable_tcp_nodelay(true)
                .proxy_config(ProxyConfig::from_env())
                .pool_idle_timeout(POOL_IDLE)
                .pool_max_idle_per_host(POOL_IDLE_MAX);
            builder.set_sleep_impl(components.sleep_impl());
            let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
            SharedHttpConnector::new(builder.tls_provider(provider).build())
        });
        made.clone()
    })
}

/// Refuses plaintext to public hosts wherever the endpoint came from, and logs the endpoint once.
#[derive(Debug)]
struct EndpointGuard {
    allow_plaintext: bool,
    logged: AtomicBool,
}

impl EndpointGuard {
    fn into_shared(self) -> aws_smithy_runtime_api::client::interceptors::SharedInterceptor {
        aws_smithy_runtime_api::client::interceptors::SharedInterceptor::new(self)
    }
}

#[dyn_dispatch_hint]
impl Intercept for EndpointGuard {
    fn name(&self) -> &'static str {
        "EndpointGuard"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri = context.request().uri();
        endpoint::check(uri, self.allow_plaintext)?;
        if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::info!(endpoint = uri, "kinesis endpoint resolved");
        }
        Ok(())
    }
}
