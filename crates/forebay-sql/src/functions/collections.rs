//! Functions of collections and of missing values.

use super::{Function, built};
use crate::eval::{EvalError, Evaluation, Walk};
use crate::number::Rounding;
use crate::program::Node;
use crate::value::{Range, Text, Value, ValueType};

pub(super) const FUNCTIONS: &[Function] = &[
    built("get", 2, 2, get),
    built(WITH_DEFAULT, 1, 2, get_or_default).since_2016(),
    built("isnull", 1, 1, isnull).gives(ValueType::Boolean),
    built("isundefined", 1, 1, isundefined)
        .gives(ValueType::Boolean)
        .since_2016(),
    built("nanvl", 2, 2, nanvl),
    built("transform", 3, 3, transform)
        .gives(ValueType::Array)
        .since_2016(),
];

/// The function whose second argument is a default value.
pub(crate) const WITH_DEFAULT: &str = "get_or_default";

/// Functions that a default value must not call.
pub(crate) const FORBIDDEN_IN_DEFAULT: [&str; 4] = [
    "get_secret",
    "get_dynamodb",
    "aws_lambda",
    "get_thing_shadow",
];

/// Bytes of JSON that `transform` may make (AWS IoT developer guide, function transform).
const TRANSFORM_BYTES_MAX: usize = 128 * 1024;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

/// `get(array, index)`, `get(string, index)`, `get(object, name)`.
fn get<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let container = evaluation.argument(arguments, 0)?;
    let container = evaluation.read(container);
    let key = evaluation.argument(arguments, 1)?;
    if evaluation.is_object(container) {
        let Value::Text(_) = evaluation.read(key) else {
            return Ok(Value::Undefined);
        };
        let name = evaluation.text(key)?.unwrap_or_default();
        return evaluation.member(container, name);
    }
    let index = evaluation
        .number(key)
        .and_then(|number| usize::try_from(number.saturating(Rounding::Truncate)).ok());
    let Some(index) = index else {
        return Ok(Value::Undefined);
    };
    if let Value::Text(_) = container {
        let text = evaluation.text(container)?.unwrap_or_default();
        let character = text.char_indices().nth(index);
        let found = character.and_then(|(at, c)| text.get(at..at + c.len_utf8()));
        return Ok(found.map_or(Value::Undefined, |text| Value::Text(Text::Borrowed(text))));
    }
    evaluation.element_at(container, index)
}

/// `get_or_default(x, d)`: `x` unless it is Undefined or Null or failed, else `d`.
fn get_or_default<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let start = evaluation.position();
    let value = match evaluation.argument(arguments, 0) {
        // What fails is replaced like what is not there.
        Err(EvalError::Function(..)) => {
            evaluation.recover(start);
            Value::Undefined
        }
        value => value?,
    };
    match evaluation.read(value) {
        Value::Undefined | Value::Null => evaluation.argument(arguments, 1),
        _ => Ok(value),
    }
}

/// `isNull(x)`
fn isnull<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let value = evaluation.argument(arguments, 0)?;
    Ok(Value::Bool(matches!(evaluation.read(value), Value::Null)))
}

/// `isUndefined(x)`
fn isundefined<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let value = evaluation.argument(arguments, 0)?;
    Ok(Value::Bool(matches!(
        evaluation.read(value),
        Value::Undefined
    )))
}

/// `nanvl(a, b)`: `b` when `a` is Undefined or Null, else `a`.
fn nanvl<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let first = evaluation.argument(arguments, 0)?;
    let second = evaluation.argument(arguments, 1)?;
    Ok(match evaluation.read(first) {
        Value::Undefined | Value::Null => second,
        _ => first,
    })
}

/// `transform("enrichArray", object, array)`: the array's objects, each with the members of the object.
fn transform<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let is_known = matches!(arguments.first(), Some(Node::Text(mode)) if **mode == *"enrichArray");
    let object = evaluation.argument(arguments, 1)?;
    let array = evaluation.argument(arguments, 2)?;
    let Some(added) = evaluation.push_distinct(object) else {
        return Ok(Value::Undefined);
    };
    let enriched = match evaluation.walk(array) {
        Some(walk) if is_known => enrich(evaluation, added, walk),
        _ => Ok(Value::Undefined),
    };
    evaluation.pop_distinct(added.start);
    enriched
}

fn enrich<'a>(evaluation: &mut Evaluation<'a>, added: Range, mut walk: Walk) -> Evaluated<'a> {
    let waiting = evaluation.pending();
    let mut all_objects = true;
    while let Some(element) = evaluation.next(&mut walk) {
        let Some(members) = evaluation.push_distinct(element) else {
            all_objects = false;
            break;
        };
        let (own, others) = (members.end - members.start, added.end - added.start);
        evaluation.step(1 + (own + 1) * (others + 1))?;
        let start = evaluation.pending();
        for place in members.indexes() {
            if let Some((name, value)) = evaluation.distinct(place) {
                evaluation.push_pending(name, value);
            }
        }
        for place in added.indexes() {
            if let Some((name, value)) = evaluation.distinct(place) {
                // The object's value wins and stands where the element had its own.
                evaluation.set_pending(start, name, value);
            }
        }
        evaluation.pop_distinct(members.start);
        let enriched = evaluation.take_pending_members(start);
        evaluation.push_pending("", enriched);
    }
    let enriched = evaluation.take_pending(waiting);
    if !all_objects || evaluation.json_bytes(enriched)? > TRANSFORM_BYTES_MAX {
        return Ok(Value::Undefined);
    }
    Ok(enriched)
}
