//! Reading a time by a pattern of java.time.

use super::resolve::{Field, Fields};
use super::{COUNT_MAX, DAYS, MONTHS, ZONE_BYTES_MAX, fixed, short, zone};

/// Nested optional sections.
const DEPTH_MAX: usize = 16;

/// Milliseconds since the Unix epoch of the time in `text`; `None` for a bad pattern, another text, or not enough for a
/// date. Without a zone in the text it is UTC.
pub(crate) fn parse(text: &str, pattern: &str) -> Option<i64> {
    let mut rest = pattern;
    let tokens = tokens(&mut rest, 0)?;
    let mut reader = Reader {
        text,
        fields: Fields::default(),
    };
    reader.all(&tokens)?;
    if !reader.text.is_empty() {
        return None;
    }
    reader.fields.resolve()
}

#[derive(Debug)]
enum Token {
    Literal(String),
    Letters(char, usize),
    /// Spaces may stand before the next field.
    Padding,
    Optional(Vec<Token>),
}

/// Splits a pattern, up to its end or the end of an optional section.
fn tokens(rest: &mut &str, depth: usize) -> Option<Vec<Token>> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut tokens = Vec::new();
    while let Some(letter) = rest.chars().next() {
        let after = rest.trim_start_matches(letter);
        let count = (rest.len() - after.len()) / letter.len_utf8();
        match letter {
            '\'' => {
                let mut literal = String::new();
                *rest = quoted(rest.get(1..)?, &mut literal)?;
                tokens.push(Token::Literal(literal));
                continue;
            }
            '[' => {
                *rest = rest.get(1..)?;
                tokens.push(Token::Optional(self::tokens(rest, depth + 1)?));
                continue;
            }
            ']' => {
                *rest = rest.get(1..)?;
                return (depth > 0).then_some(tokens);
            }
            '{' | '}' | '#' => return None,
            'p' => tokens.push(Token::Padding),
            letter if letter.is_ascii_alphabetic() => {
                if count > COUNT_MAX || !"GuyDMLdQqwWEecahKkHmsSAnNVzOXxZ".contains(letter) {
                    return None;
                }
                tokens.push(Token::Letters(letter, count));
            }
            other => tokens.push(Token::Literal(other.to_string().repeat(count))),
        }
        *rest = after;
    }
    // A section may stay open at the end.
    Some(tokens)
}

/// Takes quoted text, from behind its opening quote; two quotes are one.
fn quoted<'p>(text: &'p str, literal: &mut String) -> Option<&'p str> {
    if let Some(rest) = text.strip_prefix('\'') {
        literal.push('\'');
        return Some(rest);
    }
    let mut rest = text;
    loop {
        let (piece, after) = rest.split_once('\'')?;
        literal.push_str(piece);
        match after.strip_prefix('\'') {
            Some(again) => {
                literal.push('\'');
                rest = again;
            }
            None => return Some(after),
        }
    }
}

#[derive(Debug)]
struct Reader<'t> {
    text: &'t str,
    fields: Fields,
}

