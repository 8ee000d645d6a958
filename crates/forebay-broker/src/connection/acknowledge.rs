//! Acknowledgements in both directions.

use rumqttd::protocol::{
    Packet, PubAck, PubAckProperties, PubAckReason, PubComp, PubCompReason, PubRec,
    PubRecProperties, PubRecReason, PubRel, PubRelReason,
};

use super::Connection;
use crate::outcome::{Cause, Version};
use crate::session::{InboundId, Stage};
use crate::slot::{AckCode, Reply};
use crate::worker::Worker;
use forebay_core::{AckMode, Time};

/// Bytes of a PUBACK or PUBREC with a short reason string, without its text.
const EXPLAINED_BYTES: usize = 9;

impl Connection {
    /// Writes the answers of all publishes that are ready, in the order in which the publishes came.
    pub(super) fn release_answers(&mut self, worker: &mut Worker, now: Time) {
        while let Some((reply, failed)) =
            worker.slot(self.key).and_then(|slot| slot.ring.pop_ready())
        {
            self.answer(worker, &reply, failed, now);
        }
        let released = worker
            .slot(self.key)
            .map(|slot| std::mem::take(&mut slot.released));
        for pkid in released.into_iter().flatten() {
            self.complete(worker, pkid, PubCompReason::Success);
        }
    }

    fn answer(&mut self, worker: &mut Worker, reply: &Reply, failed: bool, now: Time) {
        let code = if failed {
            AckCode::ImplementationSpecific
        } else {
            reply.code
        };
        worker
            .tally
            .answered(reply.qos2, reply.ack, now.since(reply.received));
        let pkid = reply.packet_id;
        if !reply.qos2 {
            let reason = puback_reason(code);
            let properties = self.explanation(code).map(|text| PubAckProperties {
                reason_string: Some(text),
                user_properties: Vec::new(),
            });
            return self.send(worker, Packet::PubAck(PubAck { pkid, reason }, properties));
        }
        if let Some(session) = &mut self.session {
            let refused = !matches!(code, AckCode::Success | AckCode::NoMatchingSubscribers);
            if refused && self.version == Version::V5 {
                // A refused publish has no PUBREL (MQTT 5.0, 4.3.3); its id is free again.
                session.inbound_ids.remove(pkid);
            } else {
                let in_log = reply.ack == AckMode::Spool && !failed;
                session.inbound_ids.answered(pkid, in_log);
            }
        }
        let reason = pubrec_reason(code);
        let properties = self.explanation(code).map(|text| PubRecProperties {
            reason_string: Some(text),
            user_properties: Vec::new(),
        });
        self.send(worker, Packet::PubRec(PubRec { pkid, reason }, properties));
    }

    /// The reason string of a refusal, unless the client wants none or takes no packet of that size (MQTT 5.0, 3.4.2.2.2).
    fn explanation(&self, code: AckCode) -> Option<String> {
        let text = code.explanation()?;
        let session = self.session.as_ref()?;
        let wanted =
            session.problem_information && text.len() + EXPLAINED_BYTES <= session.packet_bytes_max;
        wanted.then(|| text.to_owned())
    }

    /// The second half of a QoS 2 publish. Where the log owns the packet id its release must be durable before PUBCOMP
    /// leaves: the client may use the id for another message then, which a restart must not take for a repetition.
    pub(super) fn pubrel(&mut self, worker: &mut Worker, pkid: u16) -> Result<(), Cause> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        match session.inbound_ids.get(pkid) {
            Some(InboundId::ReceivedInLog) => {
                session.inbound_ids.releasing(pkid);
                worker.release(self.key, &session.client_id, pkid);
            }
            // The answer to the first one is on its way.
            Some(InboundId::Releasing) => {}
            Some(InboundId::Pending | InboundId::Received) => {
                self.complete(worker, pkid, PubCompReason::Success);
            }
            None => self.complete(worker, pkid, PubCompReason::PacketIdentifierNotFound),
        }
        Ok(())
    }

    /// Ends a QoS 2 publish.
    fn complete(&mut self, worker: &mut Worker, pkid: u16, reason: PubCompReason) {
        if let Some(session) = &mut self.session {
            session.inbound_ids.remove(pkid);
        }
        self.send(worker, Packet::PubComp(PubComp { pkid, reason }, None));
    }

    pub(super) fn puback(&mut self, pkid: u16) -> Result<(), Cause> {
        self.check_order(pkid, Stage::Acknowledge)?;
        if let Some(session) = &mut self.session {
            session.inflight.finish(pkid, Stage::Acknowledge);
        }
        Ok(())
    }

    pub(super) fn pubrec(
        &mut self,
        worker: &mut Worker,
        pkid: u16,
        refused: bool,
    ) -> Result<(), Cause> {
        self.check_order(pkid, Stage::Receive)?;
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        if refused {
            session.inflight.finish(pkid, Stage::Receive);
            return Ok(());
        }
        let reason = if session.inflight.received(pkid) {
            PubRelReason::Success
        } else {
            PubRelReason::PacketIdentifierNotFound
        };
        self.send(worker, Packet::PubRel(PubRel { pkid, reason }, None));
        Ok(())
    }

    pub(super) fn pubcomp(&mut self, pkid: u16) -> Result<(), Cause> {
        self.check_order(pkid, Stage::Complete)?;
        if let Some(session) = &mut self.session {
            session.inflight.finish(pkid, Stage::Complete);
        }
        Ok(())
    }

    /// Clients acknowledge in the order of receipt (MQTT 5.0, 4.6). Many do not, and nothing breaks by it.
    fn check_order(&self, pkid: u16, stage: Stage) -> Result<(), Cause> {
        let in_order = self.shared.mqtt.lenient_ack_order
            || self
                .session
                .as_ref()
                .is_none_or(|session| session.inflight.is_oldest(pkid, stage));
        if in_order {
            Ok(())
        } else {
            Err(Cause::ProtocolError)
        }
    }
}

fn puback_reason(code: AckCode) -> PubAckReason {
    match code {
        AckCode::Success => PubAckReason::Success,
        AckCode::NoMatchingSubscribers => PubAckReason::NoMatchingSubscribers,
        AckCode::ImplementationSpecific => PubAckReason::ImplementationSpecificError,
        AckCode::NotAuthorised => PubAckReason::NotAuthorized,
        AckCode::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        AckCode::QuotaExceeded => PubAckReason::QuotaExceeded,
    }
}

fn pubrec_reason(code: AckCode) -> PubRecReason {
    match code {
        AckCode::Success => PubRecReason::Success,
        AckCode::NoMatchingSubscribers => PubRecReason::NoMatchingSubscribers,
        AckCode::ImplementationSpecific => PubRecReason::ImplementationSpecificError,
        AckCode::NotAuthorised => PubRecReason::NotAuthorized,
        AckCode::TopicNameInvalid => PubRecReason::TopicNameInvalid,
        AckCode::QuotaExceeded => PubRecReason::QuotaExceeded,
    }
}
