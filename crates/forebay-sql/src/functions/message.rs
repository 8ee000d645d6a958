//! Functions of the message and its publisher.

use std::fmt::Write as _;

use super::encodings::base64;
use super::{Evaluate, Function, NUMBER};
use crate::eval::{EvalError, Evaluation};
use crate::number::{Number, Rounding};
use crate::program::Node;
use crate::value::{Text, Value, ValueType};

const fn built(name: &'static str, fewest: usize, most: usize, evaluate: Evaluate) -> Function {
    super::built(name, fewest, most, evaluate)
        .gives(ValueType::String)
        .impure()
}

pub(super) const FUNCTIONS: &[Function] = &[
    built("accountid", 0, 0, accountid),
    built("clientid", 0, 0, clientid),
    built("get_mqtt_property", 1, 1, get_mqtt_property),
    built("get_user_properties", 0, 1, get_user_properties).gives(ValueType::Array),
    built("newuuid", 0, 0, newuuid),
    built("principal", 0, 0, principal),
    built("sourceip", 0, 0, sourceip).since_2016(),
    built("sql_version", 0, 0, sql_version),
    built("timestamp", 0, 0, timestamp).gives(ValueType::Number),
    built("topic", 0, 1, topic).takes(&[NUMBER]),
    built("traceid", 0, 0, traceid),
];

type Evaluated<'a> = Result<Value<'a>, EvalError>;

fn borrowed(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Undefined, |text| Value::Text(Text::Borrowed(text)))
}

/// `accountid()`: the configured account id, else twelve zeros.
fn accountid<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    let configured = evaluation.environment().account_id.as_deref();
    let account = evaluation.context().origin.account_id.or(configured);
    Ok(borrowed(Some(account.unwrap_or("000000000000"))))
}

/// `clientid()`: the MQTT client id, `n/a` when the message did not come over MQTT.
fn clientid<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    Ok(borrowed(Some(
        evaluation.context().client_id.unwrap_or("n/a"),
    )))
}

/// `get_mqtt_property(name)`: a property of the PUBLISH packet; unknown names are Undefined.
fn get_mqtt_property<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let name = evaluation.argument(arguments, 0)?;
    let Value::Text(name) = evaluation.read(name) else {
        return Ok(Value::Undefined);
    };
    let properties = evaluation.context().origin.properties;
    Ok(match evaluation.bytes(name) {
        b"content_type" => borrowed(properties.content_type),
        b"response_topic" => borrowed(properties.response_topic),
        b"format_indicator" if properties.is_utf8 => borrowed(Some("UTF8_DATA")),
        b"format_indicator" => borrowed(Some("UNSPECIFIED_BYTES")),
        b"correlation_data" => match properties.correlation_data {
            Some(data) => base64(evaluation, data)?,
            None => Value::Undefined,
        },
        _ => Value::Undefined,
    })
}

/// `get_user_properties()`: all of them, each as an object of one member; with a name: the values of that name. None is
/// Undefined.
fn get_user_properties<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Evaluated<'a> {
    let properties = evaluation.context().origin.properties.user;
    let wanted = match arguments.first() {
        None => None,
        Some(name) => {
            let name = evaluation.evaluate(name)?;
            let Value::Text(_) = evaluation.read(name) else {
                return Ok(Value::Undefined);
            };
            evaluation.text(name)?
        }
    };
    evaluation.step(properties.len())?;
    let waiting = evaluation.pending();
    for (name, value) in properties {
        let value = borrowed(Some(value));
        match wanted {
            None => {
                let member = evaluation.pending();
                evaluation.push_pending(name, value);
                let object = evaluation.take_pending_members(member);
                evaluation.push_pending("", object);
            }
            Some(wanted) if wanted == name => evaluation.push_pending("", value),
            Some(_) => {}
        }
    }
    if evaluation.pending() == waiting {
        return Ok(Value::Undefined);
    }
    Ok(evaluation.take_pending(waiting))
}

/// `newuuid()`: a random UUID.
fn newuuid<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    let bits = evaluation.entropy().uuid_bits();
    uuid(evaluation, bits)
}

/// `principal()`: who the publisher proved to be; Undefined for an anonymous one.
fn principal<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    Ok(borrowed(evaluation.context().origin.principal))
}

/// `sourceip()`: the publisher's address.
fn sourceip<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    match evaluation.context().origin.source_ip {
        Some(address) => {
            let mut text = evaluation.builder();
            // Writing to memory does not fail.
            write!(text, "{address}").ok();
            evaluation.keep(text)
        }
        None => Ok(Value::Undefined),
    }
}

/// `sql_version()`: the version of the rule.
fn sql_version<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    Ok(borrowed(Some(evaluation.version().as_str())))
}

/// `timestamp()`: milliseconds since the Unix epoch, one value for the whole message.
fn timestamp<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    Ok(Number::from(evaluation.context().timestamp_ms).into())
}

/// `topic()`: the whole topic; `topic(n)`: its n-th level, counted from 1.
fn topic<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let topic = evaluation.context().topic;
    let Some(level) = arguments.first() else {
        return Ok(borrowed(Some(topic)));
    };
    let level = evaluation.evaluate(level)?;
    let wanted = evaluation
        .number(level)
        .and_then(|number| usize::try_from(number.saturating(Rounding::HalfUp)).ok());
    Ok(borrowed(wanted.and_then(|level| {
        topic_level(topic, level.checked_sub(1)?)
    })))
}

/// The level of a topic at this place, counted from 0. Byte by byte, because levels are short.
fn topic_level(topic: &str, place: usize) -> Option<&str> {
    let is_slash = |byte: &u8| *byte == b'/';
    let mut start = 0;
    for _ in 0..place {
        start += topic.as_bytes().get(start..)?.iter().position(is_slash)? + 1;
    }
    let rest = topic.get(start..)?;
    let len = rest.bytes().position(|byte| is_slash(&byte));
    rest.get(..len.unwrap_or(rest.len()))
}

/// `traceid()`: the message's random UUID; Undefined when it did not come over MQTT.
fn traceid<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    if evaluation.context().client_id.is_none() {
        return Ok(Value::Undefined);
    }
    let bits = evaluation.trace_id();
    uuid(evaluation, bits)
}

fn uuid<'a>(evaluation: &mut Evaluation<'a>, bits: u128) -> Evaluated<'a> {
    let mut text = evaluation.builder();
    for place in 0..32 {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        let digit = (bits >> (124 - 4 * place)) & 0xf;
        let digit = u32::try_from(digit)
            .ok()
            .and_then(|digit| char::from_digit(digit, 16));
        text.push(digit.unwrap_or('0'));
    }
    evaluation.keep(text)
}
