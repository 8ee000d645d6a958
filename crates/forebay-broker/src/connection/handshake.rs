//! CONNECT and CONNACK: who may come in, what is announced, and the takeover of a client id.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::{Entropy, Time};
use forebay_pipeline::OverloadStage;
use rumqttd::protocol::{ConnAck, ConnAckProperties, ConnectReturnCode, Packet};
use tracing::{info, warn};

use super::{Connection, Moment, Phase, Session};
use crate::client_ids::Claim;
use crate::mailbox::Request;
use crate::metrics::Limit;
use crate::outcome::{Cause, Version};
use crate::reserved::{PublishRight, publish_right};
use crate::session::{InboundIds, Inflight};
use crate::wire::{ConnectRequest, Frame, Will, decode_connect};
use crate::worker::Worker;

/// Characters of an assigned client id behind its prefix.
const ASSIGNED_ID_CHARACTERS: usize = 22;

impl Connection {
    /// Handles the first packet.
    pub(super) fn connect(&mut self, worker: &mut Worker, bytes: &[u8], frame: Frame, at: Moment) {
        let mut request = match decode_connect(bytes, frame, &self.rules) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(worker, refusal.version, refusal.cause, at),
        };
        self.version = request.version;
        if let Err(cause) = self.check_request(worker, &mut request) {
            return self.refuse(worker, Some(request.version), cause, at);
        }
        if request.client_id.is_empty() {
            request.client_id = assigned_id(&mut worker.entropy);
            self.id_is_assigned = true;
        }
        match self
            .shared
            .client_ids
            .claim(&request.client_id, self.key, at.now)
        {
            Claim::Granted => {
                self.connect = Some(Box::new(request));
                self.accept(worker, at);
            }
            Claim::Waiting { owner, earlier } => {
                self.connect = Some(Box::new(request));
                self.phase = Phase::Takeover;
                for key in std::iter::once(owner).chain(earlier) {
                    self.shared.mailboxes[usize::from(key.worker)]
                        .request(Request::Close(key, Cause::TakenOver));
                }
            }
            Claim::TooOften => {
                worker.tally.limit(Limit::ConnectsPerClient);
                self.refuse(worker, Some(self.version), Cause::ConnectRate, at);
            }
        }
    }

    fn check_request(
        &mut self,
        worker: &mut Worker,
        request: &mut ConnectRequest,
    ) -> Result<(), Cause> {
        let config = &self.listener.config;
        if !config.versions.contains(&request.version) {
            return Err(match request.version {
                Version::V311 => Cause::UnsupportedLevel,
                Version::V5 => Cause::UnsupportedLevelV5,
            });
        }
        if let Some(cause) = self.refuse {
            worker.tally.limit(Limit::Connections);
            return Err(cause);
        }
        // How many are refused in a second is up to the listener's accept rate: whoever is not accepted yet waits.
        if worker.intake.overload() >= OverloadStage::Refusing {
            worker.tally.limit(Limit::Spool);
            return Err(Cause::Quota);
        }
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(Cause::Draining);
        }
        if !config.allow_anonymous {
            return Err(Cause::NotAuthorised);
        }
        if request.client_id.len() > config.limits.client_id_bytes {
            worker.tally.limit(Limit::ClientId);
            return Err(Cause::ClientId);
        }
        if request.client_id.is_empty() {
            // MQTT 3.1.1, 3.1.3.1: without an id there can be no session to come back to.
            let sessionless = request.clean || request.version == Version::V5;
            if !self.shared.mqtt.allow_empty_client_id || !sessionless {
                return Err(Cause::ClientId);
            }
        }
        request
            .will
            .as_deref()
            .map_or(Ok(()), |will| self.check_will(will))
    }

    fn check_will(&self, will: &Will) -> Result<(), Cause> {
        let limits = &self.listener.config.limits;
        let topic = std::str::from_utf8(&will.topic).map_err(|_| Cause::Malformed)?;
        if forebay_core::topic::validate_name(topic, limits.topic).is_err() {
            return Err(Cause::TopicInvalid);
        }
        if will.payload.len() > limits.payload_bytes {
            return Err(Cause::TooLarge);
        }
        match publish_right(topic, will.retain) {
            PublishRight::Allowed | PublishRight::BasicIngest => Ok(()),
            PublishRight::NotAuthorised => Err(Cause::NotAuthorised),
            PublishRight::Invalid => Err(Cause::TopicInvalid),
        }
    }

    /// Lets the client in: its id is free.
    pub(super) fn accept(&mut self, worker: &mut Worker, at: Moment) {
        let Some(mut request) = self.connect.take() else {
            return;
        };
        // What the connection before it with this id left for sessions of this worker comes before what it says.
        worker.spread_mail(at.now);
        let mut properties = ConnAckProperties {
            receive_max: Some(self.listener.config.limits.receive_maximum)
                .filter(|maximum| *maximum < u16::MAX),
            max_packet_size: u32::try_from(self.rules.packet_bytes).ok(),
            topic_alias_max: Some(0),
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            session_expiry_interval: (request.session_expiry > 0).then_some(0),
            ..ConnAckProperties::default()
        };
        if self.id_is_assigned {
            properties.assigned_client_identifier = Some(request.client_id.clone());
        }
        let client_id: Arc<str> = Arc::from(request.client_id.as_str());
        let (silence_max, announced) = self.keep_alive(&request);
        properties.server_keep_alive = announced;

        let Some(slot) = worker.slot(self.key) else {
            return;
        };
        slot.client_id = Some(Arc::clone(&client_id));
        worker.begin_session(&client_id);
        self.log_start(worker, &client_id, &request, at.now);
        let window = request
            .receive_maximum
            .min(self.shared.limits.inflight_to_client)
            .max(1);
        self.session = Some(Box::new(Session {
            client_id,
            silence_max,
            will: request.will.take(),
            subscriptions: std::collections::BTreeMap::new(),
            inbound_ids: InboundIds::default(),
            inflight: Inflight::default(),
            window: usize::from(window),
            packet_bytes_max: usize::try_from(request.packet_bytes_max).unwrap_or(usize::MAX),
            problem_information: request.problem_information,
            expiry_was_zero: request.session_expiry == 0,
            scans: std::collections::VecDeque::new(),
            retained: std::collections::VecDeque::new(),
        }));
        self.phase = Phase::Open;
        self.last_packet = at.now;
        self.listener
            .clients(self.version)
            .fetch_add(1, Ordering::Relaxed);
        worker
            .tally
            .connect(self.listener.index, Some(self.version), None);
        worker.tally.connect_took(self.opened, at.now);
        let ack = ConnAck {
            // Sessions end with their connection, so there is never one to resume.
            session_present: false,
            code: ConnectReturnCode::Success,
        };
        self.send(worker, Packet::ConnAck(ack, Some(properties)));
    }

    /// How long the client may be silent, and the keep alive that it is told instead of its own.
    fn keep_alive(&mut self, request: &ConnectRequest) -> (Option<Duration>, Option<u16>) {
        let mqtt = &self.shared.mqtt;
        let asked = Duration::from_secs(u64::from(request.keep_alive));
        let effective = if request.keep_alive > 0 {
            Some(asked.max(mqtt.keep_alive_min).min(mqtt.keep_alive_max))
        } else if request.version == Version::V5 {
            mqtt.keep_alive_zero
        } else {
            // A 3.1.1 client cannot be told, and need not send anything: silence proves nothing.
            None
        };
        self.wants_probes = effective.is_none();
        let seconds = effective
            .map(|effective| u16::try_from(effective.as_secs().max(1)).unwrap_or(u16::MAX));
        let announced = seconds.filter(|seconds| *seconds != request.keep_alive);
        (effective.map(|effective| effective * 3 / 2), announced)
    }

    fn log_start(&self, worker: &mut Worker, client_id: &str, request: &ConnectRequest, now: Time) {
        if let Some(suppressed) = worker.logs.connected.allow(now) {
            info!(
                client_id,
                address = %self.peer,
                listener = %self.listener.config.name,
                version = self.version.as_str(),
                keep_alive = request.keep_alive,
                clean = request.clean,
                suppressed,
                "client connected"
            );
        }
    }

    /// Refuses the connection, with a CONNACK where the version has one for the cause.
    pub(super) fn refuse(
        &mut self,
        worker: &mut Worker,
        version: Option<Version>,
        cause: Cause,
        at: Moment,
    ) {
        if let Some(version) = version {
            self.version = version;
            if let Some(code) = cause.connack(version) {
                let ack = ConnAck {
                    session_present: false,
                    code,
                };
                self.send(worker, Packet::ConnAck(ack, None));
            }
        }
        if let Some(request) = self.connect.take() {
            self.release_client_id(&request.client_id);
        }
        worker
            .tally
            .connect(self.listener.index, version, Some(cause));
        worker.tally.protocol_error(cause);
        worker.close(self.key);
        if let Some(suppressed) = worker.logs.refused.allow(at.now) {
            warn!(
                address = %self.peer,
                listener = %self.listener.config.name,
                reason = cause.as_str(),
                suppressed,
                "connection refused"
            );
        }
        self.phase = Phase::Closing(at.now);
    }

    /// Gives a client id back, to the connection that waits for it if there is one.
    pub(super) fn release_client_id(&self, client_id: &str) {
        if let Some(next) = self.shared.client_ids.release(client_id, self.key) {
            self.shared.mailboxes[usize::from(next.worker)].request(Request::Granted(next));
        }
    }
}

/// An id for a client that brought none: 22 characters of 62 are 130 random bits.
fn assigned_id(entropy: &mut dyn Entropy) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = String::from("auto-");
    for _ in 0..ASSIGNED_ID_CHARACTERS {
        let index = entropy.below(ALPHABET.len() as u64) as usize;
        id.push(char::from(ALPHABET[index]));
    }
    id
}
