//! What follows a backslash.

use super::super::PatternError;
use super::super::class::Set;
use super::{Done, Translator};

impl Translator {
    /// What follows a backslash outside a class.
    pub(super) fn escape(&mut self) -> Done {
        let letter = self.peek().ok_or(PatternError::Invalid)?;
        if let Some(set) = self.set_escape()? {
            self.set(&set);
            return Ok(());
        }
        self.at += 1;
        match letter {
            'A' => self.out.push_str("\\A"),
            'z' => self.out.push_str("\\z"),
            'Z' => self.text_end(),
            'b' if self.take("{g}") => return PatternError::refused("\\b{g}"),
            'b' => self.word_boundary(true),
            'B' => self.word_boundary(false),
            'R' => {
                self.consumes = true;
                let vertical = Self::text_of(&Set::vertical());
                self.out.push_str(&format!("(?:\\r\\n|{vertical})"));
            }
            'G' | 'X' | 'N' => return PatternError::refused(format!("\\{letter}")),
            'k' => {
                if !self.take("<") {
                    return Err(PatternError::Invalid);
                }
                let name = self.name()?;
                let known = self.names.iter().find(|(known, _)| *known == name);
                let number = known.map(|(_, number)| *number);
                self.back_reference(number.ok_or(PatternError::Invalid)?)?;
            }
            '1'..='9' => {
                let mut group = letter.to_digit(10).unwrap_or(0) as usize;
                // Further digits belong to it while there is such a group.
                while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
                    let longer = group * 10 + digit as usize;
                    if longer > self.groups {
                        break;
                    }
                    group = longer;
                    self.at += 1;
                }
                self.back_reference(group)?;
            }
            _ => {
                self.at -= 1;
                let character = self.character_escape()?;
                self.literal(character);
            }
        }
        Ok(())
    }

    pub(super) fn back_reference(&mut self, group: usize) -> Done {
        if self.behind > 0 {
            return PatternError::refused("a back-reference in a look-behind");
        }
        if self.flags.fold {
            return PatternError::refused("a back-reference under (?i)");
        }
        if group > self.groups {
            // A group that does not exist yet has matched nothing.
            self.set(&Set::empty());
        } else {
            self.backtracks = true;
            self.consumes = true;
            self.out.push_str(&format!("(?:\\{group})"));
        }
        Ok(())
    }

    /// An escape that stands for a set, in and outside of classes.
    pub(super) fn set_escape(&mut self) -> Done<Option<Set>> {
        let Some(letter) = self.peek() else {
            return Err(PatternError::Invalid);
        };
        if let Some(set) = Set::escape(letter) {
            self.at += 1;
            return Ok(Some(set));
        }
        if !matches!(letter, 'p' | 'P') {
            return Ok(None);
        }
        self.at += 1;
        let mut name = String::new();
        match self.next().ok_or(PatternError::Invalid)? {
            '{' => loop {
                match self.next().ok_or(PatternError::Invalid)? {
                    '}' => break,
                    character => name.push(character),
                }
            },
            single => name.push(single),
        }
        let set = Set::property(&name)?;
        Ok(Some(if letter == 'P' { set.negate() } else { set }))
    }

    /// An escape that stands for one character.
    pub(super) fn character_escape(&mut self) -> Done<char> {
        let letter = self.next().ok_or(PatternError::Invalid)?;
        Ok(match letter {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\x0c',
            'a' => '\x07',
            'e' => '\x1b',
            'c' => {
                let control = self.next().ok_or(PatternError::Invalid)?;
                char::from_u32(u32::from(control) ^ 64).ok_or(PatternError::Invalid)?
            }
            '0' => self.octal()?,
            'x' if self.take("{") => {
                let mut code = 0_u32;
                let mut digits = 0;
                while let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) {
                    self.at += 1;
                    digits += 1;
                    code = code.saturating_mul(16).saturating_add(digit);
                }
                if digits == 0 || !self.take("}") {
                    return Err(PatternError::Invalid);
                }
                char::from_u32(code).ok_or(PatternError::Invalid)?
            }
            'x' => char::from_u32(self.hex(2)?).ok_or(PatternError::Invalid)?,
            'u' => {
                let high = self.hex(4)?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or(PatternError::Invalid);
                }
                // A surrogate alone is in no text.
                if !self.take("\\u") {
                    return Err(PatternError::Invalid);
                }
                let low = self.hex(4)?;
                let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400);
                let low = low.ok_or(PatternError::Invalid)?;
                let code = 0x1_0000 + ((high - 0xd800) << 10) + low;
                char::from_u32(code).ok_or(PatternError::Invalid)?
            }
            'N' => return PatternError::refused("\\N{…}"),
            letter if letter.is_ascii_alphanumeric() => return Err(PatternError::Invalid),
            literal => literal,
        })
    }

    pub(super) fn octal(&mut self) -> Done<char> {
        let mut code = None;
        for _ in 0..3 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else {
                break;
            };
            let longer = code.unwrap_or(0_u32) * 8 + digit;
            if longer > 0o377 {
                break;
            }
            self.at += 1;
            code = Some(longer);
        }
        let code = code.ok_or(PatternError::Invalid)?;
        char::from_u32(code).ok_or(PatternError::Invalid)
    }

    pub(super) fn hex(&mut self, digits: usize) -> Done<u32> {
        (0..digits).try_fold(0_u32, |code, _| {
            let digit = self.next().and_then(|c| c.to_digit(16));
            Ok(code * 16 + digit.ok_or(PatternError::Invalid)?)
        })
    }
}
