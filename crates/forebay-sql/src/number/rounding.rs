//! From Decimal to Int, in each of the ways that functions round.

use super::{Decimal, INT_BOUND, Number, digits, power_of_ten};

/// Where a fraction goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// Toward negative infinity.
    Floor,
    /// Toward positive infinity.
    Ceiling,
    /// Toward zero.
    Truncate,
    /// To the nearest integer, a half away from zero.
    HalfUp,
}

impl Number {
    /// The number without its fraction. A Decimal of more than 34 digits has none and stays as it is.
    pub(crate) fn to_integer(self, rounding: Rounding) -> Self {
        match self {
            Self::Int(_) => self,
            Self::Decimal(value) => value.integer(rounding).map_or(self, Self::Int),
        }
    }

    /// The number without its fraction, saturating at 34 digits.
    pub(crate) fn saturating(self, rounding: Rounding) -> i128 {
        match self {
            Self::Int(value) => value,
            Self::Decimal(value) => value.integer(rounding).unwrap_or_else(|| {
                let bound = i128::try_from(INT_BOUND).expect("10^34 fits") - 1;
                bound * value.coefficient.signum()
            }),
        }
    }

    /// The number with the digits behind the `places`-th decimal place cut off.
    pub(crate) fn truncated(self, places: u32) -> Self {
        match self {
            Self::Int(_) => self,
            Self::Decimal(value) => Self::Decimal(value.truncated(places)),
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self.signum() == 0
    }

    /// -1, 0 or 1.
    pub(crate) fn signum(self) -> i128 {
        match self {
            Self::Int(value) => value.signum(),
            Self::Decimal(value) => value.coefficient.signum(),
        }
    }
}

impl Decimal {
    /// The number without its fraction; `None` when it has more than 34 digits, and so no fraction.
    fn integer(self, rounding: Rounding) -> Option<i128> {
        if self.exponent >= 0 {
            return self.whole();
        }
        let magnitude = self.coefficient.unsigned_abs();
        let negative = self.coefficient < 0;
        // Beyond 38 places a coefficient of 34 digits is less than a thousandth.
        let (whole, rest, unit) = match self.exponent.unsigned_abs() {
            shift @ ..=38 => {
                let unit = power_of_ten(shift);
                (magnitude / unit, magnitude % unit, unit)
            }
            _ => (0, 1, 1000),
        };
        let up = match rounding {
            Rounding::Truncate => false,
            Rounding::Floor => negative && rest > 0,
            Rounding::Ceiling => !negative && rest > 0,
            Rounding::HalfUp => rest * 2 >= unit,
        };
        let whole = i128::try_from(whole + u128::from(up)).expect("at most 34 digits");
        Some(if negative { -whole } else { whole })
    }

    fn truncated(self, places: u32) -> Self {
        let cut = self.exponent.unsigned_abs().saturating_sub(places);
        if self.exponent >= 0 || cut == 0 {
            return self;
        }
        if cut > digits(self.coefficient.unsigned_abs()) {
            return Self::ZERO;
        }
        let unit = i128::try_from(power_of_ten(cut)).expect("10^34 fits");
        let exponent = i64::from(self.exponent) + i64::from(cut);
        Self::rounded(self.coefficient / unit, exponent, false).unwrap_or(Self::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqlVersion;

    fn number(text: &str) -> Number {
        Number::json(text.as_bytes(), SqlVersion::V2015).unwrap()
    }

    #[test]
    fn each_way_of_rounding_goes_its_way() {
        use Rounding::{Ceiling, Floor, HalfUp, Truncate};
        for (text, floor, ceiling, truncate, half_up) in [
            ("1.5", 1, 2, 1, 2),
            ("-1.5", -2, -1, -1, -2),
            ("2.5", 2, 3, 2, 3),
            ("-0.4", -1, 0, 0, 0),
            ("7.0", 7, 7, 7, 7),
            ("1e-500", 0, 1, 0, 0),
            ("-1e-500", -1, 0, 0, 0),
            ("0.0", 0, 0, 0, 0),
        ] {
            let rounded =
                [Floor, Ceiling, Truncate, HalfUp].map(|way| number(text).to_integer(way));
            assert_eq!(
                rounded,
                [floor, ceiling, truncate, half_up].map(Number::Int),
                "{text}"
            );
        }
        assert_eq!(number("1e40").to_integer(Floor), number("1e40"));
        assert_eq!(number("-1e40").saturating(Floor), 1 - 10_i128.pow(34));
    }

    #[test]
    fn truncation_cuts_digits_off() {
        for (text, places, cut) in [
            ("2.3123", 2, "2.31"),
            ("-2.99", 0, "-2.0"),
            ("0.0004", 3, "0.0"),
            ("1e-300", 34, "0.0"),
            ("2.5", 9, "2.5"),
        ] {
            assert_eq!(number(text).truncated(places), number(cut), "{text}");
        }
    }
}
