//! Where the plain part of a string ends, eight bytes at a time.

/// The first position from `at` on of a quote, a backslash, a control character or a byte above 0x7f, or the end.
#[inline(always)]
pub(crate) fn plain_end(source: &[u8], mut at: usize) -> usize {
    while let Some(group) = source.get(at..).and_then(|rest| rest.first_chunk()) {
        let marks = marks(u64::from_le_bytes(*group));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    end_of(
        source,
        at,
        |byte| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x80..),
    )
}

/// Marks the high bit of bytes that are not plain. Only the first mark counts: what is behind it may be wrong.
#[inline(always)]
fn marks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A byte below the limit gets a high bit, and may borrow from those behind it. Bytes above 0x7f have one.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit);
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | below(word, 0x20) | word) & HIGHS
}

/// The first position from `at` on of a quote, a backslash or a control character, or the end.
pub(super) fn any_end(source: &[u8], at: usize) -> usize {
    end_of(source, at, |byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
}

#[inline(never)]
fn end_of(source: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> usize {
    let rest = source.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .position(|byte| ends(*byte))
        .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{any_end, plain_end};

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_find_what_one_by_one_finds(
            plain in "[ -!#-\\[\\]-~]{0,40}", end in any::<u8>(), rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let text = [plain.as_bytes(), &[end], &rest].concat();
            for at in 0..=text.len() + 1 {
                let from = text.get(at..).unwrap_or_default();
                let slowly = |ends: fn(&u8) -> bool| at + from.iter().position(ends).unwrap_or(from.len());
                prop_assert_eq!(plain_end(&text, at), slowly(|byte| *byte < 0x20 || *byte >= 0x80 || *byte == b'"' || *byte == b'\\'));
                prop_assert_eq!(any_end(&text, at), slowly(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\'));
            }
        }
    }
}
