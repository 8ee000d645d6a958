//! What the routes read: handles and closures given by the program that wires the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Time};
use forebay_metrics::Registry;

use crate::spool::VerifyStatus;
use crate::status::Status;

/// Age from which a heartbeat counts as late.
pub(crate) const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(10);

/// Whether the process takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Listeners are open and no stop was asked for.
    Ready,
    /// Why not, as one lower-case word or two: `starting`, `draining`.
    NotReady(&'static str),
}

/// The last sign of life of one runtime thread.
pub struct Heartbeat {
    name: String,
    last: Box<dyn Fn() -> Time + Send + Sync>,
}

impl Heartbeat {
    /// The heartbeat of the thread `name`. `last` gives the moment of its last turn on the clock of the
    /// [`AdminState`]; a thread without work must still turn every few seconds. It must not block.
    pub fn new(name: impl Into<String>, last: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            last: Box::new(last),
        }
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat")
            .field("name", &self.name)
            .field("last", &(self.last)())
            .finish()
    }
}

/// Reads the whole spool of the running process when somebody asks for it. One reading at a time; who asks meanwhile
/// gets the one that is under way.
pub trait SpoolVerifier: Send + Sync {
    /// Begins a reading unless one is under way. Returns at once.
    fn begin(&self) -> VerifyStatus;

    /// How far the reading is, or what the last one found.
    fn status(&self) -> VerifyStatus;
}

/// Everything that the routes answer from.
pub struct AdminState {
    pub(crate) registry: Registry,
    pub(crate) readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    pub(crate) status: Box<dyn Fn() -> Status + Send + Sync>,
    pub(crate) verifier: Option<Box<dyn SpoolVerifier>>,
    clock: Arc<dyn Clock>,
    heartbeats: Vec<Heartbeat>,
}

impl AdminState {
    /// A state without heartbeats. `readiness` and `status` are called on the admin thread, once per request; they
    /// may take short locks and must not wait for anything else.
    pub fn new(
        registry: Registry,
        clock: Arc<dyn Clock>,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
        status: impl Fn() -> Status + Send + Sync + 'static,
    ) -> Self {
        Self {
            registry,
            readiness: Box::new(readiness),
            status: Box::new(status),
            verifier: None,
            clock,
            heartbeats: Vec::new(),
        }
    }

    /// Adds what reads the spool on demand.
    #[must_use]
    pub fn with_verifier(mut self, verifier: impl SpoolVerifier + 'static) -> Self {
        self.verifier = Some(Box::new(verifier));
        self
    }

    /// Adds a thread that `/livez` watches.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeats.push(heartbeat);
        self
    }

    /// Names of the threads whose last turn is too long ago.
    pub(crate) fn late_threads(&self) -> Vec<&str> {
        let now = self.clock.now();
        self.heartbeats
            .iter()
            .filter(|heartbeat| now.since((heartbeat.last)()) > HEARTBEAT_AGE_MAX)
            .map(|heartbeat| heartbeat.name.as_str())
            .collect()
    }
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("heartbeats", &self.heartbeats)
            .finish_non_exhaustive()
    }
}
