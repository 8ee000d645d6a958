//! A glance at the bytes of a payload, before it is parsed: might simd-json's tape lose something of it?
//!
//! The tape turns long numbers into binary64, refuses what binary64 and 64-bit integers cannot hold, and accepts lone
//! surrogates. The glance errs on the safe side: digits and escapes inside strings count too.

/// More digits in a row than this may not survive binary64.
const DIGITS_MAX: usize = 15;

/// True for a run of more than 15 digits, a digit followed by `e` or `E`, and `\ud` or `\uD`.
pub(super) fn needs_exact(payload: &[u8]) -> bool {
    has_exponent(payload) || has_long_run(payload) || has_surrogate(payload)
}

fn has_exponent(payload: &[u8]) -> bool {
    let next = payload.get(1..).unwrap_or_default();
    // No early exit: the compiler makes vector code of it.
    payload.iter().zip(next).fold(false, |found, (byte, next)| {
        found | (byte.is_ascii_digit() & ((next | 0x20) == b'e'))
    })
}

fn has_long_run(payload: &[u8]) -> bool {
    // A run of 16 digits covers at least one whole aligned group of 8.
    payload.chunks_exact(8).enumerate().any(|(index, group)| {
        all_digits(group) && {
            let is_digit = |byte: &&u8| byte.is_ascii_digit();
            let (before, from) = payload.split_at(index * 8);
            before.iter().rev().take_while(is_digit).count()
                + from.iter().take_while(is_digit).count()
                > DIGITS_MAX
        }
    })
}

fn all_digits(group: &[u8]) -> bool {
    let Ok(bytes) = <[u8; 8]>::try_from(group) else {
        return false;
    };
    let word = u64::from_le_bytes(bytes);
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const DIGIT: u64 = 0x3030_3030_3030_3030;
    // A byte from 0x30 to 0x39 has the high half 3, also after 6 was added. A byte that carries into the next one has
    // another high half itself.
    word & HIGH == DIGIT && word.wrapping_add(0x0606_0606_0606_0606) & HIGH == DIGIT
}

fn has_surrogate(payload: &[u8]) -> bool {
    payload.contains(&b'\\')
        && payload
            .windows(3)
            .any(|window| matches!(window, [b'\\', b'u', b'd' | b'D']))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::needs_exact;

    fn slowly(payload: &[u8]) -> bool {
        let digits = |window: &[u8]| window.iter().all(u8::is_ascii_digit);
        payload.windows(16).any(digits)
            || payload
                .windows(2)
                .any(|w| w[0].is_ascii_digit() && matches!(w[1], b'e' | b'E'))
            || payload
                .windows(3)
                .any(|w| matches!(w, [b'\\', b'u', b'd' | b'D']))
    }

    #[test]
    fn ordinary_telemetry_goes_through_the_tape() {
        assert!(!needs_exact(
            br#"{"id":"d-1","t":21.5,"at":1700000000123,"s":"\u00fc"}"#
        ));
        assert!(!needs_exact(b"{\"n\":123456789012345}"));
        assert!(needs_exact(b"{\"n\":1234567890123456}"));
        assert!(needs_exact(b"{\"n\":1e5}"));
        assert!(needs_exact(br#"{"s":"\ud83d\ude00"}"#));
    }

    proptest! {
        #[test]
        fn the_fast_glance_sees_what_a_slow_one_sees(text in "([0-9]{0,18}[eEx.\\\\u]{0,2}[dD:;/ ]?){0,6}") {
            prop_assert_eq!(needs_exact(text.as_bytes()), slowly(text.as_bytes()));
        }
    }
}
