//! Where the plain part of a string ends, eight bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first position from `at` on of a quote, a backslash, a control character or a byte above 0x7f, or the end.
#[inline(always)]
pub(crate) fn plain_end(source: &[u8], at: usize) -> usize {
    // Bytes above 0x7f have a high bit themselves.
    first_mark(source, at, |word| (marks(word) | word) & HIGHS)
}

/// The first position from `at` on of a quote, a backslash or a control character, or the end.
#[inline]
pub(super) fn any_end(source: &[u8], at: usize) -> usize {
    first_mark(source, at, |word| marks(word) & !word & HIGHS)
}

/// Bytes that are a quote, a backslash or a control character get a high bit; so may bytes behind the first of them,
/// from which it borrows, and bytes above 0x7f.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit);
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    is(b'"') | is(b'\\') | below(word, 0x20)
}

/// The position of the first byte that has a high bit in the marks of its group of eight, or the end.
#[inline(always)]
fn first_mark(source: &[u8], mut at: usize, marks: impl Fn(u64) -> u64) -> usize {
    while let Some(group) = source.get(at..).and_then(|rest| rest.first_chunk()) {
        let marks = marks(u64::from_le_bytes(*group));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    first_mark_behind_groups(source, at, marks)
}

/// The same where fewer than eight bytes are left: byte by byte.
#[inline(never)]
fn first_mark_behind_groups(source: &[u8], at: usize, marks: impl Fn(u64) -> u64) -> usize {
    let rest = source.get(at..).unwrap_or_default();
    let is_marked = |byte: &u8| marks(ONES * u64::from(*byte)) != 0;
    at + rest.iter().position(is_marked).unwrap_or(rest.len())
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
