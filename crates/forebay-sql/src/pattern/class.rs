//! Sets of characters, computed here and handed to the engine as plain ranges.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::PatternError;

/// The line terminators of the JVM.
const TERMINATORS: [(char, char); 4] = [
    ('\n', '\n'),
    ('\r', '\r'),
    ('\u{85}', '\u{85}'),
    ('\u{2028}', '\u{2029}'),
];

const VERTICAL: [(char, char); 3] = [('\n', '\r'), ('\u{85}', '\u{85}'), ('\u{2028}', '\u{2029}')];

const HORIZONTAL: [(char, char); 8] = [
    ('\t', '\t'),
    (' ', ' '),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
];

/// A set of characters.
#[derive(Debug, Clone)]
pub(super) struct Set(ClassUnicode);

impl Set {
    pub(super) fn empty() -> Self {
        Self(ClassUnicode::empty())
    }

    fn of(ranges: &[(char, char)]) -> Self {
        let ranges = ranges
            .iter()
            .map(|(from, to)| ClassUnicodeRange::new(*from, *to));
        Self(ClassUnicode::new(ranges))
    }

    /// A range; with `fold` the letters A to Z count in both cases.
    pub(super) fn range(from: char, to: char, fold: bool) -> Self {
        let mut set = Self::of(&[(from, to)]);
        if fold {
            for (lower, upper) in ('a'..='z').zip('A'..='Z') {
                for (one, other) in [(lower, upper), (upper, lower)] {
                    if (from..=to).contains(&one) {
                        set.add(&Self::of(&[(other, other)]));
                    }
                }
            }
        }
        set
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.union(&other.0);
    }

    pub(super) fn intersect(&mut self, other: &Self) {
        self.0.intersect(&other.0);
    }

    pub(super) fn negate(mut self) -> Self {
        self.0.negate();
        self
    }

    /// Every character, or every one that ends no line.
    pub(super) fn dot(all: bool) -> Self {
        let terminators: &[(char, char)] = if all { &[] } else { &TERMINATORS };
        Self::of(terminators).negate()
    }

    pub(super) fn terminators() -> Self {
        Self::of(&TERMINATORS)
    }

    pub(super) fn vertical() -> Self {
        Self::of(&VERTICAL)
    }

    pub(super) fn word() -> Self {
        Self::of(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')])
    }

    /// What `\d`, `\w` and the like stand for; ASCII only.
    pub(super) fn escape(letter: char) -> Option<Self> {
        let set = match letter.to_ascii_lowercase() {
            'd' => Self::of(&[('0', '9')]),
            'w' => Self::word(),
            's' => Self::of(&[('\t', '\r'), (' ', ' ')]),
            'v' => Self::vertical(),
            'h' => {
                let mut set = Self::of(&HORIZONTAL);
                set.add(&Self::of(&[('\u{3000}', '\u{3000}')]));
                set
            }
            _ => return None,
        };
        Some(if letter.is_ascii_uppercase() {
            set.negate()
        } else {
            set
        })
    }

    /// What `\p{name}` stands for.
    pub(super) fn property(name: &str) -> Result<Self, PatternError> {
        if name.starts_with("java")
            || name.starts_with("In")
            || name.starts_with("block=")
            || name.starts_with("blk=")
        {
            return PatternError::refused(format!("\\p{{{name}}}"));
        }
        let posix: &[(char, char)] = match name {
            "Lower" => &[('a', 'z')],
            "Upper" => &[('A', 'Z')],
            "ASCII" => &[('\0', '\x7f')],
            "Alpha" => &[('A', 'Z'), ('a', 'z')],
            "Digit" => &[('0', '9')],
            "Alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "Punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "Graph" => &[('!', '~')],
            "Print" => &[(' ', '~')],
            "Blank" => &[('\t', '\t'), (' ', ' ')],
            "Cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
            "XDigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            "Space" => &[('\t', '\r'), (' ', ' ')],
            "L1" => &[('\0', '\u{ff}')],
            "all" => &[('\0', char::MAX)],
            _ => return Self::unicode(name),
        };
        Ok(Self::of(posix))
    }

    /// A general category, script or binary property of Unicode.
    fn unicode(name: &str) -> Result<Self, PatternError> {
        let bare = name.strip_prefix("Is").unwrap_or(name);
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let query = match bare.split_once('=') {
            Some(("script" | "sc", value)) if plain(value) => format!("\\p{{sc={value}}}"),
            Some(("general_category" | "gc", value)) if plain(value) => {
                format!("\\p{{gc={value}}}")
            }
            None if plain(bare) && (bare.len() <= 2 || bare.len() < name.len()) => {
                format!("\\p{{{bare}}}")
            }
            _ => return Err(PatternError::Invalid),
        };
        let parsed = regex_syntax::Parser::new()
            .parse(&query)
            .map_err(|_| PatternError::Invalid)?;
        match parsed.into_kind() {
            HirKind::Class(Class::Unicode(class)) => Ok(Self(class)),
            _ => Err(PatternError::Invalid),
        }
    }

    /// Appends the set in the engine's syntax.
    pub(super) fn write(&self, out: &mut String) {
        if self.0.ranges().is_empty() {
            // No character is in it.
            out.push_str("[^\\x{0}-\\x{10ffff}]");
            return;
        }
        out.push('[');
        for range in self.0.ranges() {
            write_code(range.start(), out);
            if range.end() > range.start() {
                out.push('-');
                write_code(range.end(), out);
            }
        }
        out.push(']');
    }
}

/// Appends a character in a form that means nothing else to the engine.
pub(super) fn write_code(character: char, out: &mut String) {
    if character.is_ascii_alphanumeric() {
        out.push(character);
    } else {
        out.push_str(&format!("\\x{{{:x}}}", u32::from(character)));
    }
}
