//! JSON as whoever judges a text needs it: numbers keep their text, objects their order, and values know their place.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// Brackets that may be open at once. It bounds the recursion of everything here.
const DEPTH_MAX: usize = 512;

/// A JSON value.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    Array(Vec<Element>),
    /// In the order of the text, duplicates included.
    Object(Vec<Member>),
}

/// An element of an array.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub(crate) value: Json,
    /// Where it stands.
    pub(crate) value_at: Range<usize>,
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Where its name stands, quotes included.
    pub(crate) name_at: Range<usize>,
    pub(crate) value: Json,
    /// Where its value stands.
    pub(crate) value_at: Range<usize>,
}

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Byte at which reading stopped.
    pub(crate) at: usize,
    /// What was expected there.
    pub(crate) reason: &'static str,
}

impl Json {
    /// Reads a whole text.
    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        let value = parser.value()?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.fail("nothing may follow the value"));
        }
        Ok(value)
    }

    /// The members of an object, each name once with its last value.
    fn distinct(members: &[Member]) -> BTreeMap<&str, &Json> {
        members
            .iter()
            .map(|member| (member.name.as_str(), &member.value))
            .collect()
    }

    /// What kind of value it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Compact JSON; numbers as they were written.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => write_text(text, f),
            Self::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{}", item.value)?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        f.write_str(",")?;
                    }
                    write_text(&member.name, f)?;
                    write!(f, ":{}", member.value)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::Value::from(text).to_string())
}

/// The first place where two values differ, as a path with both values there; `None` when they are equal: objects
/// without order, numbers by decimal value or within a relative tolerance.
pub(crate) fn difference(
    expected: &Json,
    got: &Json,
    tolerance: Option<f64>,
) -> Option<(String, String, String)> {
    let nothing = || "nothing".to_owned();
    match (expected, got) {
        (Json::Array(expected), Json::Array(got)) => {
            for index in 0..expected.len().max(got.len()) {
                match (expected.get(index), got.get(index)) {
                    (Some(expected), Some(got)) => {
                        if let Some(inner) = difference(&expected.value, &got.value, tolerance) {
                            return Some(below(&format!("[{index}]"), inner));
                        }
                    }
                    (expected, got) => {
                        let show = |item: Option<&Element>| {
                            item.map_or_else(nothing, |item| item.value.to_string())
                        };
                        return Some((format!("[{index}]"), show(expected), show(got)));
                    }
                }
            }
            None
        }
        (Json::Object(expected), Json::Object(got)) => {
            let (expected, got) = (Json::distinct(expected), Json::distinct(got));
            for (name, expected) in &expected {
                match got.get(name) {
                    Some(got) => {
                        if let Some(inner) = difference(expected, got, tolerance) {
                            return Some(below(&format!(".{name}"), inner));
                        }
                    }
                    None => return Some((format!(".{name}"), expected.to_string(), nothing())),
                }
            }
            got.iter()
                .find(|(name, _)| !expected.contains_key(*name))
                .map(|(name, got)| (format!(".{name}"), nothing(), got.to_string()))
        }
        (expected, got) if same_scalar(expected, got, tolerance) => None,
        (expected, got) => Some((String::new(), expected.to_string(), got.to_string())),
    }
}

fn below(step: &str, inner: (String, String, String)) -> (String, String, String) {
    let (path, expected, got) = inner;
    (format!("{step}{path}"), expected, got)
}

fn same_scalar(expected: &Json, got: &Json, tolerance: Option<f64>) -> bool {
    match (expected, got) {
        (Json::Null, Json::Null) => true,
        (Json::Bool(expected), Json::Bool(got)) => expected == got,
        (Json::Text(expected), Json::Text(got)) => expected == got,
        (Json::Number(expected), Json::Number(got)) => match tolerance {
            None => decimal(expected) == decimal(got),
            Some(tolerance) => match (expected.parse::<f64>(), got.parse::<f64>()) {
                (Ok(a), Ok(b)) => (a - b).abs() <= tolerance * a.abs().max(b.abs()),
                _ => false,
            },
        },
        _ => false,
    }
}

