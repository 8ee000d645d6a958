//! Classes in brackets: nested, negated, intersected.

use super::super::PatternError;
use super::super::class::Set;
use super::{Done, Translator};

impl Translator {
    /// What follows an opening bracket, up to its closing one.
    pub(super) fn class(&mut self) -> Done<Set> {
        let negated = self.take("^");
        let mut whole: Option<Set> = None;
        let mut part = Set::empty();
        let mut is_first = true;
        loop {
            self.skip_comments();
            if self.take("&&") {
                whole = Some(joined(whole, part));
                part = Set::empty();
                is_first = false;
                continue;
            }
            match self.peek().ok_or(PatternError::Invalid)? {
                ']' if !is_first => {
                    self.at += 1;
                    let set = joined(whole, part);
                    return Ok(if negated { set.negate() } else { set });
                }
                '[' => {
                    self.at += 1;
                    part.add(&self.nested(Self::class)?);
                }
                _ => self.class_item(&mut part)?,
            }
            is_first = false;
        }
    }

    /// A character, a range, or an escape that stands for a set.
    pub(super) fn class_item(&mut self, part: &mut Set) -> Done {
        let from = match self.next().ok_or(PatternError::Invalid)? {
            '\\' => {
                if let Some(set) = self.set_escape()? {
                    part.add(&set);
                    return Ok(());
                }
                self.character_escape()?
            }
            character => character,
        };
        let next = self.characters.get(self.at + 1).copied();
        let is_range = self.peek() == Some('-') && !matches!(next, None | Some(']' | '['));
        if !is_range {
            part.add(&Set::range(from, from, self.flags.fold));
            return Ok(());
        }
        self.at += 1;
        let to = match self.next().ok_or(PatternError::Invalid)? {
            '\\' => self.character_escape()?,
            character => character,
        };
        if to < from {
            return Err(PatternError::Invalid);
        }
        part.add(&Set::range(from, to, self.flags.fold));
        Ok(())
    }
}

fn joined(whole: Option<Set>, part: Set) -> Set {
    match whole {
        None => part,
        Some(mut whole) => {
            whole.intersect(&part);
            whole
        }
    }
}
