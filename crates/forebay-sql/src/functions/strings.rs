//! Functions of strings. Any value that has a string form counts as one; Null and Undefined give Undefined.

use super::{ANY, Evaluate, Function, NUMBER, TEXT};
use crate::eval::{EvalError, Evaluation};
use crate::number::{Number, Rounding};
use crate::program::Node;
use crate::value::{Text, Value, ValueType};

/// A function that makes a string of strings.
const fn built(name: &'static str, fewest: usize, most: usize, evaluate: Evaluate) -> Function {
    super::built(name, fewest, most, evaluate)
        .takes(&[TEXT])
        .gives(ValueType::String)
}

pub(super) const FUNCTIONS: &[Function] = &[
    built("chr", 1, 1, chr).takes(&[NUMBER]),
    super::built("concat", 0, usize::MAX, concat).takes(&[ANY]),
    built("endswith", 2, 2, |e, a| {
        compare(e, a, |text, other| text.ends_with(other))
    })
    .gives(ValueType::Boolean),
    built("indexof", 2, 2, indexof)
        .gives(ValueType::Number)
        .since_2016(),
    built("length", 1, 1, |e, a| {
        measure(e, a, |text| text.chars().count())
    })
    .gives(ValueType::Number)
    .since_2016(),
    built("lower", 1, 1, lower),
    built("lpad", 2, 2, |e, a| pad(e, a, true)).takes(&[TEXT, NUMBER]),
    built("ltrim", 1, 1, |e, a| {
        trim(e, a, |text| text.trim_start_matches([' ', '\t']))
    }),
    built("numbytes", 1, 1, |e, a| measure(e, a, str::len))
        .gives(ValueType::Number)
        .since_2016(),
    built("replace", 3, 3, replace),
    built("rpad", 2, 2, |e, a| pad(e, a, false)).takes(&[TEXT, NUMBER]),
    built("rtrim", 1, 1, |e, a| {
        trim(e, a, |text| text.trim_end_matches([' ', '\t']))
    }),
    built("startswith", 2, 2, |e, a| {
        compare(e, a, |text, other| text.starts_with(other))
    })
    .gives(ValueType::Boolean),
    built("substring", 2, 3, substring).takes(&[TEXT, NUMBER]),
    built("trim", 1, 1, |e, a| trim(e, a, str::trim)),
    built("upper", 1, 1, upper),
];

/// Spaces that one call of lpad or rpad adds at most.
const PADDING_MAX: i128 = 1000;

type Evaluated<'a> = Result<Value<'a>, EvalError>;

fn argument<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    place: usize,
) -> Result<Option<&'a str>, EvalError> {
    let value = evaluation.argument(arguments, place)?;
    evaluation.text(value)
}

fn number<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    place: usize,
) -> Result<Option<Number>, EvalError> {
    let value = evaluation.argument(arguments, place)?;
    Ok(evaluation.number(value))
}

fn int<'a>(value: usize) -> Value<'a> {
    Number::from(i64::try_from(value).unwrap_or(i64::MAX)).into()
}

fn compare<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    function: fn(&str, &str) -> bool,
) -> Evaluated<'a> {
    let text = argument(evaluation, arguments, 0)?;
    let other = argument(evaluation, arguments, 1)?;
    Ok(match (text, other) {
        (Some(text), Some(other)) => Value::Bool(function(text, other)),
        _ => Value::Undefined,
    })
}

fn measure<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    function: fn(&str) -> usize,
) -> Evaluated<'a> {
    let text = argument(evaluation, arguments, 0)?;
    Ok(text.map_or(Value::Undefined, |text| int(function(text))))
}

fn lower<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let Some(text) = argument(evaluation, arguments, 0)? else {
        return Ok(Value::Undefined);
    };
    // The one letter that depends on what follows it.
    if text.contains('Σ') {
        return evaluation.made(&text.to_lowercase());
    }
    let mut made = evaluation.builder();
    made.extend(text.chars().flat_map(char::to_lowercase));
    evaluation.keep(made)
}

fn upper<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let Some(text) = argument(evaluation, arguments, 0)? else {
        return Ok(Value::Undefined);
    };
    let mut made = evaluation.builder();
    made.extend(text.chars().flat_map(char::to_uppercase));
    evaluation.keep(made)
}

fn trim<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    function: for<'t> fn(&'t str) -> &'t str,
) -> Evaluated<'a> {
    let text = argument(evaluation, arguments, 0)?;
    Ok(text.map_or(Value::Undefined, |text| {
        Value::Text(Text::Borrowed(function(text)))
    }))
}

/// Adds spaces: as many as the second argument says, not up to that width.
fn pad<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node], before: bool) -> Evaluated<'a> {
    let text = argument(evaluation, arguments, 0)?;
    let spaces = number(evaluation, arguments, 1)?;
    let (Some(text), Some(spaces)) = (text, spaces) else {
        return Ok(Value::Undefined);
    };
    let spaces = spaces.saturating(Rounding::Floor).clamp(0, PADDING_MAX);
    let spaces = usize::try_from(spaces).unwrap_or(0);
    let mut made = evaluation.builder();
    let spaces = std::iter::repeat_n(' ', spaces);
    if before {
        made.extend(spaces);
        made.push_str(text);
    } else {
        made.push_str(text);
        made.extend(spaces);
    }
    evaluation.keep(made)
}

