//! `encode` and `decode`.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::{ANY, Function, TEXT, built};
use crate::eval::{EvalError, Evaluation};
use crate::program::Node;
use crate::service_data::{DataFault, DataRequest};
use crate::syntax::{Expr, ExprKind};
use crate::value::{Text, Value, ValueType};

pub(super) const FUNCTIONS: &[Function] = &[
    built("decode", 2, 6, decode)
        .since_2016()
        // The bytes of a payload are text that base64 could be, only by way of a member.
        .takes_star(|arguments, place| place == 0 && has_protobuf_scheme(arguments))
        .takes(&[TEXT, ANY]),
    built("encode", 2, 2, encode)
        .since_2016()
        .takes_star(|_, place| place == 0)
        .takes(&[TEXT, ANY])
        .gives(ValueType::String),
];

/// True for a call that decodes protobuf.
pub(crate) fn is_protobuf(function: &Function, arguments: &[Expr]) -> bool {
    function.name == "decode" && has_protobuf_scheme(arguments)
}

fn has_protobuf_scheme(arguments: &[Expr]) -> bool {
    let scheme = arguments.get(1).map(|scheme| &scheme.kind);
    matches!(scheme, Some(ExprKind::String(scheme)) if scheme == "proto")
}

/// As lenient as the JVM's decoder: padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// True for the one scheme that both functions have. Like every mode it is a constant.
fn is_base64(arguments: &[Node]) -> bool {
    matches!(arguments, [_, Node::Text(scheme)] if **scheme == *"base64")
}

/// `encode(x, 'base64')`, `encode(*, 'base64')`: the bytes of the payload as they were received, or a string form.
fn encode<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    let data = match arguments.first() {
        Some(Node::Payload(path)) if path.is_empty() => {
            let payload = evaluation.context().payload;
            evaluation.check_output(payload.len())?;
            Some(payload)
        }
        _ => {
            let value = evaluation.argument(arguments, 0)?;
            evaluation.text(value)?.map(str::as_bytes)
        }
    };
    match data.filter(|_| is_base64(arguments)) {
        Some(data) => base64(evaluation, data),
        None => Ok(Value::Undefined),
    }
}

/// Bytes as base64.
pub(super) fn base64<'a>(
    evaluation: &mut Evaluation<'a>,
    data: &[u8],
) -> Result<Value<'a>, EvalError> {
    let Some(len) = base64::encoded_len(data.len(), true) else {
        return Err(EvalError::OutputBytes);
    };
    evaluation.count(len)?;
    let encoded = evaluation.bytes_of(len);
    let written = STANDARD.encode_slice(data, encoded).unwrap_or(0);
    let text = std::str::from_utf8(encoded.get(..written).unwrap_or_default());
    Ok(Value::Text(Text::Borrowed(text.unwrap_or_default())))
}

/// Bytes of an encoded protobuf message, and of its JSON (AWS IoT developer guide, decoding protobuf message payloads).
const PROTOBUF_BYTES_MAX: usize = 128 * 1024;

/// `decode(x, 'proto', bucket, key, file, type)`: the message that the bytes are, by its descriptor.
fn decode_protobuf<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    const NAME: &str = "decode";
    let fault = |reason| EvalError::Function(NAME, DataFault::Contract(reason));
    let [encoded, _, bucket, key, file, message] = arguments else {
        return Ok(Value::Undefined);
    };
    let (Node::Text(bucket), Node::Text(key), Node::Text(file), Node::Text(message)) =
        (bucket, key, file, message)
    else {
        return Err(fault("bucket, key, file and message type are constants"));
    };
    let decoded;
    let bytes = match encoded {
        Node::Payload(path) if path.is_empty() => evaluation.context().payload,
        encoded => {
            let value = evaluation.evaluate(encoded)?;
            let text = evaluation.text(value)?.unwrap_or_default();
            decoded = LENIENT
                .decode(text)
                .map_err(|_| fault("its value is not base64"))?;
            &decoded
        }
    };
    if bytes.len() > PROTOBUF_BYTES_MAX {
        return Err(fault("the encoded message is longer than 128 KiB"));
    }
    evaluation.step(bytes.len() / 8)?;
    let request = DataRequest::Protobuf {
        descriptor: (bucket, key),
        file,
        message,
        bytes,
    };
    let answer = evaluation.ask(NAME, &request)?;
    if answer.len() > PROTOBUF_BYTES_MAX {
        return Err(fault("the decoded message is longer than 128 KiB"));
    }
    evaluation.json_value(answer)
}

/// `decode(x, 'base64')`: the JSON value that the bytes are the text of, else the text; Null when there is none.
fn decode<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    if matches!(arguments.get(1), Some(Node::Text(scheme)) if **scheme == *"proto") {
        return decode_protobuf(evaluation, arguments);
    }
    let value = evaluation.argument(arguments, 0)?;
    let encoded = evaluation.text(value)?;
    let Some(encoded) = encoded.filter(|_| is_base64(arguments)) else {
        return Ok(Value::Undefined);
    };
    let estimate = base64::decoded_len_estimate(encoded.len());
    evaluation.count(estimate)?;
    let decoded = evaluation.bytes_of(estimate);
    let written = LENIENT.decode_slice(encoded, decoded).ok();
    let bytes = written.and_then(|written| decoded.get(..written));
    let Some(text) = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
        return Ok(Value::Null);
    };
    evaluation.json_value(text)
}
