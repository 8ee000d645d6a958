//! Functions of time.

use super::{Function, NUMBER, TEXT, built};
use crate::datetime;
use crate::eval::{EvalError, Evaluation};
use crate::number::Rounding;
use crate::program::Node;
use crate::value::{Value, ValueType};

pub(super) const FUNCTIONS: &[Function] = &[
    built("parse_time", 2, 3, parse_time)
        .takes(&[TEXT, NUMBER, TEXT])
        .gives(ValueType::String)
        .since_2016(),
    built("time_to_epoch", 2, 2, time_to_epoch)
        .takes(&[TEXT])
        .gives(ValueType::Number)
        .since_2016(),
];

/// Evaluation steps of one conversion.
const STEPS: usize = 16;

/// `parse_time(pattern, ms)`, `parse_time(pattern, ms, zone)`: the text of an instant, in UTC without a zone.
fn parse_time<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    let pattern = evaluation.argument(arguments, 0)?;
    let pattern = evaluation.text(pattern)?;
    let instant = evaluation.argument(arguments, 1)?;
    let instant = evaluation
        .number(instant)
        .and_then(|number| i64::try_from(number.saturating(Rounding::HalfUp)).ok());
    let zone = match arguments.get(2) {
        Some(zone) => {
            let zone = evaluation.evaluate(zone)?;
            evaluation.text(zone)?
        }
        None => Some("UTC"),
    };
    let (Some(pattern), Some(instant), Some(zone)) = (pattern, instant, zone) else {
        return Ok(Value::Undefined);
    };
    evaluation.step(STEPS + pattern.len() / 4)?;
    match datetime::format(pattern, instant, zone) {
        Some(text) => evaluation.made(&text),
        None => Ok(Value::Undefined),
    }
}

/// `time_to_epoch(text, pattern)`: the instant that a text says, in milliseconds since the Unix epoch.
fn time_to_epoch<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    let text = evaluation.argument(arguments, 0)?;
    let text = evaluation.text(text)?;
    let pattern = evaluation.argument(arguments, 1)?;
    let pattern = evaluation.text(pattern)?;
    let (Some(text), Some(pattern)) = (text, pattern) else {
        return Ok(Value::Undefined);
    };
    evaluation.step(STEPS + pattern.len() / 4)?;
    Ok(datetime::parse(text, pattern)
        .map_or(Value::Undefined, |instant| Value::Number(instant.into())))
}
