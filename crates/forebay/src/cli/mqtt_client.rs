//! One MQTT connection for `pub` and `sub`: both protocol versions behind one face.
//!
//! A task polls the client library without ever being cancelled, and sends what happens through a bounded channel.

use std::process;
use std::time::Duration;

use bytes::Bytes;
use forebay_bench::Version;
use forebay_core::{Entropy, QoS, SeededEntropy};
use rumqttc::v5;
use tokio::sync::mpsc;

use super::args::ClientArguments;
use super::exit::{Exit, Failure};

/// Publishes without answer that are out at once; a broker's Receive Maximum lowers it.
pub(super) const WINDOW: usize = 100;
/// Requests that wait to be written.
const REQUESTS: usize = 64;
/// Happenings that wait to be looked at.
const HAPPENINGS: usize = 1024;

// Whoever publishes looks at happenings only when its window is full. Each publish has two, and if they did not all
// fit, writer and publisher would wait for each other.
const _: () = assert!(HAPPENINGS > 2 * WINDOW + 1);
/// The largest packet that is accepted from a broker: MQTT's own limit.
const PACKET_BYTES_MAX: usize = 268_435_455;
/// How often the broker is told that we are there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Something that came over the connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// The broker accepted the connection.
    Connected,
    /// A publish was written to the socket.
    Sent,
    /// A publish came to its end: PUBACK, PUBCOMP, or a refusal with its reason.
    Finished { refused: Option<String> },
    /// Answers to a subscription, one per filter; `Err` is a refusal.
    Subscribed(Vec<Result<(), String>>),
    /// A message.
    Message(Received),
    /// The end of the connection, because we asked for it.
    Disconnected,
}

/// A message from the broker.
#[derive(Debug)]
pub(super) struct Received {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
}

/// The sending side of a connection.
#[derive(Clone)]
pub(super) enum Client {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// What happens on a connection, and in the end why it ended.
pub(super) type Happenings = mpsc::Receiver<Result<Happening, Failure>>;

/// Connects; the first happening says whether it worked.
pub(super) fn connect(
    arguments: &ClientArguments,
    what: &str,
) -> Result<(Client, Happenings), Failure> {
    let unreachable = |error: &dyn std::fmt::Display| {
        broken(format!("cannot reach {}: {error}", arguments.broker))
    };
    let address = arguments
        .broker
        .resolve()
        .map_err(|error| unreachable(&error))?
        .into_iter()
        .next()
        .ok_or_else(|| unreachable(&"no address"))?;
    let host = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let id = arguments.id.clone().unwrap_or_else(|| {
        let random = SeededEntropy::from_os().next_u64();
        format!("forebay-{what}-{}-{random:08x}", process::id())
    });
    if id.starts_with(' ') {
        return Err(Failure::new(
            Exit::Usage,
            "a client id cannot begin with a space",
        ));
    }
    let (events, happenings) = mpsc::channel(HAPPENINGS);
    let broker = arguments.broker.to_string();
    let client = match arguments.version {
        Version::V311 => {
            let mut options = rumqttc::MqttOptions::new(id, host, address.port());
            options.set_keep_alive(KEEP_ALIVE);
            options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
            let (client, connection) = rumqttc::AsyncClient::new(options, REQUESTS);
            tokio::spawn(poll_v311(connection, events, broker));
            Client::V311(client)
        }
        Version::V5 => {
            let mut options = v5::MqttOptions::new(id, host, address.port());
            options.set_keep_alive(KEEP_ALIVE);
            options.set_max_packet_size(u32::try_from(PACKET_BYTES_MAX).ok());
            let (client, connection) = v5::AsyncClient::new(options, REQUESTS);
            tokio::spawn(poll_v5(connection, events, broker));
            Client::V5(client)
        }
    };
    Ok((client, happenings))
}

impl Client {
    /// Queues a publish; waits while too much is queued.
    pub(super) async fn publish(
        &self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: Bytes,
    ) -> Result<(), Failure> {
        let sent = match self {
            Self::V311(client) => client
                .publish_bytes(topic, v311_qos(qos), retain, payload)
                .await
                .is_ok(),
            Self::V5(client) => client
                .publish_bytes(topic.to_owned(), v5_qos(qos), retain, payload)
                .await
                .is_ok(),
        };
        // The client library refuses only what it can judge without the broker: the topic.
        if sent {
            Ok(())
        } else {
            Err(Failure::new(
                Exit::Data,
                format!(
                    "{topic:?} cannot be published to: no topic name, or the connection is gone"
                ),
            ))
        }
    }

