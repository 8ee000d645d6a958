//! What the routes read: handles and closures given by the program that wires the server.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use forebay_core::{Clock, Entropy, SeededEntropy, Time};
use forebay_metrics::Registry;

use crate::access::Access;
use crate::audit::Audit;
use crate::aws::MissingRule;
use crate::config::AdminLimits;
use crate::messages::MessagePort;
use crate::rules::RuleControl;
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

/// What the operations on rules answer from.
pub struct RuleApi {
    /// Keeps the rules.
    pub rules: Arc<dyn RuleControl>,
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs, 12 digits.
    pub account: String,
    /// How a rule that does not exist is answered.
    pub missing: MissingRule,
}

impl RuleApi {
    /// The ARN of a rule.
    pub(crate) fn arn(&self, name: &str) -> String {
        format!("arn:aws:iot:{}:{}:rule/{name}", self.region, self.account)
    }
}

impl fmt::Debug for RuleApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RuleApi").field(&self.arn("*")).finish()
    }
}

/// The place for what takes messages, which is known only after the listener is open. Cloning gives the same place.
#[derive(Clone, Default)]
pub struct MessageSlot(Arc<OnceLock<Box<dyn MessagePort>>>);

impl MessageSlot {
    /// From here on messages are taken. Only the first one counts.
    pub fn set(&self, port: impl MessagePort + 'static) {
        self.0.get_or_init(|| Box::new(port));
    }

    pub(crate) fn get(&self) -> Option<&dyn MessagePort> {
        self.0.get().map(|port| &**port)
    }
}

impl fmt::Debug for MessageSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageSlot")
            .field(&self.0.get().is_some())
            .finish()
    }
}

/// Everything that the routes answer from.
pub struct AdminState {
    pub(crate) registry: Registry,
    pub(crate) readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    pub(crate) status: Box<dyn Fn() -> Status + Send + Sync>,
    pub(crate) verifier: Option<Box<dyn SpoolVerifier>>,
    pub(crate) rules: Option<RuleApi>,
    pub(crate) messages: MessageSlot,
    pub(crate) audit: Audit,
    /// Set when the listener opens.
    pub(crate) access: Access,
    /// Set when the listener opens.
    pub(crate) limits: AdminLimits,
    entropy: Mutex<SeededEntropy>,
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
            rules: None,
            messages: MessageSlot::default(),
            audit: Audit::default(),
            access: Access::default(),
            limits: AdminLimits::default(),
            entropy: Mutex::new(SeededEntropy::from_os()),
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

    /// Adds what the operations on rules answer from.
    #[must_use]
    pub fn with_rules(mut self, rules: RuleApi) -> Self {
        self.rules = Some(rules);
        self
    }

    /// Adds the place where messages are taken.
    #[must_use]
    pub fn with_messages(mut self, messages: MessageSlot) -> Self {
        self.messages = messages;
        self
    }

    /// Adds the file that gets one line per write.
    #[must_use]
    pub fn with_audit(mut self, file: impl Write + Send + 'static) -> Self {
        self.audit = Audit::to(Box::new(file));
        self
    }

    /// Adds a thread that `/livez` watches.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeats.push(heartbeat);
        self
    }

    /// The time of day.
    pub(crate) fn wall_millis(&self) -> i64 {
        self.clock.wall_millis()
    }

    /// A random UUID.
    pub(crate) fn new_uuid(&self) -> String {
        let mut entropy = self.entropy.lock().unwrap_or_else(PoisonError::into_inner);
        let digits = format!("{:032x}", entropy.uuid_bits());
        let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
        let parts = [
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32),
        ];
        parts.join("-")
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
