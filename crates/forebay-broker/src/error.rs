//! Why a broker does not start.

use std::io;
use std::net::SocketAddr;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has no listener.
    #[error("no listener is configured")]
    NoListener,
    /// There is no ingest worker, or more than can be numbered.
    #[error("number of ingest workers is not 1 to {max}: {workers}")]
    Workers {
        /// What was given.
        workers: usize,
        /// The greatest number.
        max: usize,
    },
    /// A listener beyond loopback would let anybody in without saying so.
    #[error(
        "listener {listener:?} binds {address}, which is not loopback: set allow_anonymous = true for it"
    )]
    Anonymous {
        /// Name of the listener.
        listener: String,
        /// Its address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("listener {listener:?} cannot bind {address}: {source}")]
    Bind {
        /// Name of the listener.
        listener: String,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no thread or runtime.
    #[error("cannot start an ingest thread: {0}")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// True when the address is in use by somebody else.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}
