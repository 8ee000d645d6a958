//! Functions of time.

use super::{Function, NUMBER, Refusal, TEXT, built};
use crate::datetime;
use crate::eval::{EvalError, Evaluation};
use crate::number::{Number, Rounding};
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
        .since_2016()
        .prepared(prepare),
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
    let mut text = evaluation.builder();
    match datetime::format(pattern, instant, zone, &mut text) {
        Some(()) => evaluation.keep(text),
        None => Ok(Value::Undefined),
    }
}

/// Reads a constant pattern once. A bad one makes the call Undefined.
fn prepare(arguments: &mut [Node]) -> Result<(), Refusal> {
    if let [_, pattern @ Node::Text(_)] = arguments
        && let Node::Text(text) = &*pattern
    {
        *pattern = match datetime::Pattern::new(text) {
            Some(read) => Node::Time(Box::new(read)),
            None => Node::Undefined,
        };
    }
    Ok(())
}

/// `time_to_epoch(text, pattern)`: the instant that a text says, in milliseconds since the Unix epoch.
fn time_to_epoch<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
) -> Result<Value<'a>, EvalError> {
    let text = evaluation.argument(arguments, 0)?;
    let text = evaluation.text(text)?;
    let computed;
    let pattern = match arguments.get(1) {
        Some(Node::Time(pattern)) => &**pattern,
        _ => {
            let pattern = evaluation.argument(arguments, 1)?;
            let Some(pattern) = evaluation.text(pattern)? else {
                return Ok(Value::Undefined);
            };
            evaluation.step(pattern.len() / 4)?;
            computed = datetime::Pattern::new(pattern);
            let Some(pattern) = &computed else {
                return Ok(Value::Undefined);
            };
            pattern
        }
    };
    let Some(text) = text else {
        return Ok(Value::Undefined);
    };
    evaluation.step(STEPS)?;
    let instant = pattern.parse(text);
    Ok(instant.map(Number::from).into())
}
