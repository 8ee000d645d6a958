//! To binary64 and back, for functions with double precision.

use std::io::Write;

use super::{Number, reading};
use crate::SqlVersion;

/// Coefficients and powers of ten up to these are exact in binary64, so one operation rounds once.
const EXACT_COEFFICIENT: u128 = 1 << 53;
const EXACT_POWER: i32 = 22;

/// Longer than any number that binary64 prints.
const TEXT_BYTES: usize = 64;

impl Number {
    /// The nearest binary64; infinite beyond its range.
    pub(crate) fn to_f64(self) -> f64 {
        let decimal = self.decimal();
        let exponent = decimal.exponent;
        if decimal.coefficient.unsigned_abs() <= EXACT_COEFFICIENT && exponent.abs() <= EXACT_POWER
        {
            #[expect(
                clippy::cast_precision_loss,
                reason = "below 2^53 every integer is exact"
            )]
            let coefficient = decimal.coefficient as f64;
            let power = 10_f64.powi(exponent.abs());
            return if exponent < 0 {
                coefficient / power
            } else {
                coefficient * power
            };
        }
        let mut buffer = [0_u8; TEXT_BYTES];
        let mut rest = buffer.as_mut_slice();
        if write!(rest, "{}e{exponent}", decimal.coefficient).is_err() {
            return f64::NAN;
        }
        let left = rest.len();
        let text = buffer.get(..TEXT_BYTES - left).unwrap_or_default();
        let parsed = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok());
        parsed.unwrap_or(f64::NAN)
    }

    /// The shortest Decimal that reads back as this value, under the rules of a version; `None` for NaN and infinity.
    pub(crate) fn from_f64(value: f64, version: SqlVersion) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let mut buffer = [0_u8; TEXT_BYTES];
        let mut rest = buffer.as_mut_slice();
        write!(rest, "{value:e}").ok()?;
        let left = rest.len();
        let read = reading::read(buffer.get(..TEXT_BYTES - left)?)?;
        Some(Self::from_decimal(read.value?, version))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_double_survives_the_way_there_and_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            match Number::from_f64(value, SqlVersion::V2016) {
                Some(number) => prop_assert_eq!(number.to_f64(), value),
                None => prop_assert!(!value.is_finite()),
            }
        }

        #[test]
        fn decimals_round_as_the_standard_library_reads_them(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?") {
            // Both read at most 34 digits here, or round twice.
            prop_assume!(text.bytes().filter(u8::is_ascii_digit).count() <= 34);
            let number = Number::json(text.as_bytes(), SqlVersion::V2016).unwrap();
            prop_assert_eq!(number.to_f64(), text.parse::<f64>().unwrap() + 0.0);
        }
    }
}
