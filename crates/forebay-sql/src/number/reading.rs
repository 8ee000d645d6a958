//! Numbers from their text.

use super::{Decimal, Number};
use crate::SqlVersion;

/// A number as it was written.
pub(super) struct Read {
    /// Rounded to 34 digits; `None` beyond the range.
    pub(super) value: Option<Decimal>,
    /// Written without point and exponent.
    plain: bool,
}

impl Read {
    /// The number under a version: 2015-10-08 goes by how it was written, later ones by what it is.
    pub(super) fn number(self, version: SqlVersion) -> Option<Number> {
        let value = self.value?;
        Some(match value.whole() {
            Some(int) if version.is_2016() || self.plain => Number::Int(int),
            _ => Number::Decimal(value),
        })
    }
}

/// A number as most of them are: of few digits, without exponent.
pub(super) struct Short {
    coefficient: i64,
    /// Digits behind the point.
    scale: u32,
}

impl Short {
    /// Reads `[-] digits [. digits]` of at most 18 characters; `None` for any other form and for longer ones.
    #[inline]
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        /// So that no coefficient overflows.
        const LEN_MAX: usize = 18;
        if text.len() > LEN_MAX {
            return None;
        }
        let (negative, unsigned) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mut coefficient, mut point) = (0_i64, None);
        for (place, byte) in unsigned.iter().enumerate() {
            match byte {
                b'0'..=b'9' => coefficient = coefficient * 10 + i64::from(byte - b'0'),
                b'.' if point.is_none() && place > 0 => point = Some(place),
                _ => return None,
            }
        }
        if !unsigned.last()?.is_ascii_digit() {
            return None;
        }
        let scale = point.map_or(0, |point| unsigned.len() - point - 1);
        Some(Self {
            coefficient: if negative { -coefficient } else { coefficient },
            scale: u32::try_from(scale).ok()?,
        })
    }

    /// The number under a version, as [`Read::number`] gives it.
    #[inline]
    pub(super) fn number(self, version: SqlVersion) -> Number {
        if self.scale == 0 {
            return Number::Int(self.coefficient.into());
        }
        Number::from_decimal(Decimal::short(self.coefficient, self.scale), version)
    }
}

/// Digits that are kept while reading: more than the 34 of a result, so that rounding sees the next ones.
const KEPT_MAX: u32 = 37;

/// Reads `[-] digits [. digits] [e [+-] digits]`; `None` for any other form.
pub(super) fn read(text: &[u8]) -> Option<Read> {
    let (negative, unsigned) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut reader = Reader {
        coefficient: 0,
        kept: 0,
        exponent: 0,
        sticky: false,
    };
    let mut rest = reader.digits(unsigned, 0)?;
    let mut plain = true;
    if let Some(fraction) = rest.strip_prefix(b".") {
        plain = false;
        rest = reader.digits(fraction, 1)?;
    }
    let mut exponent = 0;
    if let Some((b'e' | b'E', digits)) = rest.split_first() {
        plain = false;
        (exponent, rest) = read_exponent(digits)?;
    }
    if !rest.is_empty() {
        return None;
    }
    let coefficient = if negative {
        -reader.coefficient
    } else {
        reader.coefficient
    };
    // A text of 128 KiB or a payload of some MiB moves the exponent by less than this.
    let value = Decimal::rounded(coefficient, reader.exponent + exponent, reader.sticky);
    Some(Read { value, plain })
}

struct Reader {
    coefficient: i128,
    kept: u32,
    exponent: i64,
    sticky: bool,
}

impl Reader {
    /// Takes at least one digit; each moves the exponent down by `scale`. Returns what follows.
    fn digits<'t>(&mut self, text: &'t [u8], scale: i64) -> Option<&'t [u8]> {
        let len = text
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, rest) = text.split_at(len);
        if digits.is_empty() {
            return None;
        }
        for byte in digits {
            let digit = byte - b'0';
            if self.kept < KEPT_MAX {
                self.coefficient = self.coefficient * 10 + i128::from(digit);
                self.kept += u32::from(self.coefficient != 0);
                self.exponent -= scale;
            } else {
                self.sticky |= digit != 0;
                self.exponent += 1 - scale;
            }
        }
        Some(rest)
    }
}

fn read_exponent(text: &[u8]) -> Option<(i64, &[u8])> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let len = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(len);
    if digits.is_empty() {
        return None;
    }
    // Far beyond every range, and far from overflow.
    const BOUND: i64 = 1 << 40;
    let value = digits.iter().fold(0_i64, |value, byte| {
        (value * 10 + i64::from(byte - b'0')).min(BOUND)
    });
    Some((if negative { -value } else { value }, rest))
}

/// True for a string that AWS IoT SQL takes for a number: an optional minus, digits, optionally a point and digits,
/// optionally `e` with an optional minus and digits (developer guide, data types, conversions).
pub(super) fn is_numeric(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let len = text
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(text.len());
        (len > 0).then(|| text.split_at(len).1)
    }
    let unsigned = |text: &[u8]| -> Option<bool> {
        let mut rest = digits(text)?;
        if let Some(fraction) = rest.strip_prefix(b".") {
            rest = digits(fraction)?;
        }
        if let Some((b'e' | b'E', exponent)) = rest.split_first() {
            rest = digits(exponent.strip_prefix(b"-").unwrap_or(exponent))?;
        }
        Some(rest.is_empty())
    };
    unsigned(text.strip_prefix(b"-").unwrap_or(text)).unwrap_or(false)
}
