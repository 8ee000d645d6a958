//! Dates and times as text: written by patterns of Joda-Time, read by patterns of java.time, both in English.

mod digits;
mod format;
mod parse;
mod pattern;
mod resolve;

use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

pub(crate) use format::format;
pub(crate) use parse::Pattern;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Repetitions of one pattern letter.
const COUNT_MAX: usize = 32;
/// Bytes of the name of a zone.
const ZONE_BYTES_MAX: usize = 64;

/// The zones that the program carries, whatever the machine has.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The first three letters of an English name.
fn short(name: &'static str) -> &'static str {
    name.get(..3).unwrap_or(name)
}

/// A zone by its name in the tz database, as an offset such as `+01:00`, or as `UTC`, `GMT` or `UT` with one.
fn zone(name: &str) -> Option<TimeZone> {
    if name.len() > ZONE_BYTES_MAX {
        return None;
    }
    if matches!(name, "Z" | "UTC" | "GMT" | "UT") {
        return Some(TimeZone::UTC);
    }
    let offset = ["UTC", "GMT", "UT"]
        .into_iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if offset.starts_with(['+', '-']) {
        return fixed(offset).map(TimeZone::fixed);
    }
    // Names are found in any case, and the JVM knows them in one only.
    let zone = ZONES.get(name).ok()?;
    (zone.iana_name() == Some(name)).then_some(zone)
}

/// An offset: sign, hours, and optionally minutes and seconds, with colons or without.
fn fixed(text: &str) -> Option<Offset> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+')?),
    };
    let parts: Vec<&str> = if rest.contains(':') {
        rest.split(':').collect()
    } else if rest.len() <= 2 {
        vec![rest]
    } else {
        let (hours, rest) = rest.split_at_checked(2)?;
        match rest.split_at_checked(2)? {
            (minutes, "") => vec![hours, minutes],
            (minutes, seconds) => vec![hours, minutes, seconds],
        }
    };
    let is_part = |(place, part): (usize, &&str)| {
        let len = part.len();
        part.bytes().all(|byte| byte.is_ascii_digit()) && (len == 2 || (place == 0 && len == 1))
    };
    if parts.len() > 3 || !parts.iter().enumerate().all(is_part) {
        return None;
    }
    let number = |place: usize| -> i32 {
        let part = parts.get(place).and_then(|part| part.parse().ok());
        part.unwrap_or(0)
    };
    let (hours, minutes, seconds) = (number(0), number(1), number(2));
    let total = hours * 3600 + minutes * 60 + seconds;
    if minutes > 59 || seconds > 59 || total > 18 * 3600 {
        return None;
    }
    Offset::from_seconds(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests;
