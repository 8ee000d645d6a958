//! Functions of the message and its publisher.

use crate::eval::{EvalError, Evaluation};
use crate::program::Node;
use crate::value::{Text, Value};

/// `clientid()`: the MQTT client id, `n/a` when the message did not come over MQTT.
pub(super) fn clientid<'a>(
    evaluation: &mut Evaluation<'a>,
    _: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    Ok(Value::Text(Text::Borrowed(
        evaluation.context().client_id.unwrap_or("n/a"),
    )))
}

/// `timestamp()`: milliseconds since the Unix epoch, one value for the whole message.
pub(super) fn timestamp<'a>(
    evaluation: &mut Evaluation<'a>,
    _: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    Ok(Value::Number(evaluation.context().timestamp_ms.into()))
}

/// `topic()`: the whole topic; `topic(n)`: its n-th level, counted from 1.
pub(super) fn topic<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    let topic = evaluation.context().topic;
    let Some(level) = arguments.first() else {
        return Ok(Value::Text(Text::Borrowed(topic)));
    };
    let level = evaluation.evaluate(level)?;
    let wanted = evaluation
        .number(level)
        .and_then(|number| usize::try_from(number.rounded_half_up()).ok());
    Ok(
        match wanted.and_then(|level| topic.split('/').nth(level.checked_sub(1)?)) {
            Some(level) => Value::Text(Text::Borrowed(level)),
            None => Value::Undefined,
        },
    )
}
