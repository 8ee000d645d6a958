//! Fields of digits, as java.time's strict mode reads them.

use super::pattern::Token;

/// How a field of digits is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits {
    fewest: usize,
    most: usize,
    sign: Sign,
}

/// Which sign may stand before the digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    None,
    Minus,
    /// A minus, or a plus before more digits than the fewest, where it must stand.
    PlusBeyond,
}

/// Digits of the longest number.
const DIGITS_MAX: usize = 19;

impl Digits {
    /// The form of a field; `None` for one that is no number.
    pub(super) fn of(letter: char, count: usize) -> Option<Self> {
        let (most, sign) = match (letter, count) {
            ('u' | 'y', 2) => (2, Sign::None),
            ('u' | 'y', 4..) => (DIGITS_MAX, Sign::PlusBeyond),
            ('u' | 'y', _) => (DIGITS_MAX, Sign::Minus),
            ('S' | 'W' | 'e' | 'c', _) if letter == 'S' || count < 3 => (count, Sign::None),
            ('w', _) => (2, Sign::None),
            ('D', 2 | 3) => (3, Sign::None),
            ('A' | 'n' | 'N', 2..) => (DIGITS_MAX, Sign::None),
            ('M' | 'L' | 'Q' | 'q' | 'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's', 2) => (2, Sign::None),
            ('M' | 'L' | 'Q' | 'q' | 'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's', 1)
            | ('D' | 'A' | 'n' | 'N', 1) => (DIGITS_MAX, Sign::Minus),
            _ => return None,
        };
        Some(Self {
            fewest: count,
            most,
            sign,
        })
    }

    fn is_fixed(self) -> bool {
        self.fewest == self.most
    }

    /// Takes the number from the beginning of a text. `reserved` digits behind it belong to the fields that follow.
    pub(super) fn read(self, text: &str, reserved: usize) -> Option<(i64, &str)> {
        let (negative, plus, unsigned) = match (self.sign, text.as_bytes().first()) {
            (Sign::Minus | Sign::PlusBeyond, Some(b'-')) => (true, false, text.get(1..)?),
            (Sign::PlusBeyond, Some(b'+')) => (false, true, text.get(1..)?),
            _ => (false, false, text),
        };
        let run = unsigned.bytes().take_while(u8::is_ascii_digit);
        let run = run.take(self.most + reserved).count();
        let len = run.saturating_sub(reserved).max(self.fewest);
        if run < len {
            return None;
        }
        if self.sign == Sign::PlusBeyond && !negative && plus != (len > self.fewest) {
            return None;
        }
        let (digits, rest) = unsigned.split_at_checked(len)?;
        let value: i64 = digits.parse().ok()?;
        if negative && value == 0 {
            return None;
        }
        Some((if negative { -value } else { value }, rest))
    }
}

/// Digits of the fields of fixed width that follow without anything between them. With a field of another width among
/// them nothing is reserved.
pub(super) fn reserved(following: &[Token]) -> usize {
    let mut reserved = 0;
    for token in following {
        let Token::Letters(letter, count) = token else {
            break;
        };
        match Digits::of(*letter, *count) {
            Some(digits) if digits.is_fixed() => reserved += digits.most,
            Some(_) => return 0,
            None => break,
        }
    }
    reserved
}
