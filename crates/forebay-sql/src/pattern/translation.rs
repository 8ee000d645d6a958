//! From the JVM's syntax (java.util.regex.Pattern) to the engine's.

mod anchor;
mod bracket;
mod escape;
mod quantifier;

use super::PatternError;
use super::class::{Set, write_code};

/// A translated pattern.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) names: Vec<(String, usize)>,
    pub(super) groups: usize,
    /// It looks around or back, so that the engine cannot search in linear time.
    pub(super) backtracks: bool,
}

/// Nested groups and classes.
const DEPTH_MAX: usize = 64;

pub(super) fn translate(pattern: &str) -> Result<Translated, PatternError> {
    let mut translator = Translator {
        characters: unquoted(pattern),
        at: 0,
        out: String::new(),
        flags: Flags::default(),
        names: Vec::new(),
        groups: 0,
        depth: 0,
        behind: 0,
        backtracks: false,
        consumes: false,
    };
    translator.alternation()?;
    if translator.peek().is_some() {
        // A parenthesis too many.
        return Err(PatternError::Invalid);
    }
    Ok(Translated {
        text: translator.out,
        names: translator.names,
        groups: translator.groups,
        backtracks: translator.backtracks,
    })
}

/// The pattern with `\Q…\E` written as single escapes, so that a quantifier behind it belongs to its last character.
fn unquoted(pattern: &str) -> Vec<char> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        if characters.next_if_eq(&'Q').is_none() {
            out.push(character);
            out.extend(characters.next());
            continue;
        }
        while let Some(quoted) = characters.next() {
            if quoted == '\\' && characters.next_if_eq(&'E').is_some() {
                break;
            }
            if quoted.is_ascii() && !quoted.is_ascii_alphanumeric() {
                out.push('\\');
            }
            out.push(quoted);
        }
    }
    out
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multiline: bool,
    dot_all: bool,
    comments: bool,
}

struct Translator {
    characters: Vec<char>,
    at: usize,
    out: String,
    flags: Flags,
    names: Vec<(String, usize)>,
    groups: usize,
    depth: usize,
    /// Look-behinds around here.
    behind: usize,
    backtracks: bool,
    /// What was read of the innermost piece can match a character.
    consumes: bool,
}

type Done<T = ()> = Result<T, PatternError>;