impl Reader<'_> {
    fn all(&mut self, tokens: &[Token]) -> Option<()> {
        for (place, token) in tokens.iter().enumerate() {
            match token {
                Token::Literal(literal) => self.text = self.text.strip_prefix(literal.as_str())?,
                Token::Padding => self.text = self.text.trim_start_matches(' '),
                Token::Letters(letter, count) => {
                    let following = tokens.get(place + 1..).unwrap_or_default();
                    self.field(*letter, *count, reserved(following))?;
                }
                Token::Optional(inner) => {
                    let before = (self.text, self.fields.clone());
                    if self.all(inner).is_none() {
                        (self.text, self.fields) = before;
                    }
                }
            }
        }
        Some(())
    }

    /// Reads one field. `reserved` digits behind it belong to the fields that follow.
    fn field(&mut self, letter: char, count: usize, reserved: usize) -> Option<()> {
        let field = match letter {
            'u' | 'y' => {
                let value = self.year(count, reserved)?;
                return self.fields.set(Field::year(letter), value);
            }
            'M' | 'L' if count >= 3 => {
                let place = self.name(&MONTHS, count)?;
                return self.fields.set(Field::Month, place + 1);
            }
            'E' | 'e' | 'c' if count >= 3 || letter == 'E' => {
                let place = self.name(&DAYS, count)?;
                return self.fields.set(Field::Weekday, place + 1);
            }
            'G' => {
                let (value, rest) = match self.text.strip_prefix("AD") {
                    Some(rest) => (1, rest),
                    None => (0, self.text.strip_prefix("BC")?),
                };
                self.text = rest;
                return self.fields.set(Field::Era, value);
            }
            'a' => {
                let (value, rest) = match self.text.strip_prefix("AM") {
                    Some(rest) => (0, rest),
                    None => (1, self.text.strip_prefix("PM")?),
                };
                self.text = rest;
                return self.fields.set(Field::HalfDay, value);
            }
            'S' => {
                let digits = self.digits(count, count, 0)?;
                let scale = u32::try_from(9_usize.checked_sub(count)?).ok()?;
                return self.fields.set(Field::Nano, digits * 10_i64.pow(scale));
            }
            'V' | 'z' | 'O' | 'X' | 'x' | 'Z' => return self.zone(letter, count),
            'D' => Field::DayOfYear,
            'M' | 'L' => Field::Month,
            'd' => Field::Day,
            'Q' | 'q' => Field::Quarter,
            // Java counts them from Sunday in the English of the United States, and no date follows from them alone.
            'w' | 'W' | 'e' | 'c' => return None,
            'h' => Field::ClockHourOfHalfDay,
            'K' => Field::HourOfHalfDay,
            'k' => Field::ClockHour,
            'H' => Field::Hour,
            'm' => Field::Minute,
            's' => Field::Second,
            'n' => Field::Nano,
            'A' => Field::MilliOfDay,
            'N' => Field::NanoOfDay,
            _ => return None,
        };
        let most = if count == 1 || matches!(letter, 'A' | 'n' | 'N') {
            18
        } else {
            count
        };
        let value = self.digits(count, most, reserved)?;
        self.fields.set(field, value)
    }

    /// Takes digits, as many as there are up to `most` without those that are reserved.
    fn digits(&mut self, fewest: usize, most: usize, reserved: usize) -> Option<i64> {
        let run = self.text.bytes().take_while(u8::is_ascii_digit).count();
        let len = if fewest == most {
            most
        } else {
            run.saturating_sub(reserved).clamp(fewest, most.max(fewest))
        };
        if run < len || len > 18 {
            return None;
        }
        let (digits, rest) = self.text.split_at_checked(len)?;
        self.text = rest;
        digits.parse().ok()
    }

    /// Two letters are a year from 2000 to 2099, others a year of at least as many digits.
    fn year(&mut self, count: usize, reserved: usize) -> Option<i64> {
        if count == 2 {
            return Some(2000 + self.digits(2, 2, 0)?);
        }
        if let Some(rest) = self.text.strip_prefix('-') {
            self.text = rest;
            return Some(-self.digits(count, 18, reserved)?);
        }
        let most = if count >= 4 { count } else { 18 };
        self.digits(count, most, reserved)
    }

    /// The place of the name that the text begins with: three letters its beginning, four all of it.
    fn name(&mut self, names: &[&'static str], count: usize) -> Option<i64> {
        for (place, name) in (0..).zip(names) {
            let name = match count {
                4 => name,
                1..=3 => short(name),
                _ => return None,
            };
            if let Some(rest) = self.text.strip_prefix(name) {
                self.text = rest;
                return Some(place);
            }
        }
        None
    }

    fn zone(&mut self, letter: char, count: usize) -> Option<()> {
        let found = match letter {
            'V' if count != 2 => return None,
            'V' | 'z' => self.longest(|name| zone(name).or_else(|| abbreviation(name, letter)))?,
            'O' => self.longest(|text| zone(text).filter(|_| text.starts_with("GMT")))?,
            'Z' if count == 4 => {
                self.longest(|text| zone(text).filter(|_| text.starts_with("GMT")))?
            }
            _ => {
                let zulu = letter == 'X' || (letter == 'Z' && count == 5);
                self.longest(|text| match text {
                    "Z" => zone("Z").filter(|_| zulu),
                    _ if !has_form(text, letter, count) => None,
                    _ => fixed(text).map(jiff::tz::TimeZone::fixed),
                })?
            }
        };
        self.fields.zone = Some(found);
        Some(())
    }

    /// Takes the longest beginning of the text that is a zone.
    fn longest(
        &mut self,
        read: impl Fn(&str) -> Option<jiff::tz::TimeZone>,
    ) -> Option<jiff::tz::TimeZone> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_+-:".contains(byte);
        let run = self.text.bytes().take(ZONE_BYTES_MAX).take_while(is_part);
        for len in (1..=run.count()).rev() {
            let (name, rest) = self.text.split_at_checked(len)?;
            if let Some(zone) = read(name) {
                self.text = rest;
                return Some(zone);
            }
        }
        None
    }
}

/// The zones of the United States by the short names of the JVM; other abbreviations mean several zones.
fn abbreviation(name: &str, letter: char) -> Option<jiff::tz::TimeZone> {
    let name = match name {
        "EST" | "EDT" => "America/New_York",
        "CST" | "CDT" => "America/Chicago",
        "MST" | "MDT" => "America/Denver",
        "PST" | "PDT" => "America/Los_Angeles",
        _ => return None,
    };
    zone(name).filter(|_| letter == 'z')
}

/// Whether an offset has the form that `X`, `x` or `Z` asks for by their number.
fn has_form(text: &str, letter: char, count: usize) -> bool {
    let colons = text.matches(':').count();
    let len = text.len();
    match (letter, count) {
        ('X' | 'x', 1) => colons == 0 && (len == 3 || len == 5),
        ('X' | 'x', 2) | ('Z', 1..=3) => colons == 0 && len == 5,
        ('X' | 'x', 3) => colons == 1 && len == 6,
        ('X' | 'x', 4) => colons == 0 && (len == 5 || len == 7),
        ('X' | 'x' | 'Z', 5) => colons > 0 && (len == 6 || len == 9),
        _ => false,
    }
}

/// Digits of the fields of fixed width that follow without anything between them.
fn reserved(tokens: &[Token]) -> usize {
    let width = |token: &Token| match token {
        Token::Letters('S', count) => Some(*count),
        Token::Letters(letter, 2) if "dMLHhKkms".contains(*letter) => Some(2),
        Token::Letters('D', 3) => Some(3),
        Token::Letters('y' | 'u', count @ (2 | 4)) => Some(*count),
        _ => None,
    };
    tokens.iter().map_while(width).sum()
}
