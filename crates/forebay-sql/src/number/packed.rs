//! A number in sixteen bytes.

use super::{Decimal, Number};

/// A number as values carry it: values are copied all the time, and an `i128` beside an exponent makes them twice as
/// large. From the lowest bit up: 1 for Int, the exponent, the coefficient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed {
    low: u64,
    high: u64,
}

/// A coefficient has at most 34 digits, which take 113 bits beside the sign.
const COEFFICIENT_SHIFT: u32 = 14;
/// The exponent of a last digit is within 2 000, so that 13 bits hold it.
const EXPONENT_SHIFT: u32 = 1;
const EXPONENT_BITS: i128 = 0x1fff;
const EXPONENT_ZERO: i32 = 0x1000;

impl From<Number> for Packed {
    fn from(number: Number) -> Self {
        let (coefficient, low) = match number {
            Number::Int(value) => (value, 1),
            Number::Decimal(value) => {
                let exponent = i128::from(value.exponent + EXPONENT_ZERO) & EXPONENT_BITS;
                (value.coefficient, exponent << EXPONENT_SHIFT)
            }
        };
        let bits = (coefficient << COEFFICIENT_SHIFT | low).cast_unsigned();
        Self {
            low: bits as u64,
            high: (bits >> 64) as u64,
        }
    }
}

impl From<Packed> for Number {
    fn from(packed: Packed) -> Self {
        let bits = (u128::from(packed.high) << 64 | u128::from(packed.low)).cast_signed();
        let coefficient = bits >> COEFFICIENT_SHIFT;
        if bits & 1 == 1 {
            return Self::Int(coefficient);
        }
        let exponent = bits >> EXPONENT_SHIFT & EXPONENT_BITS;
        Self::Decimal(Decimal {
            coefficient,
            exponent: exponent as i32 - EXPONENT_ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::{EXPONENT_MAX, INT_BOUND};

    #[test]
    fn the_greatest_and_the_smallest_numbers_fit() {
        let bound = INT_BOUND.cast_signed() - 1;
        let exponent = i32::try_from(EXPONENT_MAX).unwrap();
        for coefficient in [-bound, -1, 0, 1, bound] {
            for exponent in [-exponent - 33, -1, 0, 1, exponent] {
                let decimal = Number::Decimal(Decimal {
                    coefficient,
                    exponent,
                });
                assert_eq!(Number::from(Packed::from(decimal)), decimal);
            }
            let int = Number::Int(coefficient);
            assert_eq!(Number::from(Packed::from(int)), int);
        }
    }

    proptest! {
        #[test]
        fn a_packed_number_is_the_same(coefficient in any::<i128>(), exponent in -2000_i64..2000) {
            if let Some(value) = Decimal::rounded(coefficient >> 4, exponent, false) {
                prop_assert_eq!(Number::from(Packed::from(Number::Decimal(value))), Number::Decimal(value));
            }
        }
    }
}
