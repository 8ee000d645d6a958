//! The operations on messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay_core::QoS;
use serde_json::{Map, Value, json};

use super::control::{after_token, page_size, token_after};
use super::operation::Data;
use super::{AwsError, AwsRequest, publish};
use crate::messages::{MessagePort, PublishFault, RetainedMessage, RetainedSummary};
use crate::state::AdminState;

/// Retained messages on one page.
const PAGE_MAX: usize = 200;

/// Carries out one operation.
pub(super) async fn perform(
    state: &AdminState,
    request: &AwsRequest,
    operation: Data,
) -> Result<Option<Value>, AwsError> {
    let messages = state
        .messages
        .get()
        .ok_or_else(|| AwsError::service_unavailable("messages are not served yet"))?;
    match operation {
        Data::Publish(topic) => {
            let publish = publish::read(request, topic)?;
            messages.publish(publish).await.map_err(refused)?;
            Ok(Some(
                json!({ "message": "OK", "traceId": state.new_uuid() }),
            ))
        }
        Data::GetRetained(topic) => match messages.retained(&topic) {
            Some(message) => Ok(Some(retained(&message))),
            None => Err(AwsError::resource_not_found(format!(
                "there is no retained message on {topic:?}"
            ))),
        },
        Data::ListRetained => list(messages, request).map(Some),
    }
}

fn refused(fault: PublishFault) -> AwsError {
    let message = fault.to_string();
    match fault {
        PublishFault::Invalid(_) => AwsError::invalid(message),
        PublishFault::NotAllowed(_) => AwsError::unauthorized(message),
        PublishFault::TooLarge { .. } => AwsError {
            message,
            ..AwsError::too_large()
        },
        PublishFault::NoRoom(_) => AwsError::throttling(message),
        PublishFault::Failed(_) => AwsError::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailureException",
            message,
        ),
        PublishFault::Stopping => AwsError::service_unavailable(message),
    }
}

fn level(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}

fn retained(message: &RetainedMessage) -> Value {
    let summary = &message.summary;
    let properties = message.user_properties.iter().map(|(name, value)| {
        let pair = Map::from_iter([(name.clone(), Value::from(value.as_str()))]);
        Value::Object(pair)
    });
    let properties: Vec<Value> = properties.collect();
    let properties = match properties.is_empty() {
        true => Value::Null,
        false => STANDARD.encode(Value::from(properties).to_string()).into(),
    };
    json!({
        "topic": summary.topic,
        "payload": STANDARD.encode(&message.payload),
        "qos": level(summary.qos),
        "lastModifiedTime": summary.modified_ms,
        "userProperties": properties,
    })
}

fn list(messages: &dyn MessagePort, request: &AwsRequest) -> Result<Value, AwsError> {
    let (mut max, mut after) = (PAGE_MAX, None);
    for (name, value) in request.query()? {
        match name.as_str() {
            "maxResults" => max = page_size(&value, PAGE_MAX)?,
            "nextToken" => after = Some(after_token(&value)?),
            _ => {}
        }
    }
    // One more than wanted tells whether there is another page.
    let mut found = messages.retained_after(after.as_deref(), max + 1);
    let more = found.len() > max;
    found.truncate(max);
    let mut body = json!({ "retainedTopics": found.iter().map(listed).collect::<Vec<_>>() });
    if let Some(last) = found.last().filter(|_| more) {
        body["nextToken"] = token_after(&last.topic).into();
    }
    Ok(body)
}

fn listed(message: &RetainedSummary) -> Value {
    json!({
        "topic": message.topic,
        "payloadSize": message.payload_bytes,
        "qos": level(message.qos),
        "lastModifiedTime": message.modified_ms,
    })
}
