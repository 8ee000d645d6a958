//! Writing a time by a pattern of Joda-Time.

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::{COUNT_MAX, DAYS, MONTHS, short, zone};

/// The text of an instant, given in milliseconds since the Unix epoch; `None` for an empty or bad pattern, a bad zone, or an instant
/// beyond the years -9999 to 9999.
///
/// `z` deviates from Joda-Time, which has a table of names of its own: it gives the abbreviation of the tz database,
/// which is an offset where the database has no name.
pub(crate) fn format(pattern: &str, milliseconds: i64, zone_name: &str) -> Option<String> {
    if pattern.is_empty() {
        return None;
    }
    let zone = zone(zone_name)?;
    let instant = Timestamp::from_millisecond(milliseconds).ok()?;
    let info = zone.to_offset_info(instant);
    let time = Local {
        civil: zone.to_datetime(instant),
        millisecond: milliseconds.rem_euclid(1000),
        offset: info.offset().seconds(),
        abbreviation: match zone.iana_name() {
            Some(_) => info.abbreviation().to_owned(),
            None => offset_text(info.offset().seconds(), ":"),
        },
        zone_name,
    };
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if letter == '\'' {
            rest = quoted(rest.get(1..)?, &mut out)?;
            continue;
        }
        let after = rest.trim_start_matches(letter);
        let count = (rest.len() - after.len()) / letter.len_utf8();
        if !letter.is_ascii_alphabetic() {
            out.push_str(rest.get(..rest.len() - after.len())?);
        } else if count > COUNT_MAX {
            return None;
        } else {
            time.field(letter, count, &mut out)?;
        }
        rest = after;
    }
    Some(out)
}

/// Appends quoted text, from behind its opening quote; two quotes are one. Returns what follows.
fn quoted<'p>(text: &'p str, out: &mut String) -> Option<&'p str> {
    if let Some(rest) = text.strip_prefix('\'') {
        out.push('\'');
        return Some(rest);
    }
    let mut rest = text;
    loop {
        let (literal, after) = rest.split_once('\'')?;
        out.push_str(literal);
        match after.strip_prefix('\'') {
            Some(again) => {
                out.push('\'');
                rest = again;
            }
            None => return Some(after),
        }
    }
}

fn offset_text(seconds: i32, separator: &str) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

struct Local<'n> {
    civil: DateTime,
    millisecond: i64,
    offset: i32,
    abbreviation: String,
    zone_name: &'n str,
}

impl Local<'_> {
    /// Appends one field; `None` for a letter that Joda-Time does not have.
    fn field(&self, letter: char, count: usize, out: &mut String) -> Option<()> {
        let civil = &self.civil;
        let hour = i64::from(civil.hour());
        let year = i64::from(civil.year());
        let of_era = if year > 0 { year } else { 1 - year };
        let text = match letter {
            'G' => if year > 0 { "AD" } else { "BC" }.to_owned(),
            'C' => padded(of_era / 100, count),
            'Y' => year_text(of_era, count),
            'y' => year_text(year, count),
            'x' => year_text(civil.date().iso_week_date().year().into(), count),
            'w' => padded(civil.date().iso_week_date().week().into(), count),
            'e' => padded(civil.weekday().to_monday_one_offset().into(), count),
            'E' => name(&DAYS, civil.weekday().to_monday_zero_offset(), count >= 4)?.to_owned(),
            'D' => padded(civil.day_of_year().into(), count),
            'M' if count >= 3 => name(&MONTHS, civil.month() - 1, count >= 4)?.to_owned(),
            'M' => padded(civil.month().into(), count),
            'd' => padded(civil.day().into(), count),
            'a' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'K' => padded(hour % 12, count),
            'h' => padded((hour + 11) % 12 + 1, count),
            'H' => padded(hour, count),
            'k' => padded((hour + 23) % 24 + 1, count),
            'm' => padded(civil.minute().into(), count),
            's' => padded(civil.second().into(), count),
            'S' => {
                let digits = format!("{:03}{:0count$}", self.millisecond, 0);
                digits.get(..count)?.to_owned()
            }
            'z' => self.abbreviation.clone(),
            'Z' if count == 1 => offset_text(self.offset, ""),
            'Z' if count == 2 => offset_text(self.offset, ":"),
            'Z' => self.zone_name.to_owned(),
            _ => return None,
        };
        out.push_str(&text);
        Some(())
    }
}

fn name(names: &[&'static str], place: i8, full: bool) -> Option<&'static str> {
    let name = names.get(usize::try_from(place).ok()?)?;
    Some(if full { name } else { short(name) })
}

/// A number with leading zeros to this many digits.
fn padded(value: i64, count: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:0count$}", value.unsigned_abs())
}

/// Two letters are the last two digits of the year.
fn year_text(year: i64, count: usize) -> String {
    if count == 2 {
        padded(year.abs() % 100, 2)
    } else {
        padded(year, count)
    }
}
