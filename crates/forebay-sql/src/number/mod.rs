//! Numbers: Int of up to 34 digits and Decimal of 34 significant digits, as AWS IoT SQL has them.
//!
//! Arithmetic is decimal and exact until a result has more than 34 digits; then it is rounded half to even. A
//! magnitude over 9.99…E999 is no number: such results are `None`, which SQL calls Undefined.

mod binary;
mod decimal;
#[cfg(test)]
mod oracle;
mod packed;
mod reading;
mod rounding;
mod text;

use std::cmp::Ordering;

pub(crate) use decimal::Decimal;
pub(crate) use packed::Packed;
pub(crate) use rounding::Rounding;

use crate::SqlVersion;

/// Significant digits of a number.
pub(crate) const DIGITS_MAX: u32 = 34;
/// The exponent of the first digit of the greatest number.
const EXPONENT_MAX: i64 = 999;
/// Magnitudes below this are Int.
const INT_BOUND: u128 = power_of_ten(DIGITS_MAX);

/// A number. An Int has at most 34 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Int(i128),
    Decimal(Decimal),
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Int(value.into())
    }
}

impl Number {
    /// A number literal of a statement; `None` beyond the range of Decimal.
    pub(crate) fn literal(text: &[u8], version: SqlVersion) -> Option<Self> {
        reading::read(text)?.number(version)
    }

    /// A number of a JSON text; `None` when its magnitude is beyond binary64, which makes it Undefined.
    pub(crate) fn json(text: &[u8], version: SqlVersion) -> Option<Self> {
        if let Some(short) = reading::Short::read(text) {
            return Some(short.number(version));
        }
        let read = reading::read(text)?;
        let number = read.number(version)?;
        match number {
            Self::Int(_) => Some(number),
            Self::Decimal(value) => value.fits_binary64().then_some(number),
        }
    }

    /// The Decimal that a string converts to, if it has the form of one.
    pub(crate) fn from_string(text: &[u8]) -> Option<Decimal> {
        if !reading::is_numeric(text) {
            return None;
        }
        reading::read(text)?.value
    }

    /// An Int, or the rounded Decimal when it has more than 34 digits.
    pub(crate) fn from_int(value: i128) -> Option<Self> {
        if value.unsigned_abs() < INT_BOUND {
            Some(Self::Int(value))
        } else {
            Decimal::rounded(value, 0, false).map(Self::Decimal)
        }
    }

    /// A Decimal under a version of the language: from 2016-03-23 on a whole number of at most 34 digits is Int.
    pub(crate) fn from_decimal(value: Decimal, version: SqlVersion) -> Self {
        match value.whole() {
            Some(int) if version.is_2016() => Self::Int(int),
            _ => Self::Decimal(value),
        }
    }

    /// The same number as Decimal.
    pub(crate) fn decimal(self) -> Decimal {
        match self {
            Self::Int(value) => Decimal::exact(value),
            Self::Decimal(value) => value,
        }
    }

    /// The same number, not in the one form of Decimal: an Int may end in 0. For comparing.
    fn unstripped(self) -> Decimal {
        match self {
            Self::Int(coefficient) => Decimal {
                coefficient,
                exponent: 0,
            },
            Self::Decimal(value) => value,
        }
    }

    pub(crate) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            _ => self.unstripped().compare(other.unstripped()),
        }
    }

    pub(crate) fn add(self, other: Self, version: SqlVersion) -> Option<Self> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::from_int(a + b),
            _ => self
                .decimal()
                .add(other.decimal())
                .map(|sum| Self::from_decimal(sum, version)),
        }
    }

    pub(crate) fn negate(self) -> Self {
        match self {
            Self::Int(value) => Self::Int(-value),
            Self::Decimal(value) => Self::Decimal(value.negate()),
        }
    }

    pub(crate) fn subtract(self, other: Self, version: SqlVersion) -> Option<Self> {
        self.add(other.negate(), version)
    }

    pub(crate) fn multiply(self, other: Self, version: SqlVersion) -> Option<Self> {
        if let (Self::Int(a), Self::Int(b)) = (self, other)
            && let Some(product) = a.checked_mul(b)
        {
            return Self::from_int(product);
        }
        let product = self.decimal().multiply(other.decimal())?;
        Some(Self::from_decimal(product, version))
    }

    /// The quotient; of two Int it is Int, truncated toward zero. `None` for a division by zero.
    pub(crate) fn divide(self, other: Self, version: SqlVersion) -> Option<Self> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_div(b).map(Self::Int),
            _ => self.divide_exactly(other, version),
        }
    }

    /// The quotient as a Decimal, also of two Int. `None` for a division by zero.
    pub(crate) fn divide_exactly(self, other: Self, version: SqlVersion) -> Option<Self> {
        let quotient = self.decimal().divide(other.decimal())?;
        Some(Self::from_decimal(quotient, version))
    }

    /// What the truncated division leaves, with the sign of the dividend. `None` for a division by zero.
    pub(crate) fn remainder(self, other: Self, version: SqlVersion) -> Option<Self> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.checked_rem(b).map(Self::Int),
            _ => self
                .decimal()
                .remainder(other.decimal())
                .map(|rest| Self::from_decimal(rest, version)),
        }
    }

    /// Appends the number's one text form.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Int(value) => {
                let mut buffer = itoa::Buffer::new();
                let text = match i64::try_from(value) {
                    Ok(short) => buffer.format(short),
                    Err(_) => buffer.format(value),
                };
                out.extend_from_slice(text.as_bytes());
            }
            Self::Decimal(value) => text::write_decimal(value, out),
        }
    }
}

