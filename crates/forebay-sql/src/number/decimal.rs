//! Decimal: 34 significant digits, rounded half to even, with exponents up to 999.

use std::cmp::Ordering;

use super::{DIGITS_MAX, EXPONENT_MAX, INT_BOUND, digits, power_of_ten};

/// `coefficient * 10^exponent`. The coefficient has at most 34 digits and does not end in 0; zero has exponent 0.
/// So equal numbers are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(super) coefficient: i128,
    pub(super) exponent: i32,
}

/// Digits to which operands are widened: 34, two guard digits, and one that a carry may need.
const WIDE_DIGITS: u32 = 37;

impl Decimal {
    pub(crate) const ZERO: Self = Self {
        coefficient: 0,
        exponent: 0,
    };
    pub(crate) const ONE: Self = Self {
        coefficient: 1,
        exponent: 0,
    };
    /// The greatest finite binary64.
    const BINARY64_MAX: Self = Self {
        coefficient: 17_976_931_348_623_157,
        exponent: 292,
    };

    /// An integer of at most 34 digits.
    pub(super) fn exact(value: i128) -> Self {
        Self::stripped(value, 0).unwrap_or(Self::ZERO)
    }

    /// The number with this coefficient of at most 18 digits, of which the last `scale` stand behind the point.
    #[inline]
    pub(super) fn short(coefficient: i64, scale: u32) -> Self {
        if coefficient == 0 {
            return Self::ZERO;
        }
        let (mut coefficient, mut exponent) = (coefficient, -scale.cast_signed());
        while coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        Self {
            coefficient: coefficient.into(),
            exponent,
        }
    }

    /// `coefficient * 10^exponent`, rounded. `sticky`: the true value is a little farther from zero than the
    /// coefficient says, by less than one unit of its last digit; the coefficient then has more than 34 digits.
    /// `None` above the greatest number; zero below the smallest.
    pub(super) fn rounded(coefficient: i128, exponent: i64, sticky: bool) -> Option<Self> {
        let magnitude = coefficient.unsigned_abs();
        if magnitude < INT_BOUND {
            return Self::stripped(coefficient, exponent);
        }
        let cut = digits(magnitude) - DIGITS_MAX;
        let unit = power_of_ten(cut);
        let (mut kept, rest) = (magnitude / unit, magnitude % unit);
        let up = match (rest * 2).cmp(&unit) {
            Ordering::Greater => true,
            Ordering::Equal => sticky || kept % 2 == 1,
            Ordering::Less => false,
        };
        if up {
            kept += 1;
        }
        let kept = i128::try_from(kept).expect("a rounded coefficient has at most 35 digits");
        Self::stripped(
            if coefficient < 0 { -kept } else { kept },
            exponent + i64::from(cut),
        )
    }

    /// Makes the one form of a number.
    fn stripped(coefficient: i128, exponent: i64) -> Option<Self> {
        let mut exponent = exponent;
        let mut magnitude = coefficient.unsigned_abs();
        if magnitude == 0 {
            return Some(Self::ZERO);
        }
        while u64::try_from(magnitude).is_err() && magnitude.is_multiple_of(10) {
            magnitude /= 10;
            exponent += 1;
        }
        if let Ok(mut small) = u64::try_from(magnitude) {
            while small.is_multiple_of(10) {
                small /= 10;
                exponent += 1;
            }
            magnitude = small.into();
        }
        let first = exponent + i64::from(digits(magnitude)) - 1;
        if first > EXPONENT_MAX {
            return None;
        }
        if first < -EXPONENT_MAX {
            return Some(Self::ZERO);
        }
        let magnitude = i128::try_from(magnitude).expect("a coefficient has at most 34 digits");
        Some(Self {
            coefficient: if coefficient < 0 {
                -magnitude
            } else {
                magnitude
            },
            exponent: i32::try_from(exponent).expect("an exponent is within 2 000"),
        })
    }

    /// The exponent of the first digit.
    pub(super) fn first_exponent(self) -> i64 {
        i64::from(self.exponent) + i64::from(digits(self.coefficient.unsigned_abs())) - 1
    }

