//! The document that an error action gets as its payload (AWS IoT developer guide, "Error handling (error action)").
//! AWS IoT joins the failures of a rule and a message in one document; here each has its own, because an action may fail
//! long after its message was acknowledged.

use bytes::Bytes;

use crate::Failure;

/// What stands where something has no name: a client that did not come over MQTT, an address that is not known.
const NOT_AVAILABLE: &str = "N/A";

/// The message and the rule that a failure belongs to.
#[derive(Debug, Clone, Copy)]
pub struct ErrorDocumentContext<'a> {
    /// The rule's name.
    pub rule_name: &'a str,
    /// The topic as it was received.
    pub topic: &'a str,
    /// The message's random UUID.
    pub trace_id: u128,
    /// Client id of the publisher; empty when it did not come over MQTT.
    pub client_id: &'a str,
    /// Address of the publisher; empty when it is not known.
    pub source_ip: &'a str,
    /// The payload that was published.
    pub payload: &'a [u8],
}

/// Writes the document, as JSON whatever the texts hold.
pub fn error_document(context: &ErrorDocumentContext<'_>, failure: &Failure) -> Bytes {
    // The texts and their quotes; an escape makes the buffer grow.
    let mut out = Vec::with_capacity(context.payload.len() / 3 * 4 + 512 + failure.message.len());
    let or_none = |text| match text {
        "" => NOT_AVAILABLE,
        text => text,
    };
    member(&mut out, "{\"ruleName\":", context.rule_name);
    member(&mut out, ",\"topic\":", context.topic);
    let trace_id = uuid(context.trace_id);
    member(&mut out, ",\"cloudwatchTraceId\":", &trace_id);
    member(&mut out, ",\"clientId\":", or_none(context.client_id));
    member(&mut out, ",\"sourceIp\":", or_none(context.source_ip));
    out.extend_from_slice(b",\"base64OriginalPayload\":\"");
    base64_simd::STANDARD.encode_append(context.payload, &mut out);
    out.push(b'"');
    member(
        &mut out,
        ",\"failures\":[{\"failedAction\":",
        &failure.action,
    );
    member(&mut out, ",\"failedResource\":", &failure.resource);
    member(&mut out, ",\"errorMessage\":", &failure.message);
    if failure.action == Failure::KINESIS {
        match &failure.code {
            Some(code) => member(&mut out, ",\"errorCode\":", code),
            None => out.extend_from_slice(b",\"errorCode\":null"),
        }
        let rest = format!(
            ",\"attempts\":{},\"ambiguous\":{}",
            failure.attempts, failure.ambiguous
        );
        out.extend_from_slice(rest.as_bytes());
    }
    out.extend_from_slice(b"}]}");
    out.into()
}

fn member(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(name.as_bytes());
    serde_json::to_writer(out, text).expect("a text can be written to memory");
}

/// The usual form of a UUID.
fn uuid(bits: u128) -> String {
    forebay_core::PartitionKey::from_uuid_bits(bits)
        .as_str()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn failure(action: &'static str) -> Failure {
        Failure {
            action: action.into(),
            resource: "my_stream".to_owned(),
            message: "it is \"gone\"\n".to_owned(),
            code: Some("ResourceNotFoundException".to_owned()),
            attempts: 3,
            ambiguous: true,
        }
    }

    fn context() -> ErrorDocumentContext<'static> {
        ErrorDocumentContext {
            rule_name: "r1",
            topic: "a/b",
            trace_id: 0x7e14_6a2c_95b5_6caf_98b9_50e3_9697_34c7,
            client_id: "dev-1",
            source_ip: "192.0.2.7",
            payload: br#"{"x":1}"#,
        }
    }

    #[test]
    fn the_document_is_that_of_the_developer_guide() {
        let document = error_document(&context(), &failure(Failure::REPUBLISH));
        let expected = r#"{"ruleName":"r1","topic":"a/b","cloudwatchTraceId":"7e146a2c-95b5-6caf-98b9-50e3969734c7","#
            .to_owned()
            + r#""clientId":"dev-1","sourceIp":"192.0.2.7","base64OriginalPayload":"eyJ4IjoxfQ==","failures":["#
            + r#"{"failedAction":"RepublishAction","failedResource":"my_stream","errorMessage":"it is \"gone\"\n"}]}"#;
        assert_eq!(document, expected.as_bytes());
    }

    #[test]
    fn failures_of_kinesis_tell_code_attempts_and_doubt() {
        let document = error_document(&context(), &failure(Failure::KINESIS));
        let document: Value = serde_json::from_slice(&document).expect("JSON");
        let told = &document["failures"][0];
        assert_eq!(told["errorCode"], "ResourceNotFoundException");
        assert_eq!(told["attempts"], 3);
        assert_eq!(told["ambiguous"], true);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let context = ErrorDocumentContext {
            client_id: "",
            source_ip: "",
            ..context()
        };
        let document = error_document(&context, &failure(Failure::RULE_EVALUATION));
        let document: Value = serde_json::from_slice(&document).expect("JSON");
        assert_eq!(document["clientId"], "N/A");
        assert_eq!(document["sourceIp"], "N/A");
    }

    proptest! {
        #[test]
        fn any_texts_come_back_as_they_were(
            texts in proptest::array::uniform6(any::<String>()),
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            trace_id in any::<u128>(),
            attempts in any::<u32>(),
        ) {
            let [rule_name, topic, client_id, resource, message, code] = &texts;
            let context = ErrorDocumentContext {
                rule_name, topic, trace_id, client_id, source_ip: "::1", payload: &payload,
            };
            let failure = Failure {
                action: Failure::KINESIS.into(),
                resource: resource.clone(),
                message: message.clone(),
                code: Some(code.clone()),
                attempts,
                ambiguous: false,
            };
            let document: Value = serde_json::from_slice(&error_document(&context, &failure)).expect("JSON");
            let client_id = if client_id.is_empty() { "N/A" } else { client_id };
            prop_assert_eq!(document, json!({
                "ruleName": rule_name,
                "topic": topic,
                "cloudwatchTraceId": uuid(trace_id),
                "clientId": client_id,
                "sourceIp": "::1",
                "base64OriginalPayload": base64_simd::STANDARD.encode_to_string(&payload),
                "failures": [{
                    "failedAction": "KinesisAction",
                    "failedResource": resource,
                    "errorMessage": message,
                    "errorCode": code,
                    "attempts": attempts,
                    "ambiguous": false,
                }],
            }));
        }
    }
}
