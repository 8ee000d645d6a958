//! Reading a Publish request: parameters in the query, MQTT 5 properties in headers, the payload as it is.

use std::fmt;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay_core::QoS;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{AwsError, AwsRequest};
use crate::messages::HttpPublish;

/// The longest life of a message, in seconds: seven days.
const EXPIRY_MAX: u32 = 604_800;

/// Everything but the topic's own form, which the broker judges as it judges every topic.
pub(super) fn read(request: &AwsRequest, topic: String) -> Result<HttpPublish, AwsError> {
    if topic.contains(['+', '#']) {
        return Err(AwsError::invalid(
            "Topic must not contain wildcard characters",
        ));
    }
    let mut publish = HttpPublish {
        topic,
        payload: request.body.clone(),
        qos: QoS::AtMostOnce,
        retain: false,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        is_utf8: None,
        expiry_seconds: None,
        user_properties: Vec::new(),
        source: request.peer.to_canonical(),
    };
    for (name, value) in request.query()? {
        parameter(&mut publish, &name, value)?;
    }
    if let Some(text) = request.header("x-amz-mqtt5-user-properties")? {
        publish.user_properties = user_properties(text)?;
    }
    if let Some(text) = request.header("x-amz-mqtt5-payload-format-indicator")? {
        publish.is_utf8 = Some(match text {
            "UTF8_DATA" => true,
            "UNSPECIFIED_BYTES" => false,
            other => {
                return Err(AwsError::invalid(format!(
                    "payloadFormatIndicator is neither UNSPECIFIED_BYTES nor UTF8_DATA: {other:?}"
                )));
            }
        });
    }
    if let Some(text) = request.header("x-amz-mqtt5-correlation-data")? {
        publish.correlation_data = Some(base64("correlationData", text)?);
    }
    if publish.retain && publish.topic.starts_with('$') {
        return Err(AwsError::invalid(
            "a message on a topic that begins with $ cannot be retained",
        ));
    }
    Ok(publish)
}

fn parameter(publish: &mut HttpPublish, name: &str, value: String) -> Result<(), AwsError> {
    match name {
        "qos" => {
            publish.qos = match value.as_str() {
                "0" => QoS::AtMostOnce,
                "1" => QoS::AtLeastOnce,
                _ => return Err(AwsError::invalid(format!("qos is not 0 or 1: {value:?}"))),
            };
        }
        "retain" => {
            publish.retain = value.parse().map_err(|_| {
                AwsError::invalid(format!("retain is not true or false: {value:?}"))
            })?;
        }
        "contentType" => publish.content_type = Some(value),
        "responseTopic" => {
            if value.is_empty() || value.contains(['+', '#']) {
                return Err(AwsError::invalid(
                    "responseTopic must be a topic without wildcard characters",
                ));
            }
            publish.response_topic = Some(value);
        }
        "messageExpiry" => {
            let seconds = value.parse::<u64>().map_err(|_| {
                AwsError::invalid(format!(
                    "messageExpiry is not a number of seconds: {value:?}"
                ))
            })?;
            publish.expiry_seconds = match u32::try_from(seconds) {
                Ok(seconds @ 1..=EXPIRY_MAX) => Some(seconds),
                // No expiry is what a message has that says nothing.
                Ok(0) => None,
                _ => {
                    return Err(AwsError::invalid(format!(
                        "messageExpiry is over {EXPIRY_MAX} seconds: {value}"
                    )));
                }
            };
        }
        _ => {}
    }
    Ok(())
}

fn base64(what: &str, text: &str) -> Result<Bytes, AwsError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| AwsError::invalid(format!("{what} is not base64")))?;
    Ok(bytes.into())
}

/// Base64 of a JSON array of objects. botocore writes the parameter as JSON itself, so a caller who gives it the
/// documented JSON text sends base64 of a JSON string that holds JSON.
fn user_properties(text: &str) -> Result<Vec<(String, String)>, AwsError> {
    let bytes = base64("userProperties", text)?;
    let objects = match serde_json::from_slice::<String>(&bytes) {
        Ok(inner) => serde_json::from_str::<Vec<Members>>(&inner),
        Err(_) => serde_json::from_slice(&bytes),
    };
    let objects = objects.map_err(|_| {
        AwsError::invalid("userProperties is not a JSON array of objects with text values")
    })?;
    Ok(objects.into_iter().flat_map(|members| members.0).collect())
}

/// The members of an object in the order in which they are written, repeated names included: user properties have an
/// order and may repeat.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with text values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn user_properties_come_as_an_array_and_as_a_text_that_holds_one() {
        let array = r#"[{"deviceName": "é/1"}, {"b": "1", "a": "", "b": "2"}]"#;
        let expected = [("deviceName", "é/1"), ("b", "1"), ("a", ""), ("b", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let quoted = Value::from(array).to_string();
        for json in [array, &quoted] {
            assert_eq!(user_properties(&STANDARD.encode(json)).unwrap(), expected);
        }
        for wrong in ["{}", "[1]", r#"[{"a": 1}]"#, "\"x\"", "[", ""] {
            assert!(user_properties(&STANDARD.encode(wrong)).is_err(), "{wrong}");
        }
        assert!(user_properties("***").is_err());
    }
}