    /// The number as an integer, if it is one of at most 34 digits.
    pub(super) fn whole(self) -> Option<i128> {
        let exponent = u32::try_from(self.exponent).ok()?;
        if digits(self.coefficient.unsigned_abs()) + exponent > DIGITS_MAX {
            return None;
        }
        i128::try_from(power_of_ten(exponent))
            .ok()
            .map(|power| self.coefficient * power)
    }

    pub(super) fn fits_binary64(self) -> bool {
        // A coefficient has far fewer than a hundred digits.
        if self.exponent < 200 {
            return true;
        }
        let magnitude = Self {
            coefficient: self.coefficient.abs(),
            ..self
        };
        magnitude.compare(Self::BINARY64_MAX).is_le()
    }

    pub(crate) fn negate(self) -> Self {
        Self {
            coefficient: -self.coefficient,
            ..self
        }
    }

    /// The order of two numbers of few digits whose last digits are not far apart: brought to one exponent, both fit.
    fn compare_small(self, other: Self) -> Option<Ordering> {
        // A 64-bit coefficient times any of these is below 2^127.
        const POWERS: [i64; 19] = {
            let mut powers = [1; 19];
            let mut place = 1;
            while place < powers.len() {
                powers[place] = powers[place - 1] * 10;
                place += 1;
            }
            powers
        };
        let small = |value: Self| i64::try_from(value.coefficient).ok().map(i128::from);
        let (a, b) = (small(self)?, small(other)?);
        let shift = self.exponent.abs_diff(other.exponent);
        let scale = i128::from(*POWERS.get(shift as usize)?);
        Some(if self.exponent > other.exponent {
            (a * scale).cmp(&b)
        } else {
            a.cmp(&(b * scale))
        })
    }

