//! Decimal arithmetic beside decNumber, the reference implementation of General Decimal Arithmetic, whose decimal128 has
//! the same 34 digits and the same rounding.

use std::cmp::Ordering;

use dec::{Context, Decimal128};
use proptest::prelude::*;

use super::Number;
use crate::SqlVersion;

const V2016: SqlVersion = SqlVersion::V2016;

/// Numbers of 1 to 34 digits; half of them close to each other, so that sums cancel and carry.
fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[1-9][0-9]{0,33}e-?[0-9]{1,2}",
        "-?(0|[1-9][0-9]{0,16})(\\.[0-9]{1,17})?",
        "-?[1-9](0{1,32}|9{1,32})[0-9]?e-?[0-3]?[0-9]",
        "-?[1-9][0-9]{0,33}e-?[1-3][0-9]{2}",
    ]
}

fn ours(text: &str) -> Number {
    Number::literal(text.as_bytes(), V2016).expect("in range")
}

fn read(text: &str) -> Decimal128 {
    text.parse().expect("a number")
}

/// Both results are the same number, and ours is written so that it is read back as it.
fn same(ours: Option<Number>, theirs: Decimal128) -> Result<(), TestCaseError> {
    let mut text = Vec::new();
    if let Some(number) = ours {
        number.write(&mut text);
    }
    let text = String::from_utf8(text).expect("UTF-8");
    if theirs.is_nan() || theirs.is_infinite() {
        prop_assert!(ours.is_none(), "{text} instead of {theirs}");
        return Ok(());
    }
    prop_assert!(ours.is_some(), "nothing instead of {theirs}");
    prop_assert_eq!(
        read(&text).partial_cmp(&theirs),
        Some(Ordering::Equal),
        "{} {}",
        text,
        theirs
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn sums_differences_and_products(a in numbers(), b in numbers()) {
        let mut context = Context::<Decimal128>::default();
        let (x, y) = (ours(&a), ours(&b));
        let (p, q) = (read(&a), read(&b));
        same(x.add(y, V2016), context.add(p, q))?;
        same(x.subtract(y, V2016), context.sub(p, q))?;
        same(x.multiply(y, V2016), context.mul(p, q))?;
        same(Some(x.negate()), context.minus(p))?;
        prop_assert_eq!(Some(x.compare(y)), p.partial_cmp(&q));
    }

    #[test]
    fn quotients_and_remainders(a in numbers(), b in numbers()) {
        let mut context = Context::<Decimal128>::default();
        let (x, y) = (ours(&a), ours(&b));
        let (p, q) = (read(&a), read(&b));
        same(x.divide_exactly(y, V2016), context.div(p, q))?;
        // decNumber gives up when the integer quotient has more than 34 digits; Forebay does not.
        let rest = context.rem(p, q);
        if !rest.is_nan() || q.is_zero() {
            same(x.remainder(y, V2016), rest)?;
        }
        if let (Number::Int(_), Number::Int(_)) = (x, y) {
            let quotient = context.div_integer(p, q);
            if !quotient.is_nan() || q.is_zero() {
                same(x.divide(y, V2016), quotient)?;
            }
        }
    }

    #[test]
    fn integers_and_places(a in numbers(), places in 0_u32..34) {
        use super::Rounding::{Ceiling, Floor, HalfUp, Truncate};
        let x = ours(&a);
        for (ours, theirs) in [
            (Floor, dec::Rounding::Floor),
            (Ceiling, dec::Rounding::Ceiling),
            (Truncate, dec::Rounding::Down),
            (HalfUp, dec::Rounding::HalfUp),
        ] {
            let mut context = Context::<Decimal128>::default();
            context.set_rounding(theirs);
            same(Some(x.to_integer(ours)), context.round(read(&a)))?;
        }
        let mut context = Context::<Decimal128>::default();
        context.set_rounding(dec::Rounding::Down);
        let unit: Decimal128 = format!("1e-{places}").parse().expect("a number");
        // It gives up where there are too many digits to have that many places; nothing is cut off there.
        let cut = context.quantize(read(&a), unit);
        if !cut.is_nan() {
            same(Some(x.truncated(places)), cut)?;
        }
    }

    #[test]
    fn more_than_34_digits_are_rounded_alike(text in "-?[1-9][0-9]{34,60}(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?") {
        same(Number::json(text.as_bytes(), V2016), read(&text))?;
    }
}