impl Translator {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += 1;
        Some(character)
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        let found = text
            .chars()
            .enumerate()
            .all(|(index, wanted)| rest.get(index) == Some(&wanted));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn skip_comments(&mut self) {
        while self.flags.comments {
            match self.peek() {
                Some(c) if c.is_ascii_whitespace() || c == '\x0b' => self.at += 1,
                Some('#') => {
                    while self.next().is_some_and(|c| {
                        !matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
                    }) {}
                }
                _ => return,
            }
        }
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Done<T>) -> Done<T> {
        if self.depth == DEPTH_MAX {
            return PatternError::refused(format!("more than {DEPTH_MAX} nested groups"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Branches up to a closing parenthesis or the end.
    fn alternation(&mut self) -> Done {
        loop {
            self.skip_comments();
            match self.peek() {
                None | Some(')') => return Ok(()),
                Some('|') => {
                    self.at += 1;
                    self.out.push('|');
                }
                Some(_) => self.piece()?,
            }
        }
    }

    /// One atom and its quantifier.
    fn piece(&mut self) -> Done {
        let start = self.out.len();
        let before = std::mem::take(&mut self.consumes);
        let is_atom = self.atom()?;
        let consumes = self.consumes;
        self.consumes |= before;
        if !is_atom {
            return Ok(());
        }
        self.skip_comments();
        let Some(quantifier) = self.quantifier()? else {
            return Ok(());
        };
        if !quantifier.is_bounded() && self.behind > 0 {
            return PatternError::refused("look-behind without bound");
        }
        let atom = self.out.split_off(start);
        let possessive = self.take("+");
        let lazy = !possessive && self.take("?");
        if possessive {
            self.backtracks = true;
            self.out.push_str("(?>");
        }
        if consumes {
            self.out.push_str(&format!("(?:{atom})"));
            quantifier.write(&mut self.out);
            self.out.push_str(if lazy { "?" } else { "" });
        } else {
            // The engine repeats nothing that takes no character, and once is as good as often.
            self.out.push_str(&match (quantifier.is_optional(), lazy) {
                (false, _) => atom,
                (true, false) => format!("(?:{atom}|)"),
                (true, true) => format!("(?:|{atom})"),
            });
        }
        if possessive {
            self.out.push(')');
        }
        self.skip_comments();
        match self.peek() {
            // The JVM has no quantifier of a quantifier.
            Some('*' | '+' | '?' | '{') => Err(PatternError::Invalid),
            _ => Ok(()),
        }
    }

    /// One atom; false for what no quantifier can follow, such as flags.
    fn atom(&mut self) -> Done<bool> {
        let Some(character) = self.next() else {
            return Err(PatternError::Invalid);
        };
        match character {
            '.' => self.set(&Set::dot(self.flags.dot_all)),
            '^' if self.flags.multiline => self.line_start(),
            '^' => self.out.push_str("\\A"),
            '$' if self.flags.multiline => self.line_end(),
            '$' => self.text_end(),
            '[' => {
                let set = self.nested(Self::class)?;
                self.set(&set);
            }
            '(' => return self.nested(Self::group),
            '\\' => self.escape()?,
            '{' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                // The JVM lets nothing at all be counted.
                self.at -= 1;
            }
            '*' | '+' | '?' | '{' => return Err(PatternError::Invalid),
            literal => self.literal(literal),
        }
        Ok(true)
    }

    fn set(&mut self, set: &Set) {
        self.consumes = true;
        set.write(&mut self.out);
    }

    fn literal(&mut self, character: char) {
        if self.flags.fold && character.is_ascii_alphabetic() {
            self.set(&Set::range(character, character, true));
        } else {
            self.consumes = true;
            write_code(character, &mut self.out);
        }
    }

    fn text_of(set: &Set) -> String {
        let mut text = String::new();
        set.write(&mut text);
        text
    }

    /// What follows an opening parenthesis.
    fn group(&mut self) -> Done<bool> {
        let outer = self.flags;
        let behind = self.behind;
        let mut looks_around = false;
        if !self.take("?") {
            self.groups += 1;
            self.out.push('(');
        } else if self.take(":") {
            self.out.push_str("(?:");
        } else if let Some(opening) = ["=", "!", "<=", "<!", ">"]
            .into_iter()
            .find(|opening| self.take(opening))
        {
            self.backtracks = true;
            looks_around = opening != ">";
            self.behind += usize::from(opening.starts_with('<'));
            self.out.push_str("(?");
            self.out.push_str(opening);
        } else if self.take("<") {
            let name = self.name()?;
            if self.names.iter().any(|(known, _)| *known == name) {
                return Err(PatternError::Invalid);
            }
            self.groups += 1;
            self.names.push((name, self.groups));
            self.out.push('(');
        } else {
            self.read_flags()?;
            if self.take(")") {
                // They hold until the enclosing group ends.
                return Ok(false);
            }
            if !self.take(":") {
                return Err(PatternError::Invalid);
            }
            self.out.push_str("(?:");
        }
        let before = self.consumes;
        self.alternation()?;
        if looks_around {
            self.consumes = before;
        }
        if !self.take(")") {
            return Err(PatternError::Invalid);
        }
        self.out.push(')');
        self.flags = outer;
        self.behind = behind;
        Ok(true)
    }

    fn name(&mut self) -> Done<String> {
        let mut name = String::new();
        loop {
            match self.next() {
                Some('>') if !name.is_empty() => return Ok(name),
                Some(c) if c.is_ascii_alphabetic() => name.push(c),
                Some(c) if c.is_ascii_digit() && !name.is_empty() => name.push(c),
                _ => return Err(PatternError::Invalid),
            }
        }
    }

    fn read_flags(&mut self) -> Done {
        let mut value = true;
        loop {
            match self.peek() {
                Some('i') => self.flags.fold = value,
                Some('m') => self.flags.multiline = value,
                Some('s') => self.flags.dot_all = value,
                Some('x') => self.flags.comments = value,
                Some(flag @ ('d' | 'u' | 'U')) => {
                    return PatternError::refused(format!("(?{flag})"));
                }
                Some('-') if value => value = false,
                _ => return Ok(()),
            }
            self.at += 1;
        }
    }
}