/// 10 to the power of `exponent`, which is at most 38.
const fn power_of_ten(exponent: u32) -> u128 {
    10_u128.pow(exponent)
}

/// Decimal digits of a magnitude; zero has one.
fn digits(magnitude: u128) -> u32 {
    match u64::try_from(magnitude) {
        Ok(small) => small.checked_ilog10().map_or(1, |log| log + 1),
        Err(_) => magnitude.ilog10() + 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2016: SqlVersion = SqlVersion::V2016;

    fn number(text: &str) -> Number {
        Number::literal(text.trim_start_matches('-').as_bytes(), V2016)
            .map(|number| {
                if text.starts_with('-') {
                    number.negate()
                } else {
                    number
                }
            })
            .unwrap()
    }

    fn text(number: Option<Number>) -> String {
        let mut out = Vec::new();
        number.expect("defined").write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn arithmetic_is_decimal_and_rounds_half_to_even_at_34_digits() {
        let add = |a, b| text(number(a).add(number(b), V2016));
        let multiply = |a, b| text(number(a).multiply(number(b), V2016));
        let divide = |a, b| text(number(a).divide(number(b), V2016));
        assert_eq!(add("0.1", "0.2"), "0.3");
        assert_eq!(add("9999999999999999999999999999999999", "1"), "1E+34");
        assert_eq!(add("1", "1E-40"), "1");
        assert_eq!(add("1E30", "-1E-30"), "1000000000000000000000000000000");
        assert_eq!(add("1E33", "-1E-30"), "1000000000000000000000000000000000");
        assert_eq!(add("1E40", "-1"), "1E+40");
        assert_eq!(add("1E34", "-0.5"), "1E+34");
        assert_eq!(
            add("1000000000000000000000000000000000", "-0.25"),
            "9.999999999999999999999999999999998E+32"
        );
        assert_eq!(add("1E500", "-1E-500"), "1E+500");
        assert_eq!(
            multiply("0.3333333333333333333333333333333333", "3"),
            "0.9999999999999999999999999999999999"
        );
        assert_eq!(
            multiply(
                "9999999999999999999999999999999999",
                "9999999999999999999999999999999999"
            ),
            "9.999999999999999999999999999999998E+67"
        );
        assert_eq!(multiply("2.5", "4"), "10");
        assert_eq!(divide("1.0", "3"), "0");
        assert_eq!(divide("1.5", "0.7"), "2.142857142857142857142857142857143");
        assert_eq!(divide("2", "3.5"), "0.5714285714285714285714285714285714");
        assert_eq!(divide("-7", "2"), "-3");
        assert_eq!(number("1").divide(number("0"), V2016), None);
        assert_eq!(number("1.5").remainder(number("0"), V2016), None);
        assert_eq!(text(number("5.5").remainder(number("2"), V2016)), "1.5");
        assert_eq!(text(number("-5.5").remainder(number("2"), V2016)), "-1.5");
        assert_eq!(text(number("1E300").remainder(number("0.7"), V2016)), "0.3");
        assert_eq!(text(number("0.5").remainder(number("1E300"), V2016)), "0.5");
        assert_eq!(number("1E600").multiply(number("1E600"), V2016), None);
        assert_eq!(
            text(number("1E-600").multiply(number("1E-600"), V2016)),
            "0"
        );
    }

    #[test]
    fn the_version_decides_what_is_int() {
        let old = Number::literal(b"10.0", SqlVersion::V2015);
        assert_eq!(text(old), "10.0");
        assert_eq!(text(Number::literal(b"10.0", V2016)), "10");
        assert_eq!(text(Number::literal(b"1e2", SqlVersion::V2015)), "100.0");
        assert_eq!(text(Number::json(b"-0", V2016)), "0");
        assert_eq!(text(Number::json(b"-0.0", SqlVersion::V2015)), "0.0");
        assert_eq!(Number::json(b"1e400", V2016), None);
        assert_eq!(
            text(Number::json(b"1.7976931348623157e308", V2016)),
            "1.7976931348623157E+308"
        );
        assert_eq!(Number::json(b"-1.7976931348623158e308", V2016), None);
        assert_eq!(text(Number::json(b"1e-400", V2016)), "1E-400");
        assert_eq!(
            text(Number::json(
                b"12345678901234567890123456789012345678901",
                V2016
            )),
            "1.234567890123456789012345678901235E+40"
        );
        assert_eq!(Number::literal(b"1e1000", V2016), None);
    }

    #[test]
    fn strings_convert_only_in_the_documented_form() {
        for text in ["12", "-1.5", "5E1", "5e-1", "007"] {
            assert!(Number::from_string(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "", "+1", ".5", "5.", "1E+5", " 1", "1 ", "1e", "-", "0x1", "abc", "1_0",
        ] {
            assert!(Number::from_string(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn plain_between_1e_minus_6_and_1e20_and_scientific_beyond() {
        for (literal, expected) in [
            ("0.000001", "0.000001"),
            ("0.0000001", "1E-7"),
            ("0.00000012", "1.2E-7"),
            ("123456789012345678901.5", "123456789012345678901.5"),
            ("1234567890123456789012.5", "1.2345678901234567890125E+21"),
            ("1E33", "1000000000000000000000000000000000"),
            ("1E34", "1E+34"),
            ("1.500", "1.5"),
        ] {
            assert_eq!(text(Some(number(literal))), expected, "{literal}");
        }
    }

    proptest! {
        #[test]
        fn short_numbers_agree_with_integer_arithmetic(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000, scale in 0_usize..6) {
            // Both have `scale` decimals, so sums, products and comparisons have an integer twin.
            let shifted = |value: i64| {
                let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                let point = if scale == 0 { "" } else { "." };
                number(&format!("{}{whole}{point}{fraction}", if value < 0 { "-" } else { "" }))
            };
            let (x, y) = (shifted(a), shifted(b));
            prop_assert_eq!(x.add(y, V2016), Some(shifted(a + b)));
            prop_assert_eq!(x.subtract(y, V2016), Some(shifted(a - b)));
            prop_assert_eq!(x.compare(y), a.cmp(&b));
            let product = x.multiply(y, V2016).unwrap().decimal();
            prop_assert_eq!(product, Decimal::rounded(i128::from(a) * i128::from(b), -2 * i64::try_from(scale).unwrap(), false).unwrap());
            if b != 0 {
                prop_assert_eq!(x.remainder(y, V2016), Some(shifted(a % b)));
            }
        }

        #[test]
        fn numbers_of_few_digits_are_read_as_all_others_are(text in "-?[0-9]{1,14}(\\.[0-9]{1,7})?", other in "[-.0-9]{0,8}") {
            for version in SqlVersion::ALL {
                for text in [text.as_bytes(), other.as_bytes()] {
                    let whole_way = reading::read(text).and_then(|read| read.number(version));
                    if let Some(short) = reading::Short::read(text) {
                        prop_assert_eq!(Some(short.number(version)), whole_way);
                    }
                    prop_assert_eq!(Number::json(text, version), whole_way);
                }
            }
        }

        #[test]
        fn the_text_of_a_number_reads_back(coefficient in any::<i128>(), exponent in -900_i64..900) {
            let Some(decimal) = Decimal::rounded(coefficient % 100_000_000_000_000_000_000_000_000_000_000_000_000, exponent, false) else { return Ok(()) };
            for version in SqlVersion::ALL {
                let number = Number::from_decimal(decimal, version);
                let mut out = Vec::new();
                number.write(&mut out);
                let text = String::from_utf8(out).unwrap().replace("E+", "E");
                prop_assert_eq!(Number::from_string(text.as_bytes()).unwrap(), decimal, "{}", text);
            }
        }

        #[test]
        fn a_quotient_times_its_divisor_is_close(a in 1_i64.., b in 1_i64..) {
            let (a, b) = (Decimal::exact(a.into()), Decimal::exact(b.into()));
            let back = a.divide(b).unwrap().multiply(b).unwrap();
            let difference = back.add(a.negate()).unwrap();
            // Half a unit of the 34th digit in each of two roundings.
            let bound = a.multiply(Decimal::rounded(2, -33, false).unwrap()).unwrap();
            let magnitude = if difference.compare(Decimal::ZERO).is_lt() { difference.negate() } else { difference };
            prop_assert!(magnitude.compare(bound).is_le());
        }
    }
}
