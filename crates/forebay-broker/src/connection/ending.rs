//! How a connection ends: the last word, the will, and what is let go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_core::Time;
use tracing::info;

use super::{Connection, Moment, Phase, Session};
use crate::outcome::{Cause, Version};
use crate::publication::Publication;
use crate::wire::{Encoder, Will};
use crate::worker::Worker;

impl Connection {
    /// The client closed its side, or the socket broke.
    pub(crate) fn lost(&mut self, worker: &mut Worker, at: Moment) {
        if !self.is_closing() {
            self.fail(worker, Cause::ConnectionLost, at);
        }
        self.phase = Phase::Closed;
    }

    /// Ends the connection: says why where that is possible, and lets go of everything.
    pub(super) fn fail(&mut self, worker: &mut Worker, cause: Cause, at: Moment) {
        match self.phase {
            Phase::Connect | Phase::Takeover => {
                let version = (self.phase == Phase::Takeover).then_some(self.version);
                self.refuse(worker, version, cause, at);
            }
            Phase::Open => {
                self.release_answers(worker, at.now);
                if let (Version::V5, Some(reason)) = (self.version, cause.disconnect()) {
                    Encoder::new(self.version).write_disconnect(reason, &mut self.output);
                    worker.tally.packet_sent(14);
                }
                self.end_session(worker, cause, at);
                self.phase = Phase::Closing(at.now);
            }
            Phase::Closing(_) | Phase::Closed => {}
        }
        self.blocked_since = None;
        self.pool_is_full = false;
    }

    /// Lets go of client id, subscriptions and slot, and publishes the will if the cause asks for it.
    fn end_session(&mut self, worker: &mut Worker, cause: Cause, at: Moment) {
        let Some(session) = self.session.take() else {
            return;
        };
        worker.tally.disconnect(cause);
        worker.tally.protocol_error(cause);
        self.log_end(worker, &session, cause, at.now);
        if !session.subscriptions.is_empty() {
            let filters = session.subscriptions.keys().map(|filter| &**filter);
            self.shared.subscriptions.unsubscribe(self.key, filters);
        }
        worker.close(self.key);
        self.listener
            .clients(self.version)
            .fetch_sub(1, Ordering::Relaxed);
        if let Some(will) = session.will.filter(|_| cause.publishes_will()) {
            self.publish_will(worker, &will, &session.client_id, at);
        }
        // The next connection with this id may be another worker's. What it publishes must not overtake the last
        // publish and the will of this one, on their way to the streams or to subscribers.
        worker.hand_over();
        self.release_client_id(&session.client_id);
    }

    fn publish_will(&self, worker: &mut Worker, will: &Will, client_id: &str, at: Moment) {
        let Ok(topic) = std::str::from_utf8(&will.topic) else {
            return;
        };
        let publication = Arc::new(Publication::new(
            topic,
            &will.payload,
            will.qos,
            will.retain,
            will.properties.as_deref(),
            at.now,
        ));
        let ack = self.listener.config.ack;
        let publisher = (client_id, self.peer.ip().to_canonical());
        worker.publish_will(&publication, publisher, ack, at.now, at.wall_millis);
    }

    fn log_end(&self, worker: &mut Worker, session: &Session, cause: Cause, now: Time) {
        if let Some(suppressed) = worker.logs.disconnected.allow(now) {
            info!(
                client_id = %session.client_id,
                address = %self.peer,
                listener = %self.listener.config.name,
                reason = cause.disconnect_reason(),
                detail = cause.as_str(),
                suppressed,
                "client disconnected"
            );
        }
    }

    /// The task is gone: whatever is still held is let go. A connection that ended as it should holds nothing.
    pub(crate) fn abandon(&mut self, worker: &mut Worker, at: Moment) {
        self.fail(worker, Cause::ServerError, at);
        worker.close(self.key);
        self.phase = Phase::Closed;
    }
}
