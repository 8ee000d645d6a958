//! Durations and sizes as people write them.
//!
//! A duration always has a unit; a size has a unit of powers of 1 024 or is a number of bytes. Decimal units are
//! refused by name, because `16MB` is read as either by half of the world.

use std::fmt;
use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number followed by a unit.
    #[error(
        "{0:?} is not a duration: write a number and a unit, as in \"250ms\", \"10s\", \"5m\", \"1h\" or \"7d\""
    )]
    NoDuration(String),
    /// Not a number followed by a unit.
    #[error(
        "{0:?} is not a size: write bytes, or a whole number and a unit, as in \"64KiB\", \"16MiB\" or \"1GiB\""
    )]
    NoSize(String),
    /// A unit of powers of 1 000.
    #[error(
        "{text:?} has the unit {unit}, which means different sizes to different people: write {instead}"
    )]
    DecimalUnit {
        /// The whole text.
        text: String,
        /// Its unit.
        unit: String,
        /// The unit of powers of 1 024.
        instead: &'static str,
    },
    /// Too large for any clock or memory.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Units of durations, in nanoseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// Units of sizes, in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads a duration such as `"250ms"` or `"1.5h"`.
///
/// # Errors
/// When there is no number, no unit, or no such unit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::NoDuration(text.to_owned());
    let trimmed = text.trim();
    let unit_at = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = trimmed.split_at(unit_at);
    let (_, nanos_per_unit) = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return Err(wrong());
    }
    let too_large = || UnitError::TooLarge(text.to_owned());
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let fraction_digits = u32::try_from(fraction.len()).map_err(|_| wrong())?;
    let fraction: u64 = fraction.parse().map_err(|_| wrong())?;
    let fraction_nanos =
        u128::from(fraction) * u128::from(*nanos_per_unit) / 10u128.pow(fraction_digits);
    whole
        .checked_mul(*nanos_per_unit)
        .and_then(|nanos| nanos.checked_add(u64::try_from(fraction_nanos).ok()?))
        .map(Duration::from_nanos)
        .ok_or_else(too_large)
}

/// Reads a size such as `"16MiB"` or `"512"`, in bytes.
///
/// # Errors
/// When there is no whole number, no such unit, or a unit of powers of 1 000.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::NoSize(text.to_owned());
    let trimmed = text.trim();
    let unit_at = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(unit_at);
    let unit = unit.trim_start();
    let bytes_per_unit = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, bytes)) => *bytes,
        None if unit.is_empty() => 1,
        None => {
            let instead = match unit.to_ascii_lowercase().as_str() {
                "k" | "kb" | "kib" => "KiB",
                "m" | "mb" | "mib" => "MiB",
                "g" | "gb" | "gib" => "GiB",
                "t" | "tb" | "tib" => "TiB",
                _ => return Err(wrong()),
            };
            return Err(UnitError::DecimalUnit {
                text: text.to_owned(),
                unit: unit.to_owned(),
                instead,
            });
        }
    };
    if number.is_empty() {
        return Err(wrong());
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(bytes_per_unit))
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// A duration in the form in which it is written: the largest unit that gives a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisplayDuration(pub Duration);

impl fmt::Display for DisplayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        for (name, nanos_per_unit) in DURATION_UNITS {
            if nanos.is_multiple_of(u128::from(nanos_per_unit)) {
                return write!(f, "{}{name}", nanos / u128::from(nanos_per_unit));
            }
        }
        write!(f, "{}ms", self.0.as_secs_f64() * 1000.0)
    }
}

/// A size in the form in which it is written: the largest unit that gives a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisplaySize(pub u64);

impl fmt::Display for DisplaySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, bytes) in SIZE_UNITS {
            if bytes > 1 && self.0 >= bytes && self.0.is_multiple_of(bytes) {
                return write!(f, "{}{name}", self.0 / bytes);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_may_have_a_fraction() {
        let cases = [
            ("250ms", 250),
            ("10s", 10_000),
            ("3.1s", 3_100),
            ("5m", 300_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
            ("0.5ms", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text).unwrap().as_millis(), millis, "{text}");
        }
        assert_eq!(parse_duration("0.5ms").unwrap(), Duration::from_micros(500));
        for text in [
            "10", "", "s", "1 min", "-1s", "1..5s", ".5s", "1.s", "1h30m", "1e3s",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?} was accepted");
        }
        assert_eq!(
            parse_duration("999999999999999999d"),
            Err(UnitError::TooLarge("999999999999999999d".into()))
        );
    }

    #[test]
    fn sizes_are_powers_of_1024_or_bytes() {
        let cases = [
            ("64KiB", 65_536),
            ("16MiB", 16_777_216),
            ("1GiB", 1_073_741_824),
            ("512", 512),
            ("256B", 256),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1.5GiB",
            "-1",
            "12 apples",
            "99999999999GiB",
            "8388608TiB",
        ] {
            assert!(parse_size(text).is_err(), "{text:?} was accepted");
        }
        let error = parse_size("16MB").unwrap_err().to_string();
        assert!(error.contains("write MiB"), "{error}");
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        for text in ["250ms", "10s", "5m", "1h", "7d", "90s", "0s"] {
            assert_eq!(
                DisplayDuration(parse_duration(text).unwrap()).to_string(),
                text
            );
        }
        for text in ["64KiB", "3MiB", "1GiB", "512", "0"] {
            assert_eq!(DisplaySize(parse_size(text).unwrap()).to_string(), text);
        }
    }
}
