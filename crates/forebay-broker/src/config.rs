//! What the broker is told: listeners, limits and MQTT behaviour. Values are checked where the file is read; here they
//! are taken as they are, except that a listener beyond loopback must allow anonymous clients explicitly.

use std::net::SocketAddr;
use std::time::Duration;

use forebay_core::AckMode;
use forebay_core::topic::TopicLimits;

use crate::outcome::Version;

/// Everything a broker needs to know to start.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// At least one.
    pub listeners: Vec<ListenerConfig>,
    /// Bounds that hold for all listeners together.
    pub limits: BrokerLimits,
    /// Behaviour of the protocol.
    pub mqtt: MqttSettings,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listeners: vec![ListenerConfig::default()],
            limits: BrokerLimits::default(),
            mqtt: MqttSettings::default(),
        }
    }
}

/// One listening address.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Its name in metrics and logs.
    pub name: String,
    /// Where it listens; port 0 takes any free one.
    pub bind: SocketAddr,
    /// Versions that are accepted, at least one.
    pub versions: Vec<Version>,
    /// Accept clients without credentials. Required beyond loopback.
    pub allow_anonymous: bool,
    /// Acknowledgement mode of rules that have none of their own.
    pub ack: AckMode,
    /// Connections of this listener, `None` = only the bound of the broker.
    pub max_connections: Option<usize>,
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: u32,
    /// Bounds of this listener.
    pub limits: ListenerLimits,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            bind: SocketAddr::from(([127, 0, 0, 1], 1883)),
            versions: vec![Version::V311, Version::V5],
            allow_anonymous: true,
            ack: AckMode::Stored,
            max_connections: None,
            backlog: 1024,
            limits: ListenerLimits::default(),
        }
    }
}

/// Bounds that each listener may set for itself.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// Bytes and levels of a topic name or filter. More than 1 024 levels are never accepted.
    pub topic: TopicLimits,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Bytes of a whole packet, announced as Maximum Packet Size.
    pub packet_bytes: usize,
    /// Bytes of a client id.
    pub client_id_bytes: usize,
    /// Publishes with QoS 1 and 2 of a client that wait for their answer, announced as Receive Maximum. Not 0.
    pub receive_maximum: u16,
    /// Subscriptions of one client.
    pub subscriptions_per_client: usize,
    /// Filters in one SUBSCRIBE.
    pub filters_per_subscribe: usize,
    /// Connections from one IP address, `None` = any number.
    pub connections_per_address: Option<usize>,
    /// Connections accepted per second, on average.
    pub connects_per_second: u32,
    /// Connections accepted at once.
    pub connects_burst: u32,
    /// From the connection to a complete CONNECT.
    pub time_to_connect: Duration,
    /// From the first byte of a packet to its last; afterwards 1 KiB/s must come.
    pub packet_timeout: Duration,
    /// How long a client may take no byte while bytes wait for it.
    pub write_timeout: Duration,
    /// Bytes of answers that may wait for a client.
    pub unsent_bytes: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            topic: TopicLimits {
                bytes_max: 1024,
                levels_max: 32,
            },
            payload_bytes: 1024 * 1024,
            packet_bytes: 1024 * 1024 + 64 * 1024,
            client_id_bytes: 256,
            receive_maximum: 256,
            subscriptions_per_client: 1_000,
            filters_per_subscribe: 64,
            connections_per_address: None,
            connects_per_second: 1_000,
            connects_burst: 2_000,
            time_to_connect: Duration::from_secs(10),
            packet_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            unsent_bytes: 256 * 1024,
        }
    }
}

/// Bounds of the whole broker.
#[derive(Debug, Clone)]
pub struct BrokerLimits {
    /// Connections at the same time.
    pub connections: usize,
    /// Connects per second of one client id, takeovers included.
    pub connects_per_second_per_client: u32,
    /// Connects at once of one client id.
    pub connects_burst_per_client: u32,
    /// Messages with QoS 1 and 2 on their way to one client.
    pub inflight_to_client: u16,
    /// Messages that wait for one session.
    pub session_queue_messages: usize,
    /// Bytes that wait for one session.
    pub session_queue_bytes: usize,
    /// User properties of one packet.
    pub user_properties: usize,
    /// Bytes of the user properties of one packet.
    pub user_property_bytes: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of all retained messages.
    pub retained_bytes: usize,
    /// Bytes of packets that are larger than the read buffer and not complete.
    pub partial_packets_bytes: usize,
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connects_per_second_per_client: 1,
            connects_burst_per_client: 5,
            inflight_to_client: 64,
            session_queue_messages: 1_000,
            session_queue_bytes: 1024 * 1024,
            user_properties: 100,
            user_property_bytes: 8 * 1024,
            retained_messages: 100_000,
            retained_bytes: 256 * 1024 * 1024,
            partial_packets_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What is dropped when the queue of a session is full and holds no message of QoS 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnQueueFull {
    /// The message that finds no room.
    #[default]
    DropNewest,
    /// The oldest messages, until there is room.
    DropOldest,
    /// The session ends, so that the client sees its loss.
    Disconnect,
}

/// Behaviour of the protocol.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Assign an id to clients that bring none.
    pub allow_empty_client_id: bool,
    /// Higher keep alives are lowered to this.
    pub keep_alive_max: Duration,
    /// Lower keep alives are raised to this.
    pub keep_alive_min: Duration,
    /// What keep alive 0 means, `None` = unlimited.
    pub keep_alive_zero: Option<Duration>,
    /// Closes a connection that was not read for so long, `None` = never.
    pub stall_disconnect: Option<Duration>,
    /// Tolerate up to twice the announced Receive Maximum.
    pub lenient_receive_maximum: bool,
    /// Tolerate acknowledgements in any order.
    pub lenient_ack_order: bool,
    /// Tolerate wrong reserved flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE.
    pub lenient_reserved_flags: bool,
    /// What happens when the queue of a session is full.
    pub on_queue_full: OnQueueFull,
}

impl Default for MqttSettings {
    fn default() -> Self {
        Self {
            allow_empty_client_id: true,
            keep_alive_max: Duration::from_secs(1200),
            keep_alive_min: Duration::ZERO,
            keep_alive_zero: Some(Duration::from_secs(1200)),
            stall_disconnect: None,
            lenient_receive_maximum: true,
            lenient_ack_order: true,
            lenient_reserved_flags: false,
            on_queue_full: OnQueueFull::default(),
        }
    }
}
