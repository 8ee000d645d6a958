//! Messages between the admin listener and the broker.

use std::time::Duration;

use forebay_admin::{
    HttpPublish, MessagePort, PublishFault, Publishing, RetainedMessage, RetainedSummary,
};
use forebay_broker::{
    DirectLimits, DirectPort, DirectProperties, DirectPublish, DirectRefusal, RunningBroker,
};
use forebay_core::topic::TopicLimits;

use crate::config::Config;

/// How long a publish may wait for room and for its records: less than a connection of the admin listener lives.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Hands messages from HTTP to the broker.
pub(super) struct HttpMessages(DirectPort);

impl HttpMessages {
    pub(super) fn new(broker: &RunningBroker, config: &Config) -> Self {
        let limits = &config.limits.listener;
        Self(broker.direct_port(DirectLimits {
            topic: TopicLimits {
                bytes_max: limits.topic_bytes as usize,
                levels_max: limits.topic_levels as usize,
            },
            payload_bytes: usize::try_from(limits.payload_bytes).unwrap_or(usize::MAX),
            ack: config.server.ack,
        }))
    }
}

impl MessagePort for HttpMessages {
    fn publish(&self, publish: HttpPublish) -> Publishing {
        let answered = self.0.publish(DirectPublish {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            source_ip: publish.source,
            properties: DirectProperties {
                is_utf8: publish.is_utf8,
                expiry_seconds: publish.expiry_seconds,
                content_type: publish.content_type,
                response_topic: publish.response_topic,
                correlation_data: publish.correlation_data,
                user: publish.user_properties,
            },
        });
        Box::pin(async move {
            match tokio::time::timeout(ANSWER_TIME, answered).await {
                Ok(Ok(answer)) => answer.map_err(fault),
                Ok(Err(_)) => Err(PublishFault::Stopping),
                Err(_) => Err(PublishFault::Failed(format!(
                    "the message is not known to be kept after {} s; it may still be",
                    ANSWER_TIME.as_secs()
                ))),
            }
        })
    }

    fn retained(&self, topic: &str) -> Option<RetainedMessage> {
        let message = self.0.retained(topic)?;
        Some(RetainedMessage {
            payload: message.payload.clone(),
            user_properties: message.user_properties.clone(),
            summary: summary(message),
        })
    }

    fn retained_after(&self, after: Option<&str>, max: usize) -> Vec<RetainedSummary> {
        let found = self.0.retained_after(after, max);
        found.into_iter().map(summary).collect()
    }
}

fn summary(message: forebay_broker::RetainedMessage) -> RetainedSummary {
    RetainedSummary {
        topic: message.topic,
        payload_bytes: message.payload.len(),
        qos: message.qos,
        modified_ms: message.published_ms,
    }
}

fn fault(refusal: DirectRefusal) -> PublishFault {
    let message = refusal.to_string();
    match refusal {
        DirectRefusal::Invalid(reason) => PublishFault::Invalid(reason),
        DirectRefusal::NotAllowed => PublishFault::NotAllowed(message),
        DirectRefusal::TooLarge { max, .. } => PublishFault::TooLarge { max },
        DirectRefusal::NoRoom => PublishFault::NoRoom(message),
        DirectRefusal::Failed => PublishFault::Failed(message),
        DirectRefusal::Stopping => PublishFault::Stopping,
    }
}
