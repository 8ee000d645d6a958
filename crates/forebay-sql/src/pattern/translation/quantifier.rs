//! Quantifiers: `*`, `+`, `?`, `{m,n}`, each greedy, lazy or possessive.

use super::super::PatternError;
use super::{Done, Translator};

/// Repetitions of one counted quantifier.
const COUNT_MAX: u32 = 1000;

/// How often something may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantifier {
    fewest: u32,
    /// `None` without bound.
    most: Option<u32>,
}

impl Quantifier {
    pub(super) fn is_bounded(self) -> bool {
        self.most.is_some()
    }

    /// True when it may stand nowhere.
    pub(super) fn is_optional(self) -> bool {
        self.fewest == 0
    }

    /// Appends it in the engine's syntax.
    pub(super) fn write(self, out: &mut String) {
        let text = match (self.fewest, self.most) {
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (0, Some(1)) => "?".to_owned(),
            (fewest, None) => format!("{{{fewest},}}"),
            (fewest, Some(most)) if fewest == most => format!("{{{fewest}}}"),
            (fewest, Some(most)) => format!("{{{fewest},{most}}}"),
        };
        out.push_str(&text);
    }
}

impl Translator {
    /// The quantifier that stands here, without what makes it lazy or possessive.
    pub(super) fn quantifier(&mut self) -> Done<Option<Quantifier>> {
        let (fewest, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.at += 1;
                return self.counted().map(Some);
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(Quantifier { fewest, most }))
    }

    fn counted(&mut self) -> Done<Quantifier> {
        let fewest = self.count()?.ok_or(PatternError::Invalid)?;
        let most = if self.take(",") {
            self.count()?
        } else {
            Some(fewest)
        };
        if most.is_some_and(|most| most < fewest) || !self.take("}") {
            return Err(PatternError::Invalid);
        }
        Ok(Quantifier { fewest, most })
    }

    fn count(&mut self) -> Done<Option<u32>> {
        let mut count = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.at += 1;
            let longer = count.unwrap_or(0_u32) * 10 + digit;
            if longer > COUNT_MAX {
                return PatternError::refused(format!("more than {COUNT_MAX} repetitions"));
            }
            count = Some(longer);
        }
        Ok(count)
    }
}
