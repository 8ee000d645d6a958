//! Writing a time by a pattern of Joda-Time.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::{COUNT_MAX, DAYS, MONTHS, short, zone};

/// Appends the text of an instant, given in milliseconds since the Unix epoch; `None` for an empty or bad pattern, a bad zone, or an instant
/// beyond the years -9999 to 9999.
///
/// `z` deviates from Joda-Time, which has a table of names of its own: it gives the abbreviation of the tz database,
/// which is an offset where the database has no name.
pub(crate) fn format(
    pattern: &str,
    milliseconds: i64,
    zone_name: &str,
    out: &mut impl Write,
) -> Option<()> {
    // A quote that opens nothing is an empty pattern too.
    if matches!(pattern, "" | "'") {
        return None;
    }
    let zone = zone(zone_name)?;
    let instant = Timestamp::from_millisecond(milliseconds).ok()?;
    let info = zone.to_offset_info(instant);
    let time = Local {
        civil: zone.to_datetime(instant),
        millisecond: milliseconds.rem_euclid(1000),
        offset: info.offset().seconds(),
        abbreviation: zone.iana_name().map(|_| info.abbreviation()),
        zone_name,
    };
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if letter == '\'' {
            rest = quoted(rest.get(1..)?, out)?;
            continue;
        }
        let after = rest.trim_start_matches(letter);
        let count = (rest.len() - after.len()) / letter.len_utf8();
        if !letter.is_ascii_alphabetic() {
            out.write_str(rest.get(..rest.len() - after.len())?).ok()?;
        } else if count > COUNT_MAX {
            return None;
        } else {
            time.field(letter, count, out)?;
        }
        rest = after;
    }
    Some(())
}

/// Appends quoted text, from behind its opening quote; two quotes are one. Returns what follows. Without a closing quote
/// all that is left is text, as Joda-Time has it.
fn quoted<'p>(text: &'p str, out: &mut impl Write) -> Option<&'p str> {
    if let Some(rest) = text.strip_prefix('\'') {
        out.write_char('\'').ok()?;
        return Some(rest);
    }
    let mut rest = text;
    loop {
        let Some((literal, after)) = rest.split_once('\'') else {
            out.write_str(rest).ok()?;
            return Some("");
        };
        out.write_str(literal).ok()?;
        match after.strip_prefix('\'') {
            Some(again) => {
                out.write_char('\'').ok()?;
                rest = again;
            }
            None => return Some(after),
        }
    }
}

/// Writes an offset: sign, hours, minutes.
fn write_offset(seconds: i32, separator: &str, out: &mut impl Write) -> Option<()> {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    write!(
        out,
        "{sign}{:02}{separator}{:02}",
        minutes / 60,
        minutes % 60
    )
    .ok()
}

struct Local<'n> {
    civil: DateTime,
    millisecond: i64,
    offset: i32,
    /// `None` for a zone that is only an offset.
    abbreviation: Option<&'n str>,
    zone_name: &'n str,
}

impl Local<'_> {
    /// Appends one field; `None` for a letter that Joda-Time does not have.
    fn field(&self, letter: char, count: usize, out: &mut impl Write) -> Option<()> {
        let civil = &self.civil;
        let hour = i64::from(civil.hour());
        let year = i64::from(civil.year());
        let of_era = if year > 0 { year } else { 1 - year };
        let (value, digits) = match letter {
            // Centuries count from the year 0, which is 1 BC.
            'C' => (year.abs() / 100, count),
            // Two digits are those of the year, whatever its era.
            'Y' if count != 2 => year_digits(of_era, count),
            'Y' => year_digits(year, count),
            'y' => year_digits(year, count),
            'x' => year_digits(civil.date().iso_week_date().year().into(), count),
            'w' => (civil.date().iso_week_date().week().into(), count),
            'e' => (civil.weekday().to_monday_one_offset().into(), count),
            'D' => (civil.day_of_year().into(), count),
            'M' if count < 3 => (civil.month().into(), count),
            'd' => (civil.day().into(), count),
            'K' => (hour % 12, count),
            'h' => ((hour + 11) % 12 + 1, count),
            'H' => (hour, count),
            'k' => ((hour + 23) % 24 + 1, count),
            'm' => (civil.minute().into(), count),
            's' => (civil.second().into(), count),
            _ => return self.text(letter, count, out),
        };
        let sign = if value < 0 { "-" } else { "" };
        write!(out, "{sign}{:0digits$}", value.unsigned_abs()).ok()
    }

    /// Appends a field that is no plain number.
    fn text(&self, letter: char, count: usize, out: &mut impl Write) -> Option<()> {
        let text = match letter {
            'G' if self.civil.year() > 0 => "AD",
            'G' => "BC",
            'a' if self.civil.hour() < 12 => "AM",
            'a' => "PM",
            'E' => name(
                &DAYS,
                self.civil.weekday().to_monday_zero_offset(),
                count >= 4,
            )?,
            'M' => name(&MONTHS, self.civil.month() - 1, count >= 4)?,
            'S' => {
                // Digits behind the third are zeros, and there are none behind the fifteenth.
                let millisecond = self.millisecond;
                let count = count.min(15);
                let cut = u32::try_from(3_usize.saturating_sub(count)).ok()?;
                let (digits, zeros) = (count.min(3), count.saturating_sub(3));
                write!(out, "{:0digits$}", millisecond / 10_i64.pow(cut)).ok()?;
                return (0..zeros).try_for_each(|_| out.write_char('0').ok());
            }
            'z' => match self.abbreviation {
                Some(abbreviation) => abbreviation,
                None => return write_offset(self.offset, ":", out),
            },
            'Z' if count == 1 => return write_offset(self.offset, "", out),
            'Z' if count == 2 => return write_offset(self.offset, ":", out),
            'Z' => self.zone_name,
            _ => return None,
        };
        out.write_str(text).ok()
    }
}

fn name(names: &[&'static str], place: i8, full: bool) -> Option<&'static str> {
    let name = names.get(usize::try_from(place).ok()?)?;
    Some(if full { name } else { short(name) })
}

/// Two letters are the last two digits of the year.
fn year_digits(year: i64, count: usize) -> (i64, usize) {
    if count == 2 {
        (year.abs() % 100, 2)
    } else {
        (year, count)
    }
}
