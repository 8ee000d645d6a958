//! What others may touch of a connection: the place where answers, messages and requests wait for its task.

use std::sync::Arc;
use std::task::Waker;

use forebay_core::{AckMode, Time};
use forebay_pipeline::AckRing;

use crate::outcome::Cause;
use crate::session::SessionQueue;

/// Names one connection of the broker; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionKey {
    pub(crate) worker: u16,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What is needed to answer a publish.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) packet_id: u16,
    /// PUBREC instead of PUBACK.
    pub(crate) qos2: bool,
    pub(crate) code: AckCode,
    pub(crate) ack: AckMode,
    pub(crate) received: Time,
}

/// Reason codes of PUBACK and PUBREC that are used (MQTT 5.0, 3.4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckCode {
    Success,
    NoMatchingSubscribers,
    ImplementationSpecific,
    NotAuthorised,
    TopicNameInvalid,
    QuotaExceeded,
}

impl AckCode {
    /// What a refusal says to a person, beside its code: at most 128 bytes, nothing about how the server works inside.
    pub(crate) fn explanation(self) -> Option<&'static str> {
        match self {
            Self::Success | Self::NoMatchingSubscribers => None,
            Self::ImplementationSpecific => {
                Some("a record of this message cannot be stored, now or later")
            }
            Self::NotAuthorised => Some("publishing to this topic is not allowed"),
            Self::TopicNameInvalid => Some("the topic name is not accepted"),
            Self::QuotaExceeded => Some("there is no room for this message now"),
        }
    }
}

/// What others may touch of a connection.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) generation: u32,
    pub(crate) waker: Option<Waker>,
    pub(crate) ring: AckRing<Reply>,
    /// Packet ids of QoS 2 publishes that are to be completed. Bounded like those that wait for PUBREL.
    pub(crate) released: Vec<u16>,
    /// A message of it waits for room in the pipeline.
    pub(crate) parked: bool,
    /// Somebody wants it closed.
    pub(crate) close: Option<Cause>,
    /// Its client id is free now.
    pub(crate) granted: bool,
    pub(crate) queue: SessionQueue,
    /// Messages in flight to the client, for the gauge.
    pub(crate) inflight: usize,
    /// Takes messages: a session is open.
    pub(crate) client_id: Option<Arc<str>>,
}

impl Slot {
    /// A slot whose ring holds `receive_maximum` publishes; `close` ends the connection before it begins.
    pub(crate) fn new(generation: u32, receive_maximum: usize, close: Option<Cause>) -> Self {
        Self {
            generation,
            waker: None,
            ring: AckRing::new(receive_maximum),
            released: Vec::new(),
            parked: false,
            close,
            granted: false,
            queue: SessionQueue::default(),
            inflight: 0,
            client_id: None,
        }
    }

    /// Makes the connection's task look at its slot.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