    /// Queues one subscription for all filters.
    pub(super) async fn subscribe(&self, filters: &[String], qos: QoS) -> Result<(), Failure> {
        let sent = match self {
            Self::V311(client) => {
                let filters = filters
                    .iter()
                    .map(|filter| rumqttc::SubscribeFilter::new(filter.clone(), v311_qos(qos)));
                client.subscribe_many(filters).await.is_ok()
            }
            Self::V5(client) => {
                let filters = filters
                    .iter()
                    .map(|filter| v5::mqttbytes::v5::Filter::new(filter.clone(), v5_qos(qos)));
                client.subscribe_many(filters).await.is_ok()
            }
        };
        if sent {
            Ok(())
        } else {
            Err(Failure::new(
                Exit::Data,
                "a topic filter is not valid, or the connection is gone",
            ))
        }
    }

    /// Queues DISCONNECT. When the connection is gone there is nobody to tell.
    pub(super) async fn disconnect(&self) {
        match self {
            Self::V311(client) => client.disconnect().await.unwrap_or_default(),
            Self::V5(client) => client.disconnect().await.unwrap_or_default(),
        }
    }
}

fn v311_qos(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

fn v5_qos(qos: QoS) -> v5::mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

fn broken(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Unreachable, message)
}

async fn poll_v311(
    mut connection: rumqttc::EventLoop,
    events: mpsc::Sender<Result<Happening, Failure>>,
    broker: String,
) {
    use rumqttc::{Event, Outgoing, Packet, SubscribeReasonCode};
    loop {
        let happening = match connection.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Happening::Connected,
            Ok(Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => {
                Happening::Finished { refused: None }
            }
            Ok(Event::Incoming(Packet::SubAck(answer))) => Happening::Subscribed(
                answer
                    .return_codes
                    .iter()
                    .map(|code| match code {
                        SubscribeReasonCode::Success(_) => Ok(()),
                        SubscribeReasonCode::Failure => Err("refused".to_owned()),
                    })
                    .collect(),
            ),
            Ok(Event::Incoming(Packet::Publish(publish))) => Happening::Message(Received {
                topic: publish.topic,
                payload: publish.payload,
                qos: publish.qos as u8,
                retain: publish.retain,
            }),
            Ok(Event::Outgoing(Outgoing::Publish(_))) => Happening::Sent,
            Ok(Event::Outgoing(Outgoing::Disconnect)) => Happening::Disconnected,
            Ok(_) => continue,
            Err(error) => {
                let failure = broken(format!("connection to {broker}: {error}"));
                // When nobody listens any more, the command has ended.
                events.send(Err(failure)).await.unwrap_or_default();
                return;
            }
        };
        let last = matches!(happening, Happening::Disconnected);
        if events.send(Ok(happening)).await.is_err() || last {
            return;
        }
    }
}

async fn poll_v5(
    mut connection: v5::EventLoop,
    events: mpsc::Sender<Result<Happening, Failure>>,
    broker: String,
) {
    use rumqttc::Outgoing;
    use v5::Event;
    use v5::mqttbytes::v5::{
        Packet, PubAckReason, PubCompReason, PubRecReason, SubscribeReasonCode,
    };
    let refused = |reason: &dyn std::fmt::Debug| Happening::Finished {
        refused: Some(format!("{reason:?}")),
    };
    loop {
        let happening = match connection.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Happening::Connected,
            Ok(Event::Incoming(Packet::PubAck(answer))) => match answer.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                    Happening::Finished { refused: None }
                }
                reason => refused(&reason),
            },
            Ok(Event::Incoming(Packet::PubRec(answer))) => match answer.reason {
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers => continue,
                reason => refused(&reason),
            },
            Ok(Event::Incoming(Packet::PubComp(answer))) => match answer.reason {
                PubCompReason::Success => Happening::Finished { refused: None },
                reason => refused(&reason),
            },
            Ok(Event::Incoming(Packet::SubAck(answer))) => Happening::Subscribed(
                answer
                    .return_codes
                    .iter()
                    .map(|code| match code {
                        SubscribeReasonCode::Success(_) => Ok(()),
                        reason => Err(format!("{reason:?}")),
                    })
                    .collect(),
            ),
            Ok(Event::Incoming(Packet::Publish(publish))) => Happening::Message(Received {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload,
                qos: publish.qos as u8,
                retain: publish.retain,
            }),
            Ok(Event::Outgoing(Outgoing::Publish(_))) => Happening::Sent,
            Ok(Event::Outgoing(Outgoing::Disconnect)) => Happening::Disconnected,
            Ok(_) => continue,
            Err(error) => {
                let failure = broken(format!("connection to {broker}: {error}"));
                // When nobody listens any more, the command has ended.
                events.send(Err(failure)).await.unwrap_or_default();
                return;
            }
        };
        let last = matches!(happening, Happening::Disconnected);
        if events.send(Ok(happening)).await.is_err() || last {
            return;
        }
    }
}
