//! The client for a stream service, AWS's or another.

use std::error::Error;
use std::net::{IpAddr, ToSocketAddrs};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use crate::cli::args::ServiceArguments;
use crate::cli::exit::{Exit, Failure};

/// The region of an endpoint of one's own when nobody names one: it decides nothing there.
const LOCAL_REGION: &str = "us-east-1";

/// Where a service is and who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    /// Endpoint URL in place of the service's own.
    pub endpoint: Option<String>,
    /// Region; else the SDK's chain.
    pub region: Option<String>,
    /// Profile of the AWS configuration files.
    pub profile: Option<String>,
}

impl From<&ServiceArguments> for Service {
    fn from(arguments: &ServiceArguments) -> Self {
        Self {
            endpoint: arguments.endpoint.clone(),
            region: arguments.region.clone(),
            profile: arguments.profile.clone(),
        }
    }
}

impl Service {
    /// The SDK's configuration. An endpoint on this machine needs no credentials: where the environment has none, the
    /// requests are signed with made-up ones instead of asking the network for real ones.
    pub(crate) async fn sdk_config(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let any_signature =
            self.profile.is_none() && self.endpoint.as_deref().is_some_and(needs_no_credentials);
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if any_signature {
            let made_up = Credentials::new("local", "local", None, None, "forebay");
            loader = loader.credentials_provider(made_up);
        }
        let config = loader.load().await;
        if config.region().is_none() && self.endpoint.is_some() {
            return config
                .into_builder()
                .region(Region::from_static(LOCAL_REGION))
                .build();
        }
        config
    }

    /// A client for it.
    ///
    /// # Errors
    /// When no region is known.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let config = self.sdk_config().await;
        if config.region().is_none() {
            return Err(Failure::new(
                Exit::Configuration,
                "no region: give --region, or set AWS_REGION",
            ));
        }
        Ok(Client::new(&config))
    }
}

/// Whether requests to an endpoint can be signed with anything: it is on this machine, and the environment names no
/// credentials.
pub(crate) fn needs_no_credentials(endpoint: &str) -> bool {
    let named = ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"];
    is_local(endpoint)
        && named
            .into_iter()
            .all(|name| std::env::var_os(name).is_none())
}

/// The credentials of a configuration, if it has any.
pub(crate) async fn credentials(config: &SdkConfig) -> Result<Credentials, Failure> {
    let provider: SharedCredentialsProvider = config
        .credentials_provider()
        .ok_or_else(|| Failure::new(Exit::Configuration, "no source of AWS credentials"))?;
    provider.provide_credentials().await.map_err(|error| {
        Failure::new(
            Exit::Configuration,
            format!("no AWS credentials: {}", chain(&error)),
        )
    })
}

/// Whether a URL names this machine.
fn is_local(endpoint: &str) -> bool {
    let Some((_, rest)) = endpoint.split_once("://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let with_port = match authority.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => authority.to_owned(),
        _ => format!("{authority}:80"),
    };
    match with_port.to_socket_addrs() {
        Ok(mut addresses) => addresses.all(|address| match address.ip() {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_loopback(),
        }),
        Err(_) => false,
    }
}

/// What a failed call means for the user: the service's own code and words, or that it cannot be reached.
pub(crate) fn failure<E, R>(what: &str, error: SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(answer) => {
            let answer = answer.err();
            let code = answer.code().unwrap_or("unknown error");
            let message = answer.message().unwrap_or("no message");
            Failure::new(Exit::Failed, format!("{what}: {code}: {message}"))
        }
        SdkError::ConstructionFailure(_) => {
            Failure::new(Exit::Configuration, format!("{what}: {}", chain(&error)))
        }
        _ => Failure::new(Exit::Unreachable, format!("{what}: {}", chain(&error))),
    }
}

/// An error with everything below it, without saying anything twice.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn this_machine_is_recognised() {
        for url in [
            "http://127.0.0.1:4567",
            "http://[::1]:4567/",
            "http://127.0.0.1",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in ["http://10.0.0.1:4567", "https://8.8.8.8", "127.0.0.1:4567"] {
            assert!(!is_local(url), "{url}");
        }
    }
}
