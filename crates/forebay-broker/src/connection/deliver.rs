//! Messages to the client: from the session's queue and the retained store into the output, within its limits.

use forebay_core::{QoS, Time};
use rumqttd::protocol::Packet;
use tracing::debug;

use super::{Connection, Phase};
use crate::metrics::Dropped;
use crate::outcome::Version;
use crate::session::{Queued, Stage};
use crate::wire::{Encoder, publish_packet};
use crate::worker::Worker;

/// Messages are put into the output while fewer bytes than this wait in it. The rest stays in the queue, where the
/// bounds and the drop policy of the session hold.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Where the next message comes from.
enum Source {
    Retained,
    Queue,
}

impl Connection {
    /// Fills the output.
    pub(super) fn deliver(&mut self, worker: &mut Worker, now: Time) {
        if self.phase != Phase::Open {
            return;
        }
        self.more_to_deliver = true;
        while self.output.len() < OUTPUT_BYTES {
            let Some(message) = self.next_message(worker, now) else {
                self.more_to_deliver = false;
                break;
            };
            if message.publication.is_expired(now) {
                worker.tally.dropped(Dropped::Expired, 1);
                continue;
            }
            self.write_message(worker, message, now);
        }
        if let Some(session) = &self.session {
            let inflight = session.inflight.len();
            if let Some(slot) = worker.slot(self.key) {
                slot.inflight = inflight;
            }
        }
    }

    /// True when messages wait only for the output to be written.
    pub(crate) fn has_more_to_deliver(&self) -> bool {
        self.more_to_deliver && self.output.len() < OUTPUT_BYTES
    }

    /// Takes the next message that the window lets through.
    fn next_message(&mut self, worker: &mut Worker, now: Time) -> Option<Queued> {
        let source = self.next_source(worker, now)?;
        let session = self.session.as_mut()?;
        let window = session.inflight.len() < session.window;
        let slot = worker.slot(self.key)?;
        let next = match source {
            Source::Retained => session.retained.front(),
            Source::Queue => slot.queue.front(),
        }?;
        if next.qos != QoS::AtMostOnce && !window {
            return None;
        }
        match source {
            Source::Retained => session.retained.pop_front(),
            Source::Queue => slot.queue.pop(),
        }
    }

    /// Retained messages of a new subscription go before what was published since.
    fn next_source(&mut self, worker: &mut Worker, now: Time) -> Option<Source> {
        let session = self.session.as_mut()?;
        let mut page = Vec::new();
        while session.retained.is_empty() {
            let Some((scan, granted)) = session.scans.front_mut() else {
                let waiting = worker.slot(self.key)?.queue.len() > 0;
                return waiting.then_some(Source::Queue);
            };
            let complete = self.shared.retained.page(scan, now, &mut page);
            let granted = *granted;
            session
                .retained
                .extend(page.drain(..).map(|publication| Queued {
                    qos: publication.qos.min(granted),
                    retain: true,
                    publication,
                }));
            if complete {
                session.scans.pop_front();
            }
        }
        Some(Source::Retained)
    }

    fn write_message(&mut self, worker: &mut Worker, message: Queued, now: Time) {
        let Some(session) = &mut self.session else {
            return;
        };
        let publication = &message.publication;
        let start = self.output.len();
        let packet_id = match message.qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce => session.inflight.add(Stage::Acknowledge),
            QoS::ExactlyOnce => session.inflight.add(Stage::Receive),
        };
        let publish = publish_packet(
            message.qos.level(),
            message.retain,
            packet_id,
            publication.topic.as_bytes(),
            publication.payload.clone(),
        );
        let properties = match self.version {
            Version::V311 => None,
            Version::V5 => publication.properties_for_delivery(now),
        };
        let written = Encoder::new(self.version)
            .write(Packet::Publish(publish, properties), &mut self.output);
        let bytes = self.output.len() - start;
        if written.is_err() || bytes > session.packet_bytes_max {
            // It is as if it had never been meant for this client (MQTT 5.0, 3.1.2.11.4).
            self.output.truncate(start);
            let stage = match message.qos {
                QoS::ExactlyOnce => Stage::Receive,
                _ => Stage::Acknowledge,
            };
            session.inflight.finish(packet_id, stage);
            worker.tally.dropped(Dropped::TooLargeForClient, 1);
            if let Err(error) = written {
                debug!(%error, "message not written");
            }
            return;
        }
        self.output_publishes += bytes;
        worker.tally.publish_sent(message.qos);
        worker.tally.packet_sent(3);
    }
}
