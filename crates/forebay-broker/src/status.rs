//! What a broker tells about itself: figures for people, gauges for scrapes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use forebay_core::Time;
use forebay_metrics::Gauge;

use crate::outcome::Version;
use crate::shared::{Listener, Shared, WorkerLoad};

/// Figures of a broker. They are of slightly different moments while it runs.
#[derive(Debug, Clone)]
pub struct BrokerStatus {
    /// The listeners, in the order of the configuration.
    pub listeners: Vec<ListenerStatus>,
    /// True until the broker is told to stop accepting.
    pub accepting: bool,
    /// Open sockets.
    pub connections: usize,
    /// Connections whose message waits for room.
    pub connections_stalled: usize,
    /// Client ids in use.
    pub sessions: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Their bytes.
    pub retained_bytes: usize,
    /// Messages that wait for subscribers.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// When the worker that is silent for the longest last took a turn, on the broker's clock.
    pub last_tick: Time,
}

/// Figures of one listener.
#[derive(Debug, Clone)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Open sockets.
    pub connections: usize,
    /// Clients with MQTT 3.1.1.
    pub clients_v311: usize,
    /// Clients with MQTT 5.0.
    pub clients_v5: usize,
}

/// Looks at a broker. Cloning gives another handle; it does not keep the broker running.
#[derive(Debug, Clone)]
pub struct BrokerObserver {
    shared: Arc<Shared>,
}

impl BrokerObserver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The figures of this moment.
    pub fn status(&self) -> BrokerStatus {
        let shared = &self.shared;
        let (retained_messages, retained_bytes) = shared.retained.size();
        let ticks = shared
            .loads
            .iter()
            .map(|load| load.ticked.load(Ordering::Relaxed));
        BrokerStatus {
            listeners: shared
                .listeners
                .iter()
                .map(|listener| listener_status(listener))
                .collect(),
            accepting: !shared.draining.load(Ordering::Relaxed),
            connections: shared.connections.load(Ordering::Relaxed),
            connections_stalled: shared.stalled.load(Ordering::Relaxed),
            sessions: shared.client_ids.len(),
            subscriptions: shared.subscriptions.len(),
            retained_messages,
            retained_bytes,
            queued_messages: sum(shared, |load| &load.queued_messages),
            queued_bytes: sum(shared, |load| &load.queued_bytes),
            last_tick: Time::from_nanos(ticks.min().unwrap_or(0)),
        }
    }
}

fn listener_status(listener: &Listener) -> ListenerStatus {
    ListenerStatus {
        name: listener.config.name.clone(),
        address: listener.address,
        connections: listener.connections.load(Ordering::Relaxed),
        clients_v311: listener.clients(Version::V311).load(Ordering::Relaxed),
        clients_v5: listener.clients(Version::V5).load(Ordering::Relaxed),
    }
}

/// Picks one figure of a worker.
type LoadField = fn(&WorkerLoad) -> &AtomicUsize;

/// Registers what is looked up at scrape.
pub(crate) fn register_gauges(shared: &Arc<Shared>) {
    let clients = client_gauges(shared);
    let loads = load_gauges(shared);
    let gauge = |name: &'static str, help: &'static str| shared.registry.gauge(name, help, &[]);
    let stalled = gauge(
        "forebay_connections_stalled",
        "Connections that are not read because their message waits for room.",
    );
    let sessions = gauge("forebay_sessions", "Client ids in use.");
    let subscriptions = gauge("forebay_subscriptions", "Subscriptions.");
    let messages = gauge("forebay_retained_messages", "Retained messages.");
    let bytes = gauge("forebay_retained_bytes", "Bytes of retained messages.");
    let partial = gauge(
        "forebay_partial_packet_bytes",
        "Bytes taken for incomplete packets.",
    );
    // The registry may outlive the broker and must not keep it alive.
    let weak: Weak<Shared> = Arc::downgrade(shared);
    shared.registry.on_scrape(move || {
        let Some(shared) = weak.upgrade() else {
            return;
        };
        for (listener, version, gauge) in &clients {
            let clients = shared.listeners[*listener].clients(*version);
            gauge.set(clients.load(Ordering::Relaxed) as f64);
        }
        for (field, gauge) in &loads {
            gauge.set(sum(&shared, *field) as f64);
        }
        stalled.set(shared.stalled.load(Ordering::Relaxed) as f64);
        sessions.set(shared.client_ids.len() as f64);
        subscriptions.set(shared.subscriptions.len() as f64);
        let (retained_messages, retained_bytes) = shared.retained.size();
        messages.set(retained_messages as f64);
        bytes.set(retained_bytes as f64);
        partial.set(shared.partial.used() as f64);
    });
}

/// Connected clients by listener, given by its index, and version.
fn client_gauges(shared: &Shared) -> Vec<(usize, Version, Gauge)> {
    let mut gauges = Vec::new();
    for listener in &shared.listeners {
        for version in [Version::V311, Version::V5] {
            let labels = [
                ("listener", listener.config.name.as_str()),
                ("protocol", version.as_str()),
            ];
            let help = "Connected clients.";
            let gauge = shared.registry.gauge("forebay_connections", help, &labels);
            gauges.push((listener.index, version, gauge));
        }
    }
    gauges
}

/// Sums over the workers.
fn load_gauges(shared: &Shared) -> Vec<(LoadField, Gauge)> {
    let gauge = |name: &'static str, help: &'static str, direction: &str| {
        shared
            .registry
            .gauge(name, help, &[("direction", direction)])
    };
    let inflight = "Messages with QoS 1 and 2 that are not acknowledged.";
    vec![
        (
            |load| &load.inflight_in,
            gauge("forebay_inflight_messages", inflight, "in"),
        ),
        (
            |load| &load.inflight_out,
            gauge("forebay_inflight_messages", inflight, "out"),
        ),
        (
            |load| &load.queued_messages,
            gauge(
                "forebay_queued_messages",
                "Messages that wait in sessions.",
                "out",
            ),
        ),
        (
            |load| &load.queued_bytes,
            gauge(
                "forebay_queued_bytes",
                "Bytes that wait in sessions.",
                "out",
            ),
        ),
    ]
}

/// Adds one figure up over the workers.
fn sum(shared: &Shared, field: LoadField) -> usize {
    let loads = shared.loads.iter();
    loads.map(|load| field(load).load(Ordering::Relaxed)).sum()
}
