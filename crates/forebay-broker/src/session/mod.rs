//! What a session holds for its client: messages that wait, messages in flight, and packet ids received with QoS 2.

mod inbound_ids;
mod inflight;
mod queue;

pub(crate) use inbound_ids::{InboundId, InboundIds};
pub(crate) use inflight::{Inflight, Stage};
pub(crate) use queue::{Pushed, QueueLimits, Queued, SessionQueue};
