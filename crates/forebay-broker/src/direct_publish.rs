//! Messages that come to the broker without an MQTT connection, such as those that were sent over HTTP.
//!
//! Such a message goes the way of a PUBLISH: retained store, rules, subscribers. A slot like that of a connection, with
//! room for one publish, waits for its answer; so there is one kind of answer in the pipeline.

use std::future::poll_fn;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use forebay_core::topic::{TopicLimits, validate_name};
use forebay_core::{AckMode, Message, Origin, QoS, Time};
use forebay_metrics::Counter;
use forebay_pipeline::{Admission, Publish};
use rumqttd::protocol::PublishProperties;
use tokio::sync::oneshot;

use crate::publication::Publication;
use crate::reserved::{PublishRight, publish_right};
use crate::shared::Shared;
use crate::slot::{AckCode, ConnectionKey, Reply};
use crate::worker::{Worker, WorkerHandle};

/// Messages that may wait for a worker to take them.
const WAITING_MAX: usize = 1024;
/// Bytes of a text or of correlation data in MQTT 5.
const PROPERTY_BYTES_MAX: usize = 65_535;

/// A message without a connection.
#[derive(Debug, Clone)]
pub struct DirectPublish {
    /// The topic, not judged yet.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// With QoS 0 nothing is waited for; QoS 2 is taken like QoS 1, because nobody could repeat it.
    pub qos: QoS,
    /// Keep it for later subscribers.
    pub retain: bool,
    /// Address of whoever sent it.
    pub source_ip: IpAddr,
    /// MQTT 5 properties.
    pub properties: DirectProperties,
}

/// MQTT 5 properties of such a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectProperties {
    /// The payload is UTF-8, or is not said to be.
    pub is_utf8: Option<bool>,
    /// Seconds after which it is not delivered any more.
    pub expiry_seconds: Option<u32>,
    /// Content type.
    pub content_type: Option<String>,
    /// Response topic.
    pub response_topic: Option<String>,
    /// Correlation data.
    pub correlation_data: Option<Bytes>,
    /// User properties, in order.
    pub user: Vec<(String, String)>,
}

/// Why a message was not taken, or is not known to be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectRefusal {
    /// The topic or a property is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Nobody may publish to this topic.
    #[error("publishing to this topic is not allowed")]
    NotAllowed,
    /// The payload is over the limit.
    #[error("payload too large: {bytes} > {max} bytes")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There is no room for it now.
    #[error("there is no room for this message now")]
    NoRoom,
    /// A record of it failed for good.
    #[error("a record of this message cannot be stored, now or later")]
    Failed,
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}

/// A retained message, as it is.
#[derive(Debug, Clone)]
pub struct RetainedMessage {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// As published.
    pub qos: QoS,
    /// When it was published, milliseconds since the Unix epoch.
    pub published_ms: i64,
    /// MQTT 5 user properties.
    pub user_properties: Vec<(String, String)>,
}

/// What such messages are judged by; the limits of a listener do not apply to what came through none.
#[derive(Debug, Clone, Copy)]
pub struct DirectLimits {
    /// Bytes and levels of a topic.
    pub topic: TopicLimits,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Acknowledgement where a rule says nothing.
    pub ack: AckMode,
}

/// Takes messages without a connection. It does not keep the broker running.
#[derive(Debug, Clone)]
pub struct DirectPort {
    shared: Arc<Shared>,
    limits: DirectLimits,
    /// Messages by QoS, and their bytes.
    received: [Counter; 2],
    received_bytes: [Counter; 2],
}

impl DirectPort {
    pub(crate) fn new(shared: Arc<Shared>, limits: DirectLimits) -> Self {
        let counter = |name: &'static str, help: &'static str| {
            ["0", "1"].map(|qos| {
                let labels = [("protocol", "http"), ("qos", qos)];
                shared.registry.counter(name, help, &labels)
            })
        };
        Self {
            received: counter(
                "forebay_publish_received_total",
                "Publishes received from clients.",
            ),
            received_bytes: counter(
                "forebay_publish_received_bytes_total",
                "Payload bytes received from clients.",
            ),
            shared,
            limits,
        }
    }