/// A number as sign, digits without zeros at either end, and the exponent of the last digit. A number whose exponent
/// does not fit is its own text.
fn decimal(text: &str) -> (bool, &str, String, i64) {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (rest, Some(0)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let kept = all.trim_end_matches('0');
    let digits = kept.trim_start_matches('0').to_owned();
    if digits.is_empty() {
        return (false, "", digits, 0);
    }
    let places = |count: usize| i64::try_from(count).ok();
    let exponent = exponent
        .zip(places(fraction.len()))
        .and_then(|(exponent, fraction)| exponent.checked_sub(fraction))
        .zip(places(all.len() - kept.len()))
        .and_then(|(exponent, zeros)| exponent.checked_add(zeros));
    match exponent {
        Some(exponent) => (negative, "", digits, exponent),
        None => (negative, rest, digits, 0),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn fail(&self, reason: &'static str) -> Unreadable {
        Unreadable {
            at: self.at,
            reason,
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self) -> Result<Json, Unreadable> {
        self.space();
        match self.rest().as_bytes().first() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.take("null") => Ok(Json::Null),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            _ => Err(self.fail("a value is expected")),
        }
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Json, Unreadable>,
    ) -> Result<Json, Unreadable> {
        if self.depth == DEPTH_MAX {
            return Err(self.fail("the brackets are nested too deeply"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Result<Json, Unreadable> {
        let mut items = Vec::new();
        if self.take("]") {
            return Ok(Json::Array(items));
        }
        loop {
            self.space();
            let start = self.at;
            let value = self.value()?;
            items.push(Element {
                value,
                value_at: start..self.at,
            });
            if self.take("]") {
                return Ok(Json::Array(items));
            }
            if !self.take(",") {
                return Err(self.fail("`,` or `]` is expected"));
            }
        }
    }

    fn object(&mut self) -> Result<Json, Unreadable> {
        let mut members = Vec::new();
        if self.take("}") {
            return Ok(Json::Object(members));
        }
        loop {
            members.push(self.member()?);
            if self.take("}") {
                return Ok(Json::Object(members));
            }
            if !self.take(",") {
                return Err(self.fail("`,` or `}` is expected"));
            }
        }
    }

    fn member(&mut self) -> Result<Member, Unreadable> {
        self.space();
        let start = self.at;
        if !self.rest().starts_with('"') {
            return Err(self.fail("a member name is expected"));
        }
        let name = self.string()?;
        let name_at = start..self.at;
        if !self.take(":") {
            return Err(self.fail("`:` is expected"));
        }
        self.space();
        let start = self.at;
        let value = self.value()?;
        Ok(Member {
            name,
            name_at,
            value,
            value_at: start..self.at,
        })
    }

    fn string(&mut self) -> Result<String, Unreadable> {
        let mut strings = serde_json::Deserializer::from_str(self.rest()).into_iter::<String>();
        match strings.next() {
            Some(Ok(text)) => {
                self.at += strings.byte_offset();
                Ok(text)
            }
            _ => Err(self.fail("not a string of JSON")),
        }
    }

    fn number(&mut self) -> Result<Json, Unreadable> {
        let rest = self.rest();
        let len = number_len(rest.as_bytes()).ok_or_else(|| self.fail("not a number of JSON"))?;
        self.at += len;
        Ok(Json::Number(rest.get(..len).unwrap_or_default().to_owned()))
    }
}

/// Length of the number at the beginning of a text; `None` when there is none.
fn number_len(text: &[u8]) -> Option<usize> {
    let digits_from = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    at += match text.get(at) {
        Some(b'0') => 1,
        Some(b'1'..=b'9') => digits_from(at),
        _ => return None,
    };
    if text.get(at) == Some(&b'.') {
        let digits = digits_from(at + 1);
        if digits == 0 {
            return None;
        }
        at += 1 + digits;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let digits = digits_from(at + 1 + sign);
        if digits == 0 {
            return None;
        }
        at += 1 + sign + digits;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(expected: &str, got: &str) -> Option<(String, String, String)> {
        let parse = |text| Json::parse(text).unwrap();
        difference(&parse(expected), &parse(got), None)
    }

    #[test]
    fn numbers_are_compared_as_decimals_of_any_length() {
        for (a, b) in [
            ("10", "10.0"),
            ("1e3", "1000"),
            ("-0", "0.00"),
            ("1E-400", "0.1e-399"),
            ("12300", "1.23e4"),
        ] {
            assert_eq!(differ(a, b), None, "{a} {b}");
        }
        for (a, b) in [
            (
                "1234567890123456789012345678901234",
                "1234567890123456789012345678901235",
            ),
            ("1e400", "1e401"),
            ("1", "-1"),
            ("1e99999999999999999999", "1e99999999999999999998"),
        ] {
            assert!(differ(a, b).is_some(), "{a} {b}");
        }
    }

    #[test]
    fn a_difference_says_where() {
        let shown = |expected, got| {
            let (path, expected, got) = differ(expected, got).unwrap();
            format!("{path} {expected} {got}")
        };
        assert_eq!(
            shown(r#"{"a":[1,{"b":2}]}"#, r#"{"a":[1,{"b":3}]}"#),
            ".a[1].b 2 3"
        );
        assert_eq!(shown(r#"{"a":1}"#, "{}"), ".a 1 nothing");
        assert_eq!(shown("[1]", r#"[1,"x"]"#), "[1] nothing \"x\"");
        assert_eq!(shown("[]", "{}"), " [] {}");
        assert_eq!(differ(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":3,"a":1}"#), None);
    }

    #[test]
    fn what_is_not_json_is_told_where() {
        for (text, at) in [
            ("", 0),
            ("{\"a\":01}", 6),
            ("[1,]", 3),
            ("[nan]", 1),
            ("{\"a\" 1}", 5),
            ("\"\\ud800\"", 0),
            ("1 2", 2),
            ("-", 0),
            ("1.e1", 0),
        ] {
            assert_eq!(
                Json::parse(text).map_err(|error| error.at).err(),
                Some(at),
                "{text}"
            );
        }
        assert!(Json::parse(&"[".repeat(DEPTH_MAX + 1)).is_err());
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert_eq!(Json::parse(&deep).unwrap().to_string(), deep);
    }
}
