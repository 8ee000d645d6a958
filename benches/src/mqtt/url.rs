//! The address of a broker.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

const PORT_DEFAULT: u16 = 1883;

/// Where a broker listens: `mqtt://host[:port]`, port 1883 by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    host: String,
    port: u16,
}

/// Why a text is no broker address that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broker address is {text:?}; it must be mqtt://HOST[:PORT] over plain TCP")]
pub struct BrokerUrlError {
    text: String,
}

impl BrokerUrl {
    /// The broker's socket addresses; at least one.
    ///
    /// # Errors
    /// When the name does not resolve.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if found.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(found)
    }
}

impl From<SocketAddr> for BrokerUrl {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "mqtt://[{host}]:{port}")
        } else {
            write!(f, "mqtt://{host}:{port}")
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        let refused = || BrokerUrlError {
            text: text.to_owned(),
        };
        let authority = text.strip_prefix("mqtt://").ok_or_else(refused)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']').ok_or_else(refused)?;
                (
                    host,
                    rest.strip_prefix(':').or(rest.is_empty().then_some("")),
                )
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let port = match port.ok_or_else(refused)? {
            "" => PORT_DEFAULT,
            digits => digits.parse().map_err(|_| refused())?,
        };
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err(refused());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_read_and_written_back() {
        for (text, expected) in [
            ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1884"),
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("mqtt://localhost/", "mqtt://localhost:1883"),
            ("mqtt://[::1]:1", "mqtt://[::1]:1"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), expected);
        }
        for text in [
            "",
            "localhost",
            "mqtts://a",
            "mqtt://",
            "mqtt://a:b",
            "mqtt://a:70000",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://u@h",
            "mqtt://h/path",
        ] {
            assert!(text.parse::<BrokerUrl>().is_err(), "{text:?} was accepted");
        }
    }
}
