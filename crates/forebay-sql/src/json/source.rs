//! Walking over the text of a valid JSON document. Positions outside the text are the end.

/// White space of JSON.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The first position from `at` on that is no white space.
#[inline(always)]
pub(super) fn skip_space(source: &[u8], at: usize) -> usize {
    match source.get(at) {
        // Most payloads have none.
        Some(0..=b' ') => skip_spaces(source, at),
        _ => at,
    }
}

#[inline(never)]
fn skip_spaces(source: &[u8], mut at: usize) -> usize {
    while source.get(at).copied().is_some_and(is_space) {
        at += 1;
    }
    at
}

/// The position behind a string whose text, not counting the quote, begins at `at`.
pub(super) fn string_end(source: &[u8], mut at: usize) -> usize {
    while let Some(byte) = source.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    source.len()
}

/// The value of a member whose name, not counting the quote, begins at `at`.
pub(super) fn member_value(source: &[u8], at: usize) -> usize {
    let colon = skip_space(source, string_end(source, at));
    skip_space(source, colon + 1)
}

/// The position behind a number or a literal.
pub(super) fn scalar_end(source: &[u8], at: usize) -> usize {
    let rest = source.get(at..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}') || is_space(*byte);
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

/// The position behind the value at `at`.
pub(super) fn value_end(source: &[u8], at: usize) -> usize {
    walk(source, at, |_| {})
}

/// Appends the value at `at` without white space outside strings.
pub(super) fn copy_compact(source: &[u8], at: usize, out: &mut Vec<u8>) {
    walk(source, at, |piece| out.extend_from_slice(piece));
}

/// Hands the pieces of the value at `at` between white space to `piece`, and returns the position behind it.
fn walk<'s>(source: &'s [u8], start: usize, mut piece: impl FnMut(&'s [u8])) -> usize {
    let mut take = |from: usize, to: usize| piece(source.get(from..to).unwrap_or_default());
    match source.get(start) {
        Some(b'"') => {
            let end = string_end(source, start + 1);
            take(start, end);
            return end;
        }
        Some(b'{' | b'[') => {}
        _ => {
            let end = scalar_end(source, start);
            take(start, end);
            return end;
        }
    }
    let (mut from, mut at, mut open) = (start, start, 0_usize);
    while let Some(byte) = source.get(at) {
        match byte {
            b'"' => at = string_end(source, at + 1),
            b'{' | b'[' => {
                open += 1;
                at += 1;
            }
            b'}' | b']' => {
                open -= 1;
                at += 1;
                if open == 0 {
                    break;
                }
            }
            space if is_space(*space) => {
                take(from, at);
                at = skip_space(source, at);
                from = at;
            }
            _ => at += 1,
        }
    }
    take(from, at);
    at
}
