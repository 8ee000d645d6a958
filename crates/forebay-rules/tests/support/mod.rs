//! JSON with decimal numbers, and base64, for judging outputs independently of the code under test.

use std::collections::BTreeMap;

/// A JSON value. Numbers keep their text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Parses a whole text.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut rest = text;
        let value = Self::value(&mut rest)?;
        rest.trim_start().is_empty().then_some(value)
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("a string was expected, not {other:?}"),
        }
    }

    pub(crate) fn number(&self) -> f64 {
        match self {
            Self::Number(text) => text.parse().expect("a number"),
            other => panic!("a number was expected, not {other:?}"),
        }
    }

    fn take(rest: &mut &str, prefix: &str) -> bool {
        *rest = rest.trim_start();
        match rest.strip_prefix(prefix) {
            Some(after) => {
                *rest = after;
                true
            }
            None => false,
        }
    }

    fn value(rest: &mut &str) -> Option<Self> {
        for (literal, value) in [
            ("null", Self::Null),
            ("true", Self::Bool(true)),
            ("false", Self::Bool(false)),
        ] {
            if Self::take(rest, literal) {
                return Some(value);
            }
        }
        if Self::take(rest, "[") {
            let mut items = Vec::new();
            while !Self::take(rest, "]") {
                if !items.is_empty() && !Self::take(rest, ",") {
                    return None;
                }
                items.push(Self::value(rest)?);
            }
            return Some(Self::Array(items));
        }
        if Self::take(rest, "{") {
            let mut members = BTreeMap::new();
            while !Self::take(rest, "}") {
                if !members.is_empty() && !Self::take(rest, ",") {
                    return None;
                }
                let Self::Text(name) = Self::value(rest)? else {
                    return None;
                };
                if !Self::take(rest, ":") {
                    return None;
                }
                members.insert(name, Self::value(rest)?);
            }
            return Some(Self::Object(members));
        }
        if rest.starts_with('"') {
            // serde_json reads strings; only numbers need more than it gives.
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let text = stream.next()?.ok()?;
            let (_, after) = rest.split_at(stream.byte_offset());
            *rest = after;
            return Some(Self::Text(text));
        }
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        number.parse::<f64>().ok()?;
        *rest = after;
        Some(Self::Number(number.to_owned()))
    }

    /// Equality by value: numbers as decimals, or within a relative tolerance.
    pub(crate) fn same(&self, other: &Self, tolerance: Option<f64>) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => match tolerance {
                Some(tolerance) => {
                    let (a, b) = (self.number(), other.number());
                    (a - b).abs() <= tolerance * a.abs().max(b.abs())
                }
                None => decimal(a) == decimal(b),
            },
            (Self::Array(a), Self::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b, tolerance))
            }
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|((a_name, a), (b_name, b))| a_name == b_name && a.same(b, tolerance))
            }
            (a, b) => a == b,
        }
    }
}

/// A number as sign, digits without leading and trailing zeros, and exponent.
fn decimal(text: &str) -> (bool, String, i64) {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let lower = rest.to_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mut exponent: i64 = exponent.parse().expect("an exponent");
    exponent -= i64::try_from(fraction.len()).expect("short");
    let stripped = digits.trim_end_matches('0');
    exponent += i64::try_from(digits.len() - stripped.len()).expect("short");
    let stripped = stripped.trim_start_matches('0');
    if stripped.is_empty() {
        (false, String::new(), 0)
    } else {
        (negative, stripped.to_owned(), exponent)
    }
}

/// Standard base64 with padding.
pub(crate) fn base64_decode(text: &str) -> Vec<u8> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for character in text.trim_end_matches('=').chars() {
        let value = ALPHABET.find(character).expect("base64");
        bits = (bits << 6) | u32::try_from(value).expect("six bits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    bytes
}