/// `chr(n)`: the ASCII character of this number.
fn chr<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let number = number(evaluation, arguments, 0)?;
    let code = number.and_then(|number| u8::try_from(number.saturating(Rounding::Floor)).ok());
    match code.filter(u8::is_ascii).map(char::from) {
        Some(character) => evaluation.made(character.encode_utf8(&mut [0; 4])),
        None => Ok(Value::Undefined),
    }
}

/// `concat(…)`: nothing is Undefined, one value is itself, values with an array among them are one array, others are
/// joined as strings.
fn concat<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    if let [] | [_] = arguments {
        return evaluation.argument(arguments, 0);
    }
    let waiting = evaluation.pending();
    for argument in arguments {
        let value = evaluation.evaluate(argument)?;
        evaluation.push_pending("", value);
    }
    // The values stand in the arena now, so that none is evaluated twice.
    let values = evaluation.take_pending(waiting);
    let Some(mut walk) = evaluation.walk(values) else {
        return Ok(Value::Undefined);
    };
    let mut has_array = false;
    while let Some(value) = evaluation.next(&mut walk) {
        has_array |= evaluation.is_array(value);
    }
    let Some(mut walk) = evaluation.walk(values) else {
        return Ok(Value::Undefined);
    };
    if !has_array {
        let mut joined = evaluation.builder();
        while let Some(value) = evaluation.next(&mut walk) {
            match evaluation.text(value)? {
                Some(text) => {
                    evaluation.check_output(joined.len() + text.len())?;
                    joined.push_str(text);
                }
                None => return Ok(Value::Undefined),
            }
        }
        return evaluation.keep(joined);
    }
    let waiting = evaluation.pending();
    while let Some(value) = evaluation.next(&mut walk) {
        match evaluation.walk(value) {
            None => evaluation.push_pending("", value),
            Some(mut spliced) => {
                while let Some(element) = evaluation.next(&mut spliced) {
                    evaluation.step(1)?;
                    evaluation.push_pending("", element);
                }
            }
        }
    }
    Ok(evaluation.take_pending(waiting))
}

/// `indexof(s, t)`: the first place of `t` in characters, counted from 0; -1 when there is none.
///
/// Arrays are not looked into, and not taken as their text either.
fn indexof<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let text = evaluation.argument(arguments, 0)?;
    let wanted = evaluation.argument(arguments, 1)?;
    if evaluation.is_array(text) || evaluation.is_array(wanted) {
        return Ok(Value::Undefined);
    }
    let text = evaluation.text(text)?;
    let wanted = evaluation.text(wanted)?;
    let (Some(text), Some(wanted)) = (text, wanted) else {
        return Ok(Value::Undefined);
    };
    Ok(match text.split_once(wanted) {
        Some((before, _)) => int(before.chars().count()),
        None => Number::from(-1).into(),
    })
}

/// `replace(s, t, u)`: every `t` in `s` becomes `u`; an empty `t` is nowhere.
fn replace<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let text = argument(evaluation, arguments, 0)?;
    let wanted = argument(evaluation, arguments, 1)?;
    let by = argument(evaluation, arguments, 2)?;
    let (Some(text), Some(wanted), Some(by)) = (text, wanted, by) else {
        return Ok(Value::Undefined);
    };
    if wanted.is_empty() || !text.contains(wanted) {
        return Ok(Value::Text(Text::Borrowed(text)));
    }
    // The length is checked before the text is made: a short pattern and a long replacement multiply.
    let found = text.matches(wanted).count();
    let bytes = (text.len() - found * wanted.len()).saturating_add(found.saturating_mul(by.len()));
    evaluation.check_output(bytes)?;
    let mut made = evaluation.builder();
    for (place, piece) in text.split(wanted).enumerate() {
        if place > 0 {
            made.push_str(by);
        }
        made.push_str(piece);
    }
    evaluation.keep(made)
}

/// `substring(s, from)`, `substring(s, from, to)`: places in characters, counted from 0, `to` not included.
fn substring<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let text = argument(evaluation, arguments, 0)?;
    let from = number(evaluation, arguments, 1)?;
    let to = match arguments.get(2) {
        Some(_) => number(evaluation, arguments, 2)?,
        None => Some(Number::Int(i128::MAX)),
    };
    let (Some(text), Some(from), Some(to)) = (text, from, to) else {
        return Ok(Value::Undefined);
    };
    let place = |number: Number| {
        usize::try_from(number.saturating(Rounding::Truncate).max(0)).unwrap_or(usize::MAX)
    };
    let byte = |place: usize| {
        let at = text.char_indices().nth(place).map(|(at, _)| at);
        at.unwrap_or(text.len())
    };
    let found = text.get(byte(place(from))..byte(place(to)));
    Ok(Value::Text(Text::Borrowed(found.unwrap_or_default())))
}