    /// Publishes. The answer comes when a PUBACK could leave; it is dropped unsent when the broker has ended. Whoever
    /// drops the receiver gives the message up where it still waits for room.
    pub fn publish(&self, publish: DirectPublish) -> oneshot::Receiver<Result<(), DirectRefusal>> {
        let (answer, answered) = oneshot::channel();
        let kind = usize::from(publish.qos != QoS::AtMostOnce);
        self.received[kind].increment(1);
        self.received_bytes[kind].increment(publish.payload.len() as u64);
        let judged = match self.shared.reading_stopped() {
            true => Err(DirectRefusal::Stopping),
            false => self.judge(&publish),
        };
        let refused = match judged {
            Err(refusal) => Some((answer, refusal)),
            Ok(basic_ingest) => {
                // One topic, one worker: messages that are sent one behind the other stay in order.
                let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&publish.topic);
                let workers = self.shared.mailboxes.len();
                let worker = (hash % workers.max(1) as u64) as usize;
                let waiting = Waiting {
                    publish,
                    basic_ingest,
                    ack: self.limits.ack,
                    answer,
                };
                let left = self.shared.mailboxes[worker].direct(waiting);
                left.map(|waiting| (waiting.answer, DirectRefusal::NoRoom))
            }
        };
        if let Some((answer, refusal)) = refused {
            // Nobody listens when the receiver is gone already.
            answer.send(Err(refusal)).unwrap_or_default();
        }
        answered
    }

    /// Whether the message goes to one rule and to nobody else.
    fn judge(&self, publish: &DirectPublish) -> Result<bool, DirectRefusal> {
        let (bytes, max) = (publish.payload.len(), self.limits.payload_bytes);
        if bytes > max {
            return Err(DirectRefusal::TooLarge { bytes, max });
        }
        let invalid = |reason: &str| DirectRefusal::Invalid(reason.to_owned());
        validate_name(&publish.topic, self.limits.topic).map_err(|error| {
            DirectRefusal::Invalid(format!("the topic is not accepted: {error}"))
        })?;
        let properties = &publish.properties;
        if let Some(topic) = &properties.response_topic {
            validate_name(topic, self.limits.topic).map_err(|error| {
                DirectRefusal::Invalid(format!("the response topic is not accepted: {error}"))
            })?;
        }
        let is_text = |text: &String| text.len() <= PROPERTY_BYTES_MAX && !text.contains('\0');
        let user = || properties.user.iter();
        let texts = user().flat_map(|(name, value)| [name, value]);
        if !texts.chain(&properties.content_type).all(is_text) {
            return Err(invalid("a property is no text of MQTT"));
        }
        let correlation = properties.correlation_data.as_ref().map_or(0, Bytes::len);
        if correlation > PROPERTY_BYTES_MAX {
            return Err(invalid("the correlation data is too long"));
        }
        let limits = &self.shared.limits;
        let bytes: usize = user().map(|(name, value)| name.len() + value.len()).sum();
        if properties.user.len() > limits.user_properties || bytes > limits.user_property_bytes {
            return Err(invalid("there are too many user properties"));
        }
        match publish_right(&publish.topic, publish.retain) {
            PublishRight::Allowed => Ok(false),
            PublishRight::BasicIngest => Ok(true),
            PublishRight::NotAuthorised => Err(DirectRefusal::NotAllowed),
            PublishRight::Invalid => Err(invalid("the topic is reserved")),
        }
    }

    /// The retained message of a topic.
    pub fn retained(&self, topic: &str) -> Option<RetainedMessage> {
        let now = self.shared.clock.now();
        let found = self.shared.retained.get(topic, now)?;
        Some(self.shown(&found, now))
    }

    /// Up to `max` retained messages whose topics come behind `after`, by topic.
    pub fn retained_after(&self, after: Option<&str>, max: usize) -> Vec<RetainedMessage> {
        let now = self.shared.clock.now();
        let found = self.shared.retained.after(after, max, now);
        found
            .iter()
            .map(|message| self.shown(message, now))
            .collect()
    }

    fn shown(&self, message: &Publication, now: Time) -> RetainedMessage {
        let age = i64::try_from(now.since(message.published).as_millis()).unwrap_or(i64::MAX);
        let properties = message.properties.as_deref();
        RetainedMessage {
            topic: message.topic.to_string(),
            payload: message.payload.clone(),
            qos: message.qos,
            published_ms: self.shared.clock.wall_millis().saturating_sub(age),
            user_properties: properties.map_or_else(Vec::new, |it| it.user_properties.clone()),
        }
    }
}

/// A judged message on its way to a worker.
#[derive(Debug)]
pub(crate) struct Waiting {
    publish: DirectPublish,
    basic_ingest: bool,
    ack: AckMode,
    answer: oneshot::Sender<Result<(), DirectRefusal>>,
}

/// Messages for one worker.
#[derive(Debug, Default)]
pub(crate) struct DirectQueue {
    waiting: Mutex<Vec<Waiting>>,
    filled: AtomicBool,
}

impl DirectQueue {
    /// Puts a message in, or gives it back when there is no room.
    pub(crate) fn push(&self, message: Waiting) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            return Some(message);
        }
        waiting.push(message);
        self.filled.store(true, Ordering::Release);
        None
    }

    pub(crate) fn take(&self) -> Vec<Waiting> {
        match self.filled.swap(false, Ordering::Acquire) {
            true => {
                std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
            }
            false => Vec::new(),
        }
    }
}

/// Carries one message to its answer, on the thread of its worker.
pub(crate) async fn carry(worker: WorkerHandle, shared: Arc<Shared>, waiting: Waiting) {
    let Waiting {
        publish,
        basic_ingest,
        ack,
        mut answer,
    } = waiting;
    let mut carried = Carried {
        key: None,
        worker,
        shared,
    };
    carried.worker.lock().enter_task();
    let answered = match carried.begin(&publish, basic_ingest, ack) {
        Some(answered) => Some(answered),
        None => poll_fn(|cx| carried.poll(cx, &mut answer)).await,
    };
    if let Some(answered) = answered {
        // Nobody listens when the receiver is gone.
        answer.send(answered).unwrap_or_default();
    }
}

