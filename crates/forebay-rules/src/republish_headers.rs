//! The MQTT 5 properties of a republished message (AWS IoT developer guide, "Republish"): what the texts of an action's
//! `headers` mean.

use bytes::Bytes;
use forebay_core::limits::MQTT_STRING_BYTES_MAX;
use forebay_core::topic::{TopicError, TopicLimits, validate_name};

use crate::evaluated::RepublishProperties;
use crate::fields::{Cause, Fault, Fields, Value};

/// Seconds that a message may live: a week.
const EXPIRY_SECONDS_MAX: u32 = 604_800;
/// Bytes of the names and values of the user properties of one message.
const USER_PROPERTIES_BYTES_MAX: usize = 8 * 1024;

/// The headers, compiled.
#[derive(Debug)]
pub(crate) struct CompiledHeaders {
    pub(crate) payload_format_indicator: Option<Value<u8>>,
    pub(crate) content_type: Option<Value<String>>,
    pub(crate) response_topic: Option<Value<String>>,
    pub(crate) correlation_data: Option<Value<Bytes>>,
    pub(crate) message_expiry: Option<Value<u32>>,
    pub(crate) user_properties: Vec<(Value<String>, Value<String>)>,
    pub(crate) topic_limits: TopicLimits,
}

/// Why a text is no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("neither UNSPECIFIED_BYTES nor UTF8_DATA")]
    FormatIndicator,
    #[error("not base64")]
    Base64,
    #[error("not a whole number of seconds from 1 to {EXPIRY_SECONDS_MAX}")]
    Expiry,
    #[error("not a topic: {0}")]
    Topic(TopicError),
    #[error("too long: {bytes} > {MQTT_STRING_BYTES_MAX} bytes")]
    TooLong { bytes: usize },
    #[error("contains the null character")]
    Null,
    #[error("names and values too long: {bytes} > {USER_PROPERTIES_BYTES_MAX} bytes")]
    UserProperties { bytes: usize },
}

/// The payload format indicator of MQTT 5.0, 3.3.2.3.2.
pub(crate) fn format_indicator(text: &str) -> Result<u8, HeaderError> {
    match text {
        "UNSPECIFIED_BYTES" => Ok(0),
        "UTF8_DATA" => Ok(1),
        _ => Err(HeaderError::FormatIndicator),
    }
}

/// A text that a packet can carry.
pub(crate) fn mqtt_text(text: &str) -> Result<String, HeaderError> {
    within_packet(text.len())?;
    if text.contains('\0') {
        return Err(HeaderError::Null);
    }
    Ok(text.to_owned())
}

pub(crate) fn response_topic(text: &str, limits: TopicLimits) -> Result<String, HeaderError> {
    match validate_name(text, limits) {
        Ok(()) => mqtt_text(text),
        Err(reason) => Err(HeaderError::Topic(reason)),
    }
}

pub(crate) fn correlation_data(text: &str) -> Result<Bytes, HeaderError> {
    let data = base64_simd::STANDARD
        .decode_to_vec(text)
        .map_err(|_| HeaderError::Base64)?;
    within_packet(data.len())?;
    Ok(data.into())
}

pub(crate) fn expiry(text: &str) -> Result<u32, HeaderError> {
    let is_whole = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_whole);
    seconds
        .filter(|seconds| (1..=EXPIRY_SECONDS_MAX).contains(seconds))
        .ok_or(HeaderError::Expiry)
}

fn within_packet(bytes: usize) -> Result<(), HeaderError> {
    if bytes > MQTT_STRING_BYTES_MAX {
        return Err(HeaderError::TooLong { bytes });
    }
    Ok(())
}

impl CompiledHeaders {
    /// The properties of the message that is republished.
    pub(crate) fn properties<'a>(
        &'a self,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<RepublishProperties, Fault<'a>> {
        let limits = self.topic_limits;
        let mut properties = RepublishProperties::default();
        if let Some(value) = &self.payload_format_indicator {
            let name = "headers.payloadFormatIndicator";
            properties.payload_format_indicator =
                Some(fields.value(name, value, format_indicator)?);
        }
        if let Some(value) = &self.content_type {
            properties.content_type =
                Some(fields.value("headers.contentType", value, mqtt_text)?);
        }
        if let Some(value) = &self.response_topic {
            let parse = |text: &str| response_topic(text, limits);
            properties.response_topic =
                Some(fields.value("headers.responseTopic", value, parse)?);
        }
        if let Some(value) = &self.correlation_data {
            let name = "headers.correlationData";
            properties.correlation_data = Some(fields.value(name, value, correlation_data)?);
        }
        if let Some(value) = &self.message_expiry {
            properties.message_expiry =
                Some(fields.value("headers.messageExpiry", value, expiry)?);
        }
        properties.user_properties = self.user_properties(fields)?;
        Ok(properties)
    }

    fn user_properties<'a>(
        &'a self,
        fields: &mut Fields<'_, 'a>,
    ) -> Result<Vec<(String, String)>, Fault<'a>> {
        let field = "headers.userProperties";
        let mut bytes = 0;
        let mut pairs = Vec::with_capacity(self.user_properties.len());
        for (name, value) in &self.user_properties {
            let name = fields.value(field, name, mqtt_text)?;
            let value = fields.value(field, value, mqtt_text)?;
            bytes += name.len() + value.len();
            if bytes > USER_PROPERTIES_BYTES_MAX {
                let cause = Cause::Written(Box::new(HeaderError::UserProperties { bytes }.into()));
                return Err(Fault { field, cause });
            }
            pairs.push((name, value));
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_takes_what_it_means_and_nothing_else() {
        assert_eq!(format_indicator("UTF8_DATA"), Ok(1));
        assert_eq!(format_indicator("UNSPECIFIED_BYTES"), Ok(0));
        for text in ["", "1", "utf8_data"] {
            assert_eq!(format_indicator(text), Err(HeaderError::FormatIndicator));
        }
        assert_eq!(expiry("1"), Ok(1));
        assert_eq!(expiry("604800"), Ok(604_800));
        for text in ["", "0", "604801", "+5", "1.5", " 5", "4294967297", "x"] {
            assert_eq!(expiry(text), Err(HeaderError::Expiry), "{text:?}");
        }
        assert_eq!(correlation_data("aGk="), Ok(Bytes::from_static(b"hi")));
        assert_eq!(correlation_data("aGk"), Err(HeaderError::Base64));
        assert_eq!(mqtt_text("a\0"), Err(HeaderError::Null));
        let long = "x".repeat(MQTT_STRING_BYTES_MAX + 1);
        assert_eq!(
            mqtt_text(&long),
            Err(HeaderError::TooLong { bytes: long.len() })
        );
    }

    #[test]
    fn a_response_topic_has_no_wildcard() {
        let limits = TopicLimits {
            bytes_max: 10,
            levels_max: 3,
        };
        assert_eq!(response_topic("a/b", limits).as_deref(), Ok("a/b"));
        for text in ["", "a/+", "#", "a/b/c/d"] {
            assert!(matches!(
                response_topic(text, limits),
                Err(HeaderError::Topic(_))
            ));
        }
    }
}
