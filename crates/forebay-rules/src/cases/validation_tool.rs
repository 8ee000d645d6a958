//! Cases of AWS's tool for validating IoT rules: one pretty-printed JSON document each
//! (github.com/aws-iot-builder-tools/validation-tool-for-aws-iot-rules).
//!
//! The tool is written in JavaScript. A payload or an output that is not a string is what `JSON.stringify` makes of it:
//! numbers through binary64, members named like array indexes first.

use std::fmt::Write;

use crate::json_text::{Json, Member};

/// What the tool publishes or compares with: a string itself, anything else as `JSON.stringify` writes it.
pub(super) fn text_of(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        other => {
            let mut out = String::new();
            stringify(other, &mut out);
            out
        }
    }
}

fn stringify(value: &Json, out: &mut String) {
    match value {
        Json::Number(text) => out.push_str(&number(text)),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                stringify(&item.value, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (name, value)) in properties(members).into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                stringify(value, out);
            }
            out.push('}');
        }
        Json::Text(text) => string(text, out),
        Json::Null | Json::Bool(_) => out.push_str(&value.to_string()),
    }
}

/// A string with the escapes of JavaScript, which are those of JSON.
fn string(text: &str, out: &mut String) {
    out.push_str(&Json::Text(text.to_owned()).to_string());
}

/// Properties in the order in which JavaScript enumerates them: array indexes by number, then the others as they were
/// first written. A name that occurs twice has its last value.
fn properties(members: &[Member]) -> Vec<(&str, &Json)> {
    let mut distinct: Vec<(&str, &Json)> = Vec::new();
    for member in members {
        match distinct.iter_mut().find(|(name, _)| *name == member.name) {
            Some((_, value)) => *value = &member.value,
            None => distinct.push((&member.name, &member.value)),
        }
    }
    // The sort is stable, and what is no index sorts behind all indexes.
    distinct.sort_by_key(|(name, _)| array_index(name).unwrap_or(u32::MAX));
    distinct
}

/// The array index that a property name is: a decimal number below 2^32 - 1 in its shortest form.
fn array_index(name: &str) -> Option<u32> {
    let index: u32 = name.parse().ok()?;
    (index < u32::MAX && index.to_string() == name).then_some(index)
}

/// A number as JavaScript prints it after reading it as binary64.
fn number(text: &str) -> String {
    let value: f64 = text.parse().unwrap_or(f64::NAN);
    if !value.is_finite() {
        return "null".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rust's form with an exponent has the same digits: the fewest that read back as the value.
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits = mantissa.replace('.', "");
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let mut out = String::new();
    if value < 0.0 {
        out.push('-');
    }
    place_point(&digits, point, &mut out);
    out
}

/// Writes `0.DIGITS` times ten to the `point` (ECMA-262, Number::toString).
fn place_point(digits: &str, point: i32, out: &mut String) {
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    match usize::try_from(point) {
        Ok(_) if (count..=21).contains(&point) => {
            out.push_str(digits);
            out.push_str(&zeros(point - count));
        }
        Ok(whole) if (1..=21).contains(&point) => {
            let (whole, fraction) = digits.split_at(whole);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        }
        _ if (-5..=0).contains(&point) => {
            out.push_str("0.");
            out.push_str(&zeros(-point));
            out.push_str(digits);
        }
        _ => {
            let (first, others) = digits.split_at(1);
            out.push_str(first);
            if !others.is_empty() {
                out.push('.');
                out.push_str(others);
            }
            let exponent = point - 1;
            write!(out, "e{exponent:+}").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_javascript_prints_them() {
        for (text, printed) in [
            ("36.903999599999999", "36.9039996"),
            ("-25.2632837000000772", "-25.263283700000077"),
            ("5.0", "5"),
            ("-0.0", "0"),
            ("1e21", "1e+21"),
            ("123456789012345678901", "123456789012345680000"),
            ("1e-6", "0.000001"),
            ("1.5e-7", "1.5e-7"),
            ("0.1", "0.1"),
            ("1e400", "null"),
            ("9007199254740993", "9007199254740992"),
            ("-120", "-120"),
        ] {
            assert_eq!(number(text), printed, "{text}");
        }
    }

    #[test]
    fn values_are_written_as_javascript_writes_them() {
        let written = |text| text_of(&Json::parse(text).unwrap());
        assert_eq!(
            written(r#"{ "b": [1.0, null, true], "10": {}, "2": "é\n", "b": "\u007f" }"#),
            "{\"2\":\"é\\n\",\"10\":{},\"b\":\"\u{7f}\"}"
        );
        assert_eq!(written(r#""plain""#), "plain");
        assert_eq!(written("[]"), "[]");
    }
}