/// A message that a worker has taken.
struct Carried {
    worker: WorkerHandle,
    shared: Arc<Shared>,
    /// The slot in which it waits.
    key: Option<ConnectionKey>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        let mut worker = self.worker.lock();
        if let Some(key) = self.key {
            worker.close(key);
        }
        worker.leave_task();
    }
}

impl Carried {
    /// Hands the message over. `None` when its answer has to be waited for.
    fn begin(
        &mut self,
        publish: &DirectPublish,
        basic_ingest: bool,
        ack: AckMode,
    ) -> Option<Result<(), DirectRefusal>> {
        let now = self.shared.clock.now();
        let mut locked = self.worker.lock();
        let worker = &mut *locked;
        let targets = match basic_ingest {
            true => 0,
            false => worker.find_targets(&publish.topic, None),
        };
        let properties = mqtt_properties(&publish.properties);
        let publication = Arc::new(Publication::new(
            &publish.topic,
            &publish.payload,
            publish.qos,
            publish.retain,
            Some(&properties),
            now,
        ));
        if publish.retain && self.shared.retained.store(&publication, now).is_err() {
            worker.retained_full(&publish.topic, now);
            return Some(Err(DirectRefusal::NoRoom));
        }
        let origin = Origin {
            source_ip: Some(publish.source_ip),
            properties: publication.rule_properties(),
            ..Origin::UNKNOWN
        };
        let message = Message {
            topic: &publish.topic,
            payload: &publication.payload,
            client_id: None,
            timestamp_ms: self.shared.clock.wall_millis(),
            origin: &origin,
        };
        let answered = match publish.qos {
            QoS::AtMostOnce => {
                let taken = worker
                    .intake
                    .publish_detached(&message, publish.qos, ack, now);
                worker.request_turn();
                Some(taken.then_some(()).ok_or(DirectRefusal::NoRoom))
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                let key = worker.open(1);
                self.key = Some(key);
                admit(worker, key, &message, ack, now)
            }
        };
        if targets > 0 && answered.as_ref().is_none_or(Result::is_ok) {
            worker.fan_out(&publication, now);
        }
        worker.fan_out_republished(now);
        answered
    }

    /// `Some(None)` when nobody waits for the answer any more.
    fn poll(
        &self,
        cx: &mut Context<'_>,
        answer: &mut oneshot::Sender<Result<(), DirectRefusal>>,
    ) -> Poll<Option<Result<(), DirectRefusal>>> {
        if answer.poll_closed(cx).is_ready() {
            return Poll::Ready(None);
        }
        let Some(key) = self.key else {
            return Poll::Ready(None);
        };
        let mut worker = self.worker.lock();
        worker.set_waker(key, cx.waker());
        let Some(slot) = worker.slot(key) else {
            return Poll::Ready(Some(Err(DirectRefusal::Stopping)));
        };
        match slot.ring.pop_ready() {
            Some((_, true)) => Poll::Ready(Some(Err(DirectRefusal::Failed))),
            Some((_, false)) => Poll::Ready(Some(Ok(()))),
            None if slot.close.is_some() => Poll::Ready(Some(Err(DirectRefusal::Stopping))),
            None => Poll::Pending,
        }
    }
}

/// Gives the message to the rules under the slot; the answer comes into its ring.
fn admit(
    worker: &mut Worker,
    key: ConnectionKey,
    message: &Message<'_>,
    ack: AckMode,
    now: Time,
) -> Option<Result<(), DirectRefusal>> {
    let opened = worker.slot(key).and_then(|slot| {
        slot.ring.open(Reply {
            packet_id: 0,
            qos2: false,
            code: AckCode::Success,
            ack: AckMode::Accept,
            received: now,
        })
    });
    let Some(number) = opened else {
        return Some(Err(DirectRefusal::Stopping));
    };
    let publish = Publish {
        qos: QoS::AtLeastOnce,
        ticket: Worker::ticket(key, number),
        listener_ack: ack,
        may_reject: true,
        packet_id: 0,
    };
    let admission = worker.admit(key, message, publish, now);
    let slot = worker.slot(key)?;
    match admission {
        Admission::Done { .. } => Some(Ok(())),
        Admission::Rejected => Some(Err(DirectRefusal::NoRoom)),
        Admission::Pending { records, .. } => {
            slot.ring.pending(number, records);
            None
        }
        Admission::Parked => None,
    }
}

fn mqtt_properties(properties: &DirectProperties) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: properties.is_utf8.map(u8::from),
        message_expiry_interval: properties.expiry_seconds,
        topic_alias: None,
        response_topic: properties.response_topic.clone(),
        correlation_data: properties.correlation_data.clone(),
        user_properties: properties.user.clone(),
        subscription_identifiers: Vec::new(),
        content_type: properties.content_type.clone(),
    }
}