    pub(super) fn compare(self, other: Self) -> Ordering {
        if let Some(order) = self.compare_small(other) {
            return order;
        }
        let by_sign = self.coefficient.signum().cmp(&other.coefficient.signum());
        if by_sign.is_ne() || self.coefficient == 0 {
            return by_sign;
        }
        let magnitudes = self
            .first_exponent()
            .cmp(&other.first_exponent())
            .then_with(|| {
                // The first digits stand at one place, so the exponents differ by less than the digits.
                let shift = self.exponent.abs_diff(other.exponent);
                let (a, b) = (
                    self.coefficient.unsigned_abs(),
                    other.coefficient.unsigned_abs(),
                );
                if self.exponent > other.exponent {
                    (a * power_of_ten(shift)).cmp(&b)
                } else {
                    a.cmp(&(b * power_of_ten(shift)))
                }
            });
        if self.coefficient < 0 {
            magnitudes.reverse()
        } else {
            magnitudes
        }
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        let (high, low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        let shift = high.exponent.abs_diff(low.exponent);
        if shift <= 38
            && let Ok(power) = i128::try_from(power_of_ten(shift))
            && let Some(sum) = high
                .coefficient
                .checked_mul(power)
                .and_then(|c| c.checked_add(low.coefficient))
        {
            return Self::rounded(sum, low.exponent.into(), false);
        }
        if high.coefficient == 0 || low.coefficient == 0 {
            return Some(if high.coefficient == 0 { low } else { high });
        }
        Self::add_far(self, other)
    }

    /// Adds two numbers whose digits do not fit into one coefficient together. What falls off the end of the smaller
    /// one only matters as "a little more" for the rounding.
    fn add_far(a: Self, b: Self) -> Option<Self> {
        let (big, small) = if a.first_exponent() >= b.first_exponent() {
            (a, b)
        } else {
            (b, a)
        };
        let widen = WIDE_DIGITS - digits(big.coefficient.unsigned_abs());
        let exponent = i64::from(big.exponent) - i64::from(widen);
        let signed = |power: u128| i128::try_from(power).expect("a power of ten below 10^38");
        let wide = big.coefficient * signed(power_of_ten(widen));
        let shift = i64::from(small.exponent) - exponent;
        if let Ok(up) = u32::try_from(shift) {
            // The first digit of `small` stands no higher than that of `wide`, so this has at most 37 digits.
            return Self::rounded(
                wide + small.coefficient * signed(power_of_ten(up)),
                exponent,
                false,
            );
        }
        let (part, lost) = match u32::try_from(-shift) {
            Ok(down @ ..=37) => {
                let power = signed(power_of_ten(down));
                (small.coefficient / power, small.coefficient % power != 0)
            }
            _ => (0, true),
        };
        let mut sum = wide + part;
        if lost && (small.coefficient < 0) != (big.coefficient < 0) {
            // The lost digits take away: one unit less, and "a little more" than that.
            sum -= big.coefficient.signum();
        }
        Self::rounded(sum, exponent, lost)
    }

    pub(super) fn multiply(self, other: Self) -> Option<Self> {
        let exponent = i64::from(self.exponent) + i64::from(other.exponent);
        if let Some(product) = self.coefficient.checked_mul(other.coefficient) {
            return Self::rounded(product, exponent, false);
        }
        let (high, low) = wide_product(
            self.coefficient.unsigned_abs(),
            other.coefficient.unsigned_abs(),
        );
        // Keep 37 digits of the product, or all when the high half is short.
        let drop = digits(high).saturating_sub(WIDE_DIGITS - DIGITS_MAX);
        let unit = power_of_ten(drop);
        let kept = high * power_of_ten(DIGITS_MAX - drop) + low / unit;
        let kept = i128::try_from(kept).expect("37 digits fit");
        let negative = (self.coefficient < 0) != (other.coefficient < 0);
        Self::rounded(
            if negative { -kept } else { kept },
            exponent + i64::from(drop),
            low % unit != 0,
        )
    }

    pub(super) fn divide(self, other: Self) -> Option<Self> {
        let divisor = other.coefficient.unsigned_abs();
        let dividend = self.coefficient.unsigned_abs();
        let mut quotient = dividend.checked_div(divisor)?;
        let mut rest = dividend % divisor;
        let mut exponent = i64::from(self.exponent) - i64::from(other.exponent);
        // Long division, four digits at a time, until the quotient is exact or has a digit beyond the 34th.
        while rest != 0 && quotient < INT_BOUND {
            rest *= 10_000;
            quotient = quotient * 10_000 + rest / divisor;
            rest %= divisor;
            exponent -= 4;
        }
        let quotient = i128::try_from(quotient).expect("a quotient is below 10^38");
        let negative = (self.coefficient < 0) != (other.coefficient < 0);
        Self::rounded(
            if negative { -quotient } else { quotient },
            exponent,
            rest != 0,
        )
    }

    pub(super) fn remainder(self, other: Self) -> Option<Self> {
        if other.coefficient == 0 {
            return None;
        }
        let divisor = other.coefficient.unsigned_abs();
        let dividend = self.coefficient.unsigned_abs();
        let shift = self.exponent.abs_diff(other.exponent);
        let (rest, exponent) = if self.exponent >= other.exponent {
            // dividend * 10^shift modulo divisor, a few digits at a time.
            let mut rest = dividend % divisor;
            let mut left = shift;
            while left > 0 && rest != 0 {
                let step = left.min(4);
                rest = rest * power_of_ten(step) % divisor;
                left -= step;
            }
            (rest, other.exponent)
        } else {
            let scaled = (shift <= 38)
                .then(|| divisor.checked_mul(power_of_ten(shift)))
                .flatten();
            // A divisor too great to be written at the dividend's scale is greater than it.
            (
                scaled.map_or(dividend, |divisor| dividend % divisor),
                self.exponent,
            )
        };
        let rest = i128::try_from(rest).expect("a remainder has at most 34 digits");
        Self::rounded(
            if self.coefficient < 0 { -rest } else { rest },
            exponent.into(),
            false,
        )
    }
}

/// The product of two magnitudes below 10^34 as `high * 10^34 + low`.
fn wide_product(a: u128, b: u128) -> (u128, u128) {
    const HALF: u128 = power_of_ten(DIGITS_MAX / 2);
    let (a_high, a_low) = (a / HALF, a % HALF);
    let (b_high, b_low) = (b / HALF, b % HALF);
    let middle = a_high * b_low + a_low * b_high;
    let low = a_low * b_low + middle % HALF * HALF;
    (
        a_high * b_high + middle / HALF + low / INT_BOUND,
        low % INT_BOUND,
    )
}
