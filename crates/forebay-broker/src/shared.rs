//! What all workers of one broker share.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::{Clock, Time};
use forebay_metrics::Registry;

use crate::accept_rate::AcceptRate;
use crate::client_ids::ClientIds;
use crate::config::{BrokerLimits, ListenerConfig, MqttSettings};
use crate::mailbox::Mailbox;
use crate::outcome::Version;
use crate::partial_pool::PartialPool;
use crate::retained::Retained;
use crate::session::QueueLimits;
use crate::subscriptions::Subscriptions;
use crate::wire::{GateRules, PropertyLimits};

/// Connections above the bound that are answered with a refusal instead of being closed without a word.
const REFUSED_MAX: usize = 128;

/// Topic levels beyond any configuration: the subscriptions are walked level by level on the stack.
const TOPIC_LEVELS_MAX: usize = 1024;

/// State and settings that every worker uses.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Registry,
    pub(crate) mqtt: MqttSettings,
    pub(crate) limits: BrokerLimits,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) retained: Retained,
    pub(crate) client_ids: ClientIds,
    pub(crate) partial: Arc<PartialPool>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) loads: Vec<WorkerLoad>,
    /// Open sockets, refused ones included.
    pub(crate) connections: AtomicUsize,
    /// Connections whose message waits for room.
    pub(crate) stalled: AtomicUsize,
    /// No new connection is taken in.
    pub(crate) draining: AtomicBool,
    /// No connection is read.
    pub(crate) reading_stopped: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Figures of one worker that others may read; each is as old as the worker's last look at them.
#[derive(Debug, Default)]
pub(crate) struct WorkerLoad {
    /// Publishes that wait for their answer.
    pub(crate) inflight_in: AtomicUsize,
    /// Messages that clients have not acknowledged.
    pub(crate) inflight_out: AtomicUsize,
    pub(crate) queued_messages: AtomicUsize,
    pub(crate) queued_bytes: AtomicUsize,
    /// When the worker last took a turn, in nanoseconds of the broker's clock.
    pub(crate) ticked: AtomicU64,
}

impl Shared {
    /// Empty state for `workers` workers.
    pub(crate) fn new(
        listeners: Vec<Arc<Listener>>,
        limits: BrokerLimits,
        mqtt: MqttSettings,
        workers: usize,
        clock: Arc<dyn Clock>,
        registry: Registry,
    ) -> Self {
        Self {
            clock,
            registry,
            subscriptions: Subscriptions::default(),
            retained: Retained::new(limits.retained_messages, limits.retained_bytes),
            client_ids: ClientIds::new(
                limits.connects_per_second_per_client,
                limits.connects_burst_per_client,
            ),
            partial: Arc::new(PartialPool::new(limits.partial_packets_bytes)),
            mailboxes: (0..workers).map(|_| Arc::default()).collect(),
            loads: (0..workers).map(|_| WorkerLoad::default()).collect(),
            connections: AtomicUsize::new(0),
            stalled: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            reading_stopped: AtomicBool::new(false),
            mqtt,
            limits,
            listeners,
        }
    }

    pub(crate) fn queue_limits(&self) -> QueueLimits {
        QueueLimits {
            messages: self.limits.session_queue_messages,
            bytes: self.limits.session_queue_bytes,
            on_full: self.mqtt.on_queue_full,
        }
    }

    /// What the gate checks for connections of `listener`.
    pub(crate) fn gate_rules(&self, listener: &ListenerConfig) -> GateRules {
        GateRules {
            packet_bytes: listener.limits.packet_bytes,
            properties: PropertyLimits {
                user_properties: self.limits.user_properties,
                user_property_bytes: self.limits.user_property_bytes,
            },
            lenient_flags: self.mqtt.lenient_reserved_flags,
        }
    }

    pub(crate) fn reading_stopped(&self) -> bool {
        self.reading_stopped.load(Ordering::Relaxed)
    }
}

/// One listening address and its connections.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Its place in the list of listeners.
    pub(crate) index: usize,
    pub(crate) config: ListenerConfig,
    /// Where it really listens.
    pub(crate) address: SocketAddr,
    pub(crate) rate: AcceptRate,
    /// Open sockets.
    pub(crate) connections: AtomicUsize,
    /// Accepted clients by version.
    pub(crate) clients: [AtomicUsize; 2],
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// Whether a new socket may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admittance {
    Welcome,
    /// It may say CONNECT and is then refused.
    Refuse,
    /// There are so many to refuse that it is closed at once.
    Close,
}

impl Listener {
    pub(crate) fn new(
        index: usize,
        mut config: ListenerConfig,
        address: SocketAddr,
        now: Time,
    ) -> Self {
        let levels = &mut config.limits.topic.levels_max;
        *levels = (*levels).min(TOPIC_LEVELS_MAX);
        let rate = AcceptRate::new(
            config.limits.connects_per_second,
            config.limits.connects_burst,
            now,
        );
        Self {
            index,
            config,
            address,
            rate,
            connections: AtomicUsize::new(0),
            clients: [AtomicUsize::new(0), AtomicUsize::new(0)],
            by_address: Mutex::default(),
        }
    }

    pub(crate) fn clients(&self, version: Version) -> &AtomicUsize {
        match version {
            Version::V311 => &self.clients[0],
            Version::V5 => &self.clients[1],
        }
    }

    /// Counts a new socket and says what to do with it.
    pub(crate) fn enter(&self, shared: &Shared, peer: IpAddr) -> Admittance {
        let all = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let here = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let same = self.count_address(peer);
        let over = |count: usize, max: usize| count.saturating_sub(max);
        let limits = &self.config.limits;
        let above = over(all, shared.limits.connections)
            .max(over(
                here,
                self.config.max_connections.unwrap_or(usize::MAX),
            ))
            .max(over(
                same,
                limits.connections_per_address.unwrap_or(usize::MAX),
            ));
        match above {
            0 => Admittance::Welcome,
            1..=REFUSED_MAX => Admittance::Refuse,
            _ => Admittance::Close,
        }
    }

    fn count_address(&self, peer: IpAddr) -> usize {
        if self.config.limits.connections_per_address.is_none() {
            return 0;
        }
        let mut addresses = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(peer).or_default();
        *count += 1;
        *count
    }

    /// The opposite of [`enter`](Self::enter).
    pub(crate) fn leave(&self, shared: &Shared, peer: IpAddr) {
        shared.connections.fetch_sub(1, Ordering::SeqCst);
        self.connections.fetch_sub(1, Ordering::SeqCst);
        if self.config.limits.connections_per_address.is_none() {
            return;
        }
        let mut addresses = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&peer);
            }
        }
    }
}
