//! What the admin listener needs to know before it opens.

use std::net::SocketAddr;
use std::time::Duration;

use crate::access::Access;

/// Where the admin listener binds and whom it answers.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// The address; port 0 takes any free one. Beyond loopback `access` must hold keys or tokens, and `insecure` must be
    /// set.
    pub bind: SocketAddr,
    /// Host names accepted in the Host header besides the loopback names and the bound address. Without port.
    pub hosts: Vec<String>,
    /// Who may call what.
    pub access: Access,
    /// Answers others than this machine although nothing is encrypted.
    pub insecure: bool,
    /// Time and size limits; the default is what a server runs with.
    pub limits: AdminLimits,
}

impl AdminConfig {
    /// The listener on `bind` with the usual limits.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            hosts: Vec::new(),
            access: Access::default(),
            insecure: false,
            limits: AdminLimits::default(),
        }
    }
}

/// What one client of the admin listener may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminLimits {
    /// Open connections; one more is answered with 503 and closed. 1 or more.
    pub connections: usize,
    /// Time for the complete request header, counted from the connection or from the answer before it, so that it
    /// ends idle connections too.
    pub header_timeout: Duration,
    /// Time after which a connection takes no further request; an answer that is under way has `close_grace` left.
    pub connection_lifetime: Duration,
    /// Time for answers under way when a connection's life or the server ends.
    pub close_grace: Duration,
    /// Bytes of a request header.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: u64,
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            header_timeout: Duration::from_secs(5),
            connection_lifetime: Duration::from_secs(60),
            close_grace: Duration::from_secs(5),
            header_bytes: 16 * 1024,
            body_bytes: 1024 * 1024,
        }
    }
}
