//! The MQTT broker: listeners, codec, connections, subscriptions, retained messages, wills.
//!
//! It is the pipeline's source adapter. A PUBLISH goes through the gate in front of the codec, the topic's rules, the
//! retained store, the rules of the pipeline and the queues of subscribers, and is answered when the pipeline says
//! that its records are where the acknowledgement mode wants them. MQTT 3.1.1 and MQTT 5.0 share every port.
//!
//! Entry points: [`Broker::start`] opens the listeners; `task` drives one connection; `connection` is its state
//! machine, without socket and clock; `worker` is what connections of one thread share; `wire` is the only place that
//! touches the codec.
//!
//! It deliberately keeps nothing of a client beyond its connection, and decides nothing about records: those belong to
//! the pipeline from the moment of admission.

mod accept_rate;
mod broker;
mod client_ids;
mod config;
mod connection;
mod direct_publish;
mod error;
mod listener;
mod log_limit;
mod mailbox;
mod metrics;
mod outcome;
mod partial_pool;
mod publication;
mod reserved;
mod retained;
mod runtime;
mod session;
mod shared;
mod slot;
mod status;
mod subscriptions;
mod task;
mod wire;
mod worker;

pub use broker::{Broker, BrokerParts, RunningBroker};
pub use config::{
    BrokerConfig, BrokerLimits, ListenerConfig, ListenerLimits, MqttSettings, OnQueueFull,
};
pub use direct_publish::{
    DirectLimits, DirectPort, DirectProperties, DirectPublish, DirectRefusal, RetainedMessage,
};
pub use error::StartError;
pub use outcome::Version;
pub use status::{BrokerObserver, BrokerStatus, ListenerStatus};
