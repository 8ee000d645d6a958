//! Functions of numbers. Strings in the form of a number count as one; anything else gives Undefined.

use super::{Evaluate, Function, NUMBER};
use crate::eval::{EvalError, Evaluation};
use crate::number::{DIGITS_MAX, Number, Rounding};
use crate::program::Node;
use crate::value::{Value, ValueType};

const fn built(name: &'static str, fewest: usize, most: usize, evaluate: Evaluate) -> Function {
    super::built(name, fewest, most, evaluate)
        .takes(&[NUMBER])
        .gives(ValueType::Number)
}

pub(super) const FUNCTIONS: &[Function] = &[
    built("abs", 1, 1, |e, a| {
        exact(e, a, |x| if x.signum() < 0 { x.negate() } else { x })
    }),
    built("acos", 1, 1, |e, a| double(e, a, f64::acos)),
    built("asin", 1, 1, |e, a| double(e, a, f64::asin)),
    built("atan", 1, 1, |e, a| double(e, a, f64::atan)),
    built("atan2", 2, 2, |e, a| doubles(e, a, f64::atan2)),
    built("bitand", 2, 2, |e, a| bits(e, a, |x, y| x & y)),
    built("bitnot", 1, 1, bitnot),
    built("bitor", 2, 2, |e, a| bits(e, a, |x, y| x | y)),
    built("bitxor", 2, 2, |e, a| bits(e, a, |x, y| x ^ y)),
    built("ceil", 1, 1, |e, a| {
        exact(e, a, |x| x.to_integer(Rounding::Ceiling))
    }),
    built("cos", 1, 1, |e, a| double(e, a, f64::cos)),
    built("cosh", 1, 1, |e, a| double(e, a, f64::cosh)),
    built("exp", 1, 1, |e, a| double(e, a, f64::exp)),
    built("floor", 1, 1, |e, a| {
        exact(e, a, |x| x.to_integer(Rounding::Floor))
    }),
    built("ln", 1, 1, |e, a| double(e, a, f64::ln)),
    built("log", 1, 1, |e, a| double(e, a, f64::log10)),
    built("mod", 2, 2, remainder),
    built("power", 2, 2, |e, a| doubles(e, a, f64::powf)),
    built("rand", 0, 0, rand).impure(),
    built("remainder", 2, 2, remainder),
    built("round", 1, 1, |e, a| {
        exact(e, a, |x| x.to_integer(Rounding::HalfUp))
    }),
    built("sign", 1, 1, |e, a| {
        exact(e, a, |x| Number::Int(x.signum()))
    }),
    built("sin", 1, 1, |e, a| double(e, a, f64::sin)),
    built("sinh", 1, 1, |e, a| double(e, a, f64::sinh)),
    built("sqrt", 1, 1, |e, a| double(e, a, f64::sqrt)),
    built("tan", 1, 1, |e, a| double(e, a, f64::tan)),
    built("tanh", 1, 1, |e, a| double(e, a, f64::tanh)),
    built("trunc", 2, 2, trunc),
];

type Evaluated<'a> = Result<Value<'a>, EvalError>;

fn argument<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    place: usize,
) -> Result<Option<Number>, EvalError> {
    let value = evaluation.argument(arguments, place)?;
    Ok(evaluation.number(value))
}

fn result<'a>(number: Option<Number>) -> Evaluated<'a> {
    Ok(number.into())
}

/// A function whose result is exact. A whole Decimal becomes Int again where the version has it so.
fn exact<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    function: fn(Number) -> Number,
) -> Evaluated<'a> {
    let number = argument(evaluation, arguments, 0)?;
    result(number.map(function).map(|number| match number {
        Number::Decimal(value) => Number::from_decimal(value, evaluation.version()),
        int => int,
    }))
}

/// A function with double precision. NaN and infinities are Undefined.
fn double<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    function: fn(f64) -> f64,
) -> Evaluated<'a> {
    let number = argument(evaluation, arguments, 0)?;
    let value = number.and_then(binary64).map(function);
    result(value.and_then(|value| Number::from_f64(value, evaluation.version())))
}

fn doubles<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    function: fn(f64, f64) -> f64,
) -> Evaluated<'a> {
    let x = argument(evaluation, arguments, 0)?;
    let y = argument(evaluation, arguments, 1)?;
    let (Some(x), Some(y)) = (x.and_then(binary64), y.and_then(binary64)) else {
        return Ok(Value::Undefined);
    };
    result(Number::from_f64(function(x, y), evaluation.version()))
}

/// The nearest double; beyond their range there is none.
fn binary64(number: Number) -> Option<f64> {
    Some(number.to_f64()).filter(|value| value.is_finite())
}

/// The Int below a number; a Decimal of more than 34 digits has none.
fn floored(number: Number) -> Option<i128> {
    match number.to_integer(Rounding::Floor) {
        Number::Int(value) => Some(value),
        Number::Decimal(_) => None,
    }
}

fn bits<'a>(
    evaluation: &mut Evaluation<'a>,
    arguments: &'a [Node],
    function: fn(i128, i128) -> i128,
) -> Evaluated<'a> {
    let x = argument(evaluation, arguments, 0)?.and_then(floored);
    let y = argument(evaluation, arguments, 1)?.and_then(floored);
    let (Some(x), Some(y)) = (x, y) else {
        return Ok(Value::Undefined);
    };
    result(Number::from_int(function(x, y)))
}

/// `bitnot(x)`: two's complement.
fn bitnot<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let x = argument(evaluation, arguments, 0)?.and_then(floored);
    result(x.and_then(|x| Number::from_int(!x)))
}

/// `mod(a, b)` and `remainder(a, b)`: as `a % b`.
fn remainder<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let a = argument(evaluation, arguments, 0)?;
    let b = argument(evaluation, arguments, 1)?;
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(Value::Undefined);
    };
    result(a.remainder(b, evaluation.version()))
}

/// `rand()`: a double from 0 to 1.
fn rand<'a>(evaluation: &mut Evaluation<'a>, _: &'a [Node]) -> Evaluated<'a> {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let value = (evaluation.entropy().next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    result(Number::from_f64(value, evaluation.version()))
}

/// `trunc(x, n)`: `x` with at most `n` decimal places.
fn trunc<'a>(evaluation: &mut Evaluation<'a>, arguments: &'a [Node]) -> Evaluated<'a> {
    let number = argument(evaluation, arguments, 0)?;
    let places = argument(evaluation, arguments, 1)?;
    let (Some(number), Some(places)) = (number, places) else {
        return Ok(Value::Undefined);
    };
    // Of two Int it is the first; otherwise the result is a Decimal, also where its value is whole.
    if let (Number::Int(_), Number::Int(_)) = (number, places) {
        return result(Some(number));
    }
    let places = places
        .saturating(Rounding::Floor)
        .clamp(0, DIGITS_MAX.into());
    let places = u32::try_from(places).unwrap_or(DIGITS_MAX);
    let cut = number.truncated(places).decimal();
    result(Some(Number::from_decimal(cut, evaluation.version())))
}
