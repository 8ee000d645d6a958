//! PUBLISH from the client: topic, retained store, rules, subscribers, and only then the answer.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::topic::{TopicError, validate_name};
use forebay_core::{AckMode, Message, Origin, QoS};
use forebay_pipeline::{Admission, Publish};
use rumqttd::protocol::PublishProperties;

use super::{Connection, Moment, OWN_BLOCK_BYTES, READ_BUFFER_BYTES};
use crate::metrics::{Limit, Rejected};
use crate::outcome::{Cause, Version};
use crate::publication::{Publication, rule_properties};
use crate::reserved::{PublishRight, publish_right};
use crate::session::InboundId;
use crate::slot::{AckCode, Reply};
use crate::wire::InboundPublish;
use crate::worker::Worker;

/// What is known of a publish that may go its way.
struct Accepted<'a> {
    topic: &'a str,
    payload: Bytes,
    qos: QoS,
    /// It goes to one rule and to nobody else.
    basic_ingest: bool,
}

impl Connection {
    pub(super) fn publish(
        &mut self,
        worker: &mut Worker,
        mut publish: InboundPublish,
        at: Moment,
    ) -> Result<(), Cause> {
        worker
            .tally
            .publish_received(self.version, publish.qos, publish.payload.len());
        if publish.qos == 2 && self.is_repetition(worker, publish.packet_id, at)? {
            return Ok(());
        }
        if publish.payload.len() > self.listener.config.limits.payload_bytes {
            worker.tally.rejected(Rejected::TooLarge);
            worker.tally.limit(Limit::Payload);
            return Err(Cause::TooLarge);
        }
        let topic = std::str::from_utf8(&publish.topic).map_err(|_| Cause::Malformed)?;
        let basic_ingest = match self.judge(worker, topic, publish.retain)? {
            Ok(basic_ingest) => basic_ingest,
            Err(code) => return self.refuse_publish(worker, &publish, code, at),
        };
        let accepted = Accepted {
            topic,
            payload: detached(std::mem::take(&mut publish.payload)),
            qos: QoS::from_level(publish.qos).ok_or(Cause::Malformed)?,
            basic_ingest,
        };
        self.hand_over(worker, &publish, &accepted, at)
    }

    /// Whether the topic is accepted. The outer error ends the connection, the inner one refuses this publish.
    fn judge(
        &self,
        worker: &mut Worker,
        topic: &str,
        retain: bool,
    ) -> Result<Result<bool, AckCode>, Cause> {
        if let Err(error) = validate_name(topic, self.listener.config.limits.topic) {
            worker.tally.rejected(Rejected::BadTopic);
            if error.is_limit() {
                worker.tally.limit(match error {
                    TopicError::TooDeep { .. } => Limit::TopicLevels,
                    _ => Limit::Topic,
                });
                return Ok(Err(AckCode::TopicNameInvalid));
            }
            // Without an alias an empty topic is a protocol error (MQTT 5.0, 3.3.2.1).
            return Err(if topic.is_empty() {
                Cause::ProtocolError
            } else {
                Cause::TopicInvalid
            });
        }
        Ok(match publish_right(topic, retain) {
            PublishRight::Allowed => Ok(false),
            PublishRight::BasicIngest => Ok(true),
            PublishRight::NotAuthorised => {
                worker.tally.rejected(Rejected::NotAuthorised);
                Err(AckCode::NotAuthorised)
            }
            PublishRight::Invalid => {
                worker.tally.rejected(Rejected::BadTopic);
                Err(AckCode::TopicNameInvalid)
            }
        })
    }

    /// A QoS 2 publish whose id is known is answered again and goes nowhere.
    fn is_repetition(
        &mut self,
        worker: &mut Worker,
        packet_id: u16,
        at: Moment,
    ) -> Result<bool, Cause> {
        let Some(session) = &self.session else {
            return Ok(true);
        };
        match session.inbound_ids.get(packet_id) {
            Some(InboundId::Pending) => return Ok(true),
            Some(InboundId::Received | InboundId::ReceivedInLog | InboundId::Releasing) => {
                self.answer_now(worker, packet_id, true, AckCode::Success, at);
                return Ok(true);
            }
            None => {}
        }
        // Ids that wait for PUBREL never stop the reading, or their PUBREL could not come; so they have a bound.
        let waiting = worker.slot(self.key).map_or(0, |slot| slot.ring.len());
        let open = waiting + session.inbound_ids.received();
        let announced = usize::from(self.listener.config.limits.receive_maximum);
        let lenient = self.shared.mqtt.lenient_receive_maximum;
        if open >= if lenient { 2 * announced } else { announced } {
            worker.tally.limit(Limit::ReceiveMaximum);
            return Err(Cause::ReceiveMaximum);
        }
        Ok(false)
    }

    /// Refuses one publish: MQTT 5.0 is told in the answer, MQTT 3.1.1 can only be closed.
    fn refuse_publish(
        &mut self,
        worker: &mut Worker,
        publish: &InboundPublish,
        code: AckCode,
        at: Moment,
    ) -> Result<(), Cause> {
        if self.version == Version::V311 {
            return Err(match code {
                AckCode::NotAuthorised => Cause::NotAuthorised,
                _ => Cause::TopicInvalid,
            });
        }
        if publish.qos > 0 {
            self.answer_now(worker, publish.packet_id, publish.qos == 2, code, at);
        }
        Ok(())
    }

