//! A message as the broker keeps it: for subscribers, and as the retained message of its topic.

use bytes::Bytes;
use forebay_core::{Properties, QoS, Time};
use forebay_pipeline::RepublishedMessage;
use rumqttd::protocol::PublishProperties;

/// Payloads below this are copied when they are kept: a slice of a few bytes would keep a whole read buffer alive.
const COPY_BELOW_BYTES: usize = 4096;

/// Estimated bytes of a kept message besides topic, payload and properties.
const OVERHEAD_BYTES: usize = 128;

/// One message. Sessions share it.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    /// As published.
    pub(crate) qos: QoS,
    /// The RETAIN flag as published.
    pub(crate) retain: bool,
    pub(crate) properties: Option<Box<PublishProperties>>,
    /// When it was published.
    pub(crate) published: Time,
    /// When it must not be delivered any more.
    pub(crate) expires: Time,
}

impl Publication {
    /// Makes a message that owns all it refers to.
    pub(crate) fn new(
        topic: &str,
        payload: &Bytes,
        qos: QoS,
        retain: bool,
        properties: Option<&PublishProperties>,
        now: Time,
    ) -> Self {
        let mut properties = properties.cloned().map(Box::new);
        let mut expires = Time::NEVER;
        if let Some(properties) = &mut properties {
            if let Some(seconds) = properties.message_expiry_interval {
                expires = now + std::time::Duration::from_secs(u64::from(seconds));
            }
            if let Some(data) = &mut properties.correlation_data {
                *data = Bytes::copy_from_slice(data);
            }
        }
        let payload = if payload.len() < COPY_BELOW_BYTES {
            Bytes::copy_from_slice(payload)
        } else {
            payload.clone()
        };
        Self {
            topic: Box::from(topic),
            payload,
            qos,
            retain,
            properties,
            published: now,
            expires,
        }
    }

    /// A message that a rule republished. It is never retained (AWS IoT developer guide, "Republish").
    pub(crate) fn republished(message: RepublishedMessage, now: Time) -> Self {
        let RepublishedMessage {
            topic,
            qos,
            payload,
            properties,
        } = message;
        let properties = PublishProperties {
            payload_format_indicator: properties.payload_format_indicator,
            message_expiry_interval: properties.message_expiry,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data,
            user_properties: properties.user_properties,
            content_type: properties.content_type,
            ..PublishProperties::default()
        };
        let has_any = properties != PublishProperties::default();
        let properties = has_any.then_some(&properties);
        Self::new(&topic, &payload, qos, false, properties, now)
    }

    /// Its properties as functions of rules see them.
    pub(crate) fn rule_properties(&self) -> Properties<'_> {
        self.properties
            .as_deref()
            .map(rule_properties)
            .unwrap_or_default()
    }

    /// Bytes that it is charged with in queues and stores.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.properties.as_deref().map_or(0, |properties| {
            let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            let pairs: usize = properties
                .user_properties
                .iter()
                .map(|(name, value)| name.len() + value.len() + 48)
                .sum();
            text(&properties.content_type)
                + text(&properties.response_topic)
                + properties.correlation_data.as_ref().map_or(0, Bytes::len)
                + pairs
                + size_of::<PublishProperties>()
        });
        OVERHEAD_BYTES + self.topic.len() + self.payload.len() + properties
    }

    /// Whether it is too old to be delivered.
    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires <= now
    }

    /// Properties of a delivery: the expiry interval is what is left of it.
    pub(crate) fn properties_for_delivery(&self, now: Time) -> Option<PublishProperties> {
        let mut properties = PublishProperties::clone(self.properties.as_deref()?);
        if properties.message_expiry_interval.is_some() {
            // Rounded up: a message that waited less than a second keeps its interval.
            let left = self.expires.since(now).as_millis().div_ceil(1000);
            properties.message_expiry_interval = Some(u32::try_from(left).unwrap_or(u32::MAX));
        }
        Some(properties)
    }
}

/// The properties of a packet as functions of rules see them.
pub(crate) fn rule_properties(properties: &PublishProperties) -> Properties<'_> {
    Properties {
        content_type: properties.content_type.as_deref(),
        response_topic: properties.response_topic.as_deref(),
        correlation_data: properties.correlation_data.as_deref(),
        is_utf8: properties.payload_format_indicator == Some(1),
        user: &properties.user_properties,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_expiry_interval_shrinks_from_its_start_and_not_from_read_to_read() {
        let properties = PublishProperties {
            message_expiry_interval: Some(10),
            ..PublishProperties::default()
        };
        let start = Time::from_millis(1_000);
        let message = Publication::new(
            "t",
            &Bytes::new(),
            QoS::AtMostOnce,
            true,
            Some(&properties),
            start,
        );
        for (after, left) in [(0, 10), (3, 7), (4, 6), (4, 6)] {
            let now = start + Duration::from_secs(after);
            let delivered = message.properties_for_delivery(now).unwrap();
            assert_eq!(delivered.message_expiry_interval, Some(left));
        }
        assert!(!message.is_expired(start + Duration::from_millis(9_999)));
        assert!(message.is_expired(start + Duration::from_secs(10)));
    }

    #[test]
    fn small_payloads_are_copied_and_large_ones_shared() {
        for (len, shared) in [(4095, false), (4096, true)] {
            let payload = Bytes::from(vec![1; len]);
            let kept =
                Publication::new("t", &payload, QoS::AtMostOnce, false, None, Time::ZERO).payload;
            assert_eq!(kept.as_ptr() == payload.as_ptr(), shared);
        }
    }
}
