//! Reading a time by a pattern of java.time.

use super::pattern::{Token, tokens};
use super::resolve::{Field, Fields};
use super::{DAYS, MONTHS, ZONE_BYTES_MAX, fixed, short, zone};

/// Milliseconds since the Unix epoch of the time in `text`; `None` for a bad pattern, another text, or not enough for a
/// date. Without a zone in the text it is UTC.
pub(crate) fn parse(text: &str, pattern: &str) -> Option<i64> {
    let tokens = tokens(pattern)?;
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

/// Digits of one number.
const DIGITS_MAX: usize = 18;

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
                Token::Padded(width, letter, count) => self.padded(*width, *letter, *count)?,
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

    /// Reads a field that stands with spaces before it in `width` characters.
    fn padded(&mut self, width: usize, letter: char, count: usize) -> Option<()> {
        let end = self
            .text
            .char_indices()
            .nth(width)
            .map_or(self.text.len(), |(at, _)| at);
        let (padded, rest) = self.text.split_at_checked(end)?;
        if padded.chars().count() < width {
            return None;
        }
        self.text = padded.trim_start_matches(' ');
        self.field(letter, count, 0)?;
        if !self.text.is_empty() {
            return None;
        }
        self.text = rest;
        Some(())
    }

    /// The place of the one of these texts that comes next.
    fn one_of<const N: usize>(&mut self, texts: [&'static str; N]) -> Option<i64> {
        for (place, text) in (0..).zip(texts) {
            if let Some(rest) = self.text.strip_prefix(text) {
                self.text = rest;
                return Some(place);
            }
        }
        None
    }

    /// Reads one field. `reserved` digits behind it belong to the fields that follow.
    fn field(&mut self, letter: char, count: usize, reserved: usize) -> Option<()> {
        let field = match letter {
            'u' | 'y' => {
                let value = self.year(count, reserved)?;
                return self.fields.set(Field::year(letter), value);
            }
            'M' | 'L' if matches!(count, 3 | 4) => {
                let place = self.name(&MONTHS, count)?;
                return self.fields.set(Field::Month, place + 1);
            }
            'E' | 'e' | 'c' if matches!(count, 3 | 4) || (letter == 'E' && count < 3) => {
                let place = self.name(&DAYS, count)?;
                return self.fields.set(Field::Weekday, place + 1);
            }
            'e' | 'c' if count < 3 => {
                // Days are counted from Sunday.
                let day = self.digits(count, 2, reserved)?;
                let day = (1..=7).contains(&day).then_some((day + 5) % 7 + 1)?;
                return self.fields.set(Field::Weekday, day);
            }
            'Q' | 'q' if count >= 3 => {
                let names: [&'static str; 4] = match count {
                    3 => ["Q1", "Q2", "Q3", "Q4"],
                    4 => ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"],
                    _ => ["1", "2", "3", "4"],
                };
                let place = self.one_of(names)?;
                return self.fields.set(Field::Quarter, place + 1);
            }
            'G' => {
                let era = self.one_of(match count {
                    4 => ["Before Christ", "Anno Domini"],
                    5 => ["B", "A"],
                    _ => ["BC", "AD"],
                })?;
                return self.fields.set(Field::Era, era);
            }
            'a' => {
                let half = self.one_of(["AM", "PM"])?;
                return self.fields.set(Field::HalfDay, half);
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
            // Narrow names are ambiguous, so the JVM reads numbers for them.
            'E' | 'e' | 'c' => Field::Weekday,
            'w' => Field::WeekOfYear,
            'W' => Field::WeekOfMonth,
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
        let (fewest, most) = match (letter, count) {
            ('w' | 'W', _) => (count, 2),
            ('D', 2 | 3) => (count, 3),
            (_, 1 | 5) => (1, DIGITS_MAX),
            _ => (count, count),
        };
        let value = self.digits(fewest, most, reserved)?;
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
        if run < len || len > DIGITS_MAX {
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
            return Some(-self.digits(count, DIGITS_MAX, reserved)?);
        }
        let most = if count >= 4 { count } else { DIGITS_MAX };
        self.digits(count, most, reserved)
    }

    /// The place of the name that the text begins with: four letters all of it, fewer its beginning.
    fn name<const N: usize>(&mut self, names: &[&'static str; N], count: usize) -> Option<i64> {
        self.one_of(names.map(|name| if count == 4 { name } else { short(name) }))
    }

    fn zone(&mut self, letter: char, count: usize) -> Option<()> {
        let found = match letter {
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
        Token::Letters('y' | 'u', 2) => Some(2),
        _ => None,
    };
    tokens.iter().map_while(width).sum()
}
