//! Reading a time by a pattern of java.time.

use jiff::tz::TimeZone;

use super::digits::{Digits, reserved};
use super::pattern::{Token, tokens};
use super::resolve::{Field, Fields};
use super::{DAYS, MONTHS, ZONE_BYTES_MAX, fixed, short, zone};

/// A pattern of java.time, ready to read texts.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Token>);

impl Pattern {
    /// Reads a pattern; `None` for one that java.time refuses.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        tokens(pattern).map(Self)
    }

    /// Milliseconds since the Unix epoch of the time in `text`; `None` for another text, or not enough for a date.
    /// Without a zone in the text it is UTC.
    pub(crate) fn parse(&self, text: &str) -> Option<i64> {
        let mut reader = Reader {
            text,
            fields: Fields::default(),
        };
        reader.all(&self.0)?;
        if !reader.text.is_empty() {
            return None;
        }
        reader.fields.resolve()
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
                let value = self.digits(letter, count, reserved)?;
                // Two letters are a year from 2000 to 2099.
                let century = if count == 2 { 2000 } else { 0 };
                return self.fields.set(Field::year(letter), century + value);
            }
            'M' | 'L' if count >= 3 => {
                let place = self.name(&MONTHS, count)?;
                return self.fields.set(Field::Month, place + 1);
            }
            'E' | 'e' | 'c' if count >= 3 || letter == 'E' => {
                let place = self.name(&DAYS, count)?;
                return self.fields.set(Field::Weekday, place + 1);
            }
            'e' | 'c' if count < 3 => {
                // Days are counted from Sunday.
                let day = self.digits(letter, count, reserved)?;
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
                let digits = self.digits(letter, count, reserved)?;
                let scale = u32::try_from(9_usize.checked_sub(count)?).ok()?;
                return self.fields.set(Field::Nano, digits * 10_i64.pow(scale));
            }
            'V' | 'z' | 'O' | 'X' | 'x' | 'Z' => return self.zone(letter, count),
            'D' => Field::DayOfYear,
            'M' | 'L' => Field::Month,
            'd' => Field::Day,
            'Q' | 'q' => Field::Quarter,
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
        let value = self.digits(letter, count, reserved)?;
        self.fields.set(field, value)
    }

    fn digits(&mut self, letter: char, count: usize, reserved: usize) -> Option<i64> {
        let (value, rest) = Digits::of(letter, count)?.read(self.text, reserved)?;
        self.text = rest;
        Some(value)
    }

    /// The place of the name that the text begins with: four letters all of it, five its first letter, fewer its
    /// beginning. Of names with one first letter the JVM takes the last.
    fn name<const N: usize>(&mut self, names: &[&'static str; N], count: usize) -> Option<i64> {
        match count {
            4 => self.one_of(*names),
            5 => {
                let letter = self.text.get(..1)?;
                let place = names.iter().rposition(|name| name.starts_with(letter))?;
                self.text = self.text.get(1..)?;
                i64::try_from(place).ok()
            }
            _ => self.one_of(names.map(short)),
        }
    }

    fn zone(&mut self, letter: char, count: usize) -> Option<()> {
        if letter == 'z'
            && count == 4
            && let Some(zone) = self.full_name()
        {
            self.fields.zone = Some(zone);
            return Some(());
        }
        let found = match letter {
            // A name of the JVM wins over an id that is spelled alike.
            'z' if count < 4 => {
                self.longest(|name| abbreviation(name).or_else(|| zone_id(name)))?
            }
            'z' => self.longest(|name| zone_id(name).filter(|_| abbreviation(name).is_none()))?,
            'V' => self.longest(zone_id)?,
            'O' if count == 1 => {
                self.longest(|text| zone(text).filter(|_| text.starts_with("GMT")))?
            }
            'O' | 'Z' if count == 4 => {
                self.longest(|text| zone_id(text).filter(|_| text.starts_with("GMT")))?
            }
            _ => {
                let zulu = letter == 'X' || (letter == 'Z' && count == 5);
                self.longest(|text| match text {
                    "Z" => zone("Z").filter(|_| zulu),
                    _ if !has_form(text, letter, count) => None,
                    _ => fixed(text).map(TimeZone::fixed),
                })?
            }
        };
        self.fields.zone = Some(found);
        Some(())
    }

    /// Takes the full English name of a zone of the United States.
    fn full_name(&mut self) -> Option<TimeZone> {
        for (region, short) in [
            ("Eastern", "EST"),
            ("Central", "CST"),
            ("Mountain", "MST"),
            ("Pacific", "PST"),
        ] {
            let named = self.text.strip_prefix(region);
            let rest = named.and_then(|rest| {
                let kinds = [" Standard Time", " Daylight Time"];
                kinds.into_iter().find_map(|kind| rest.strip_prefix(kind))
            });
            if let Some(rest) = rest {
                self.text = rest;
                return abbreviation(short);
            }
        }
        None
    }

    /// Takes the longest beginning of the text that is a zone.
    fn longest(&mut self, read: impl Fn(&str) -> Option<TimeZone>) -> Option<TimeZone> {
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
fn abbreviation(name: &str) -> Option<TimeZone> {
    zone(match name {
        "EST" | "EDT" => "America/New_York",
        "CST" | "CDT" => "America/Chicago",
        "MST" | "MDT" => "America/Denver",
        "PST" | "PDT" => "America/Los_Angeles",
        _ => return None,
    })
}

/// A zone as the JVM reads it in a text: an offset has its minutes.
fn zone_id(name: &str) -> Option<TimeZone> {
    let sign = name.find(['+', '-']).filter(|at| {
        let before = name.get(..*at).unwrap_or_default();
        matches!(before, "" | "UTC" | "GMT" | "UT")
    });
    if let Some(at) = sign {
        let offset = name.get(at..)?;
        let colons = offset.matches(':').count();
        if !matches!((offset.len(), colons), (6, 1) | (9, 2)) {
            return None;
        }
    }
    zone(name)
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
