//! What a publish asks for, what it is told, and what it hears later.

use forebay_core::{AckMode, Message, QoS, Ticket};
use forebay_spool::Event;

use crate::shared::{Finished, Released};

/// How a publish wants to be answered.
#[derive(Debug, Clone, Copy)]
pub struct Publish {
    /// Its quality of service.
    pub qos: QoS,
    /// Where its answer waits. Not used for QoS 0, except to say whose message is parked.
    pub ticket: Ticket,
    /// The acknowledgement mode of rules that have none of their own.
    pub listener_ack: AckMode,
    /// True when the client can be told that there is no room: MQTT 5.
    pub may_reject: bool,
    /// Packet id of a QoS 2 publish; not used for others.
    pub packet_id: u16,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nothing to wait for: acknowledge now.
    Done {
        /// True when at least one rule listens to the topic.
        matched: bool,
    },
    /// Acknowledge when this many records were [finished](Finished).
    Pending {
        /// Records, at least 1.
        records: u32,
        /// What they are waited for. With [`AckMode::Spool`] the log owns the packet id of a QoS 2 publish: its PUBREL
        /// goes to [`Intake::release`](crate::Intake::release).
        ack: AckMode,
    },
    /// There is no room. The message is kept; do not read its connection until a [`Resumed`] arrives for it.
    Parked,
    /// There is no room and the rule says to refuse.
    Rejected,
}

/// A parked message was admitted after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Index of the connection on its worker.
    pub connection: u32,
    /// Tells apart the connections that used the index.
    pub generation: u32,
    /// Slot of the publish.
    pub slot: u32,
    /// [`Admission::Done`] or [`Admission::Pending`].
    pub admission: Admission,
}

/// What [`Intake::drain`](crate::Intake::drain) found.
#[derive(Debug, Default)]
pub struct Drained {
    /// Settled records whose publish waits.
    pub finished: Vec<Finished>,
    /// Messages that are parked no more.
    pub resumed: Vec<Resumed>,
    /// Packet ids whose release is in the log.
    pub released: Vec<Released>,
}

impl Drained {
    /// Empties the lists and keeps their memory.
    pub fn clear(&mut self) {
        self.finished.clear();
        self.resumed.clear();
        self.released.clear();
    }
}

/// What a publish with so many records is told.
pub(crate) fn admission(ack: AckMode, records: u32) -> Admission {
    if ack != AckMode::Accept && records > 0 {
        Admission::Pending { records, ack }
    } else {
        Admission::Done { matched: true }
    }
}

/// What the publisher of a message was promised.
#[derive(Debug)]
pub(crate) struct Promise {
    /// What its acknowledgement waits for.
    pub(crate) ack: AckMode,
    /// The packet id that the log takes over with its records.
    pub(crate) opens: Option<Event>,
}

impl Promise {
    /// Nobody waits.
    pub(crate) const NONE: Self = Self {
        ack: AckMode::Accept,
        opens: None,
    };

    pub(crate) fn of(message: &Message<'_>, publish: Publish, ack: AckMode) -> Self {
        let ack = match publish.qos {
            QoS::AtMostOnce => AckMode::Accept,
            _ => ack,
        };
        let owned = publish.qos == QoS::ExactlyOnce && ack == AckMode::Spool;
        Self {
            ack,
            opens: message
                .client_id
                .filter(|_| owned)
                .map(|client| Event::Open {
                    client: client.to_owned(),
                    id: publish.packet_id,
                }),
        }
    }

    pub(crate) fn waits(&self) -> bool {
        self.ack != AckMode::Accept
    }
}
