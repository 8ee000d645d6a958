//! Which endpoints may be spoken to without TLS.

use std::net::{IpAddr, Ipv6Addr};

/// Why an endpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL that could be used.
    #[error(
        "endpoint {url:?} is not of the form http://HOST or https://HOST, with :PORT if needed"
    )]
    NotAUrl {
        /// What was given.
        url: String,
    },
    /// Records and signatures would cross a public network unencrypted.
    #[error(
        "endpoint {url:?} uses http: to a host that is neither loopback nor a private address; use https:, or set \
         kinesis.allow_plaintext = true"
    )]
    Plaintext {
        /// What was given.
        url: String,
    },
}

/// Checks an endpoint URL: `https:` anywhere, `http:` only to loopback and private addresses unless `allow_plaintext`.
///
/// A host name other than `localhost` counts as public, because what it stands for may change at any time.
///
/// # Errors
/// When it is refused.
pub fn check(url: &str, allow_plaintext: bool) -> Result<(), EndpointError> {
    let not_a_url = || EndpointError::NotAUrl {
        url: url.to_owned(),
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(not_a_url)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host_of(authority).ok_or_else(not_a_url)?;
    if scheme.eq_ignore_ascii_case("https") {
        Ok(())
    } else if !scheme.eq_ignore_ascii_case("http") {
        Err(not_a_url())
    } else if allow_plaintext || is_near(host) {
        Ok(())
    } else {
        Err(EndpointError::Plaintext {
            url: url.to_owned(),
        })
    }
}

fn host_of(authority: &str) -> Option<&str> {
    let host_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, port) = match host_port.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match host_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        },
    };
    let port_is_legal = port.is_none_or(|port| port.parse::<u16>().is_ok());
    (port_is_legal && !host.is_empty() && !host.contains(char::is_whitespace)).then_some(host)
}

fn is_near(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        Ok(IpAddr::V6(address)) => is_near_v6(address),
        Err(_) => false,
    }
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    match address.to_ipv4_mapped() {
        Some(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        None => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_for_near_hosts_only() {
        for url in [
            "https://kinesis.eu-central-1.amazonaws.com",
            "HTTPS://example.com:8443/path",
            "http://127.0.0.1:4567",
            "http://localhost",
            "http://kinesis.localhost:1",
            "http://10.1.2.3:80",
            "http://192.168.0.9",
            "http://172.16.0.1",
            "http://[::1]:4567/",
            "http://[fd00::1]",
            "http://[::ffff:10.0.0.1]",
        ] {
            assert_eq!(check(url, false), Ok(()), "{url}");
        }
        for url in [
            "http://example.com",
            "http://8.8.8.8:80",
            "http://[2001:db8::1]",
            "http://172.32.0.1",
        ] {
            assert!(
                matches!(check(url, false), Err(EndpointError::Plaintext { .. })),
                "{url}"
            );
            assert_eq!(check(url, true), Ok(()), "{url}");
        }
        for url in [
            "",
            "localhost:4567",
            "ftp://localhost",
            "http://",
            "http://:80",
            "http://a b",
            "http://h:x",
        ] {
            assert!(
                matches!(check(url, true), Err(EndpointError::NotAUrl { .. })),
                "{url}"
            );
        }
    }
}
