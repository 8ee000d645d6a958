//! `encode` and `decode`.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::{ANY, Function, Refusal, TEXT, built, no_source};
use crate::Code;
use crate::eval::{EvalError, Evaluation};
use crate::program::Node;
use crate::syntax::{Expr, ExprKind};
use crate::value::{Value, ValueType};

pub(super) const FUNCTIONS: &[Function] = &[
    built("decode", 2, 6, decode)
        .since_2016()
        // The bytes of a payload are text that base64 could be, only by way of a member.
        .takes_star(|arguments, place| place == 0 && is_protobuf(arguments))
        .takes(&[TEXT, ANY])
        .prepared(refuse_protobuf),
    built("encode", 2, 2, encode)
        .since_2016()
        .takes_star(|_, place| place == 0)
        .takes(&[TEXT, ANY])
        .gives(ValueType::String),
];

/// True for arguments with the scheme `proto`.
fn is_protobuf(arguments: &[Expr]) -> bool {
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

/// Descriptors of protobuf messages have no source.
fn refuse_protobuf(arguments: &mut [Node]) -> Result<(), Refusal> {
    match arguments {
        [_, Node::Text(scheme), ..] if **scheme == *"proto" => Err(Refusal {
            argument: 1,
            code: Code::Unsupported,
            message: no_source(
                "decode(…, 'proto', …)",
                Some("functions.protobuf_descriptors"),
            ),
        }),
        _ => Ok(()),
    }
}

/// True for the one scheme that both functions have. Like every mode it is a constant.
fn is_base64(arguments: &[Node]) -> bool {
    matches!(arguments, [_, Node::Text(scheme)] if **scheme == *"base64")
}

/// `encode(x, 'base64')`, `encode(*, 'base64')`: the bytes of the payload as they were received, or a string form.
fn encode<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    let encoded = match arguments.first() {
        Some(Node::Payload(path)) if path.is_empty() => {
            let payload = evaluation.context().payload;
            evaluation.check_output(payload.len())?;
            STANDARD.encode(payload)
        }
        _ => {
            let value = evaluation.argument(arguments, 0)?;
            match evaluation.text(value)? {
                Some(text) => STANDARD.encode(text),
                None => return Ok(Value::Undefined),
            }
        }
    };
    if !is_base64(arguments) {
        return Ok(Value::Undefined);
    }
    evaluation.made(&encoded)
}

/// `decode(x, 'base64')`: the JSON value that the bytes are the text of, else the text; Null when there is none.
fn decode<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    let encoded = match arguments.first() {
        Some(Node::Payload(path)) if path.is_empty() => {
            std::str::from_utf8(evaluation.context().payload).ok()
        }
        _ => {
            let value = evaluation.argument(arguments, 0)?;
            evaluation.text(value)?
        }
    };
    let Some(encoded) = encoded.filter(|_| is_base64(arguments)) else {
        return Ok(Value::Undefined);
    };
    let Some(text) = LENIENT
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
    else {
        return Ok(Value::Null);
    };
    let text = evaluation.store(&text)?;
    evaluation.json_value(text)
}