    /// Opens a slot whose answer is ready at once; it still leaves in its turn.
    fn answer_now(
        &mut self,
        worker: &mut Worker,
        packet_id: u16,
        qos2: bool,
        code: AckCode,
        at: Moment,
    ) {
        if let Some(slot) = self.open_slot(worker, packet_id, qos2, at)
            && let Some(state) = worker.slot(self.key)
        {
            if let Some(reply) = state.ring.reply_mut(slot) {
                reply.code = code;
            }
            state.ring.complete(slot);
        }
    }

    fn open_slot(
        &mut self,
        worker: &mut Worker,
        packet_id: u16,
        qos2: bool,
        at: Moment,
    ) -> Option<u32> {
        let slot = worker.slot(self.key)?.ring.open(Reply {
            packet_id,
            qos2,
            code: AckCode::Success,
            ack: AckMode::Accept,
            received: at.now,
        })?;
        self.last_slot = slot;
        Some(slot)
    }

    fn hand_over(
        &mut self,
        worker: &mut Worker,
        publish: &InboundPublish,
        accepted: &Accepted<'_>,
        at: Moment,
    ) -> Result<(), Cause> {
        let targets = if accepted.basic_ingest {
            0
        } else {
            worker.find_targets(accepted.topic, Some(self.key))
        };
        let publication = (targets > 0 || publish.retain).then(|| {
            Arc::new(Publication::new(
                accepted.topic,
                &accepted.payload,
                accepted.qos,
                publish.retain,
                publish.properties.as_deref(),
                at.now,
            ))
        });
        if let Some(publication) = publication.as_ref().filter(|_| publish.retain)
            && self.shared.retained.store(publication, at.now).is_err()
        {
            worker.retained_full(accepted.topic, at.now);
            if self.version == Version::V5 {
                worker.tally.rejected(Rejected::Quota);
                return self.refuse_publish(worker, publish, AckCode::QuotaExceeded, at);
            }
        }

        let slot = if accepted.qos == QoS::AtMostOnce {
            // A number that is not in the ring: if this message is parked, it is resumed under it.
            self.last_slot.wrapping_add(1)
        } else {
            let qos2 = accepted.qos == QoS::ExactlyOnce;
            if qos2 && let Some(session) = &mut self.session {
                session.inbound_ids.open(publish.packet_id);
            }
            // The window was looked at before the packet was interpreted.
            self.open_slot(worker, publish.packet_id, qos2, at)
                .ok_or(Cause::ServerError)?
        };
        let properties = publish.properties.as_deref();
        let admission = self.admit(worker, accepted, properties, (slot, publish.packet_id), at);
        if admission == Admission::Rejected {
            worker.tally.rejected(Rejected::Overload);
        } else if let Some(publication) = publication.filter(|_| targets > 0) {
            worker.fan_out(&publication, at.now);
        }
        worker.fan_out_republished(at.now);
        if accepted.qos != QoS::AtMostOnce {
            let unrouted = targets == 0 && !publish.retain;
            self.settle_slot(worker, slot, admission, unrouted);
        }
        Ok(())
    }

    fn admit(
        &self,
        worker: &mut Worker,
        accepted: &Accepted<'_>,
        properties: Option<&PublishProperties>,
        (slot, packet_id): (u32, u16),
        at: Moment,
    ) -> Admission {
        let origin = Origin {
            source_ip: Some(self.peer.ip().to_canonical()),
            properties: properties.map(rule_properties).unwrap_or_default(),
            ..Origin::UNKNOWN
        };
        let message = Message {
            topic: accepted.topic,
            payload: &accepted.payload,
            client_id: self.session.as_ref().map(|session| &*session.client_id),
            timestamp_ms: at.wall_millis,
            origin: &origin,
        };
        let publish = Publish {
            qos: accepted.qos,
            ticket: Worker::ticket(self.key, slot),
            listener_ack: self.listener.config.ack,
            may_reject: self.version == Version::V5,
            packet_id,
        };
        worker.admit(self.key, &message, publish, at.now)
    }

    /// Tells the ring what the answer waits for.
    fn settle_slot(&self, worker: &mut Worker, slot: u32, admission: Admission, unrouted: bool) {
        let Some(state) = worker.slot(self.key) else {
            return;
        };
        let Some(reply) = state.ring.reply_mut(slot) else {
            return;
        };
        match admission {
            Admission::Done { matched } => {
                if !matched && unrouted {
                    reply.code = AckCode::NoMatchingSubscribers;
                }
                state.ring.complete(slot);
            }
            Admission::Pending { records, ack } => {
                reply.ack = ack;
                state.ring.pending(slot, records);
            }
            Admission::Rejected => {
                reply.code = AckCode::QuotaExceeded;
                state.ring.complete(slot);
            }
            // What it waits for is known when there is room for it.
            Admission::Parked => {}
        }
    }
}

/// A payload that may be kept: one that is too large to be copied when it is staged, and shares its buffer with other
/// packets, is copied here, so that it never pins more than itself.
fn detached(payload: Bytes) -> Bytes {
    if (READ_BUFFER_BYTES..OWN_BLOCK_BYTES).contains(&payload.len()) {
        Bytes::copy_from_slice(&payload)
    } else {
        payload
    }
}
