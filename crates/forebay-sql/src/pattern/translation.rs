//! From the JVM's syntax (java.util.regex.Pattern) to the engine's.

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
/// Repetitions of one counted quantifier.
const COUNT_MAX: u32 = 1000;

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
        if !self.atom()? {
            return Ok(());
        }
        self.skip_comments();
        let Some((quantifier, unbounded)) = self.quantifier()? else {
            return Ok(());
        };
        if unbounded && self.behind > 0 {
            return PatternError::refused("look-behind without bound");
        }
        let atom = self.out.split_off(start);
        let possessive = self.take("+");
        let lazy = !possessive && self.take("?");
        if possessive {
            self.backtracks = true;
            self.out.push_str("(?>");
        }
        self.out.push_str("(?:");
        self.out.push_str(&atom);
        self.out.push(')');
        self.out.push_str(&quantifier);
        if lazy {
            self.out.push('?');
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

    fn quantifier(&mut self) -> Done<Option<(String, bool)>> {
        let simple = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => c,
            Some('{') => {
                self.at += 1;
                return self.counted().map(Some);
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some((simple.to_string(), simple != '?')))
    }

    fn counted(&mut self) -> Done<(String, bool)> {
        let fewest = self.count()?.ok_or(PatternError::Invalid)?;
        let mut text = format!("{{{fewest}");
        let mut unbounded = false;
        if self.take(",") {
            text.push(',');
            match self.count()? {
                Some(most) if most < fewest => return Err(PatternError::Invalid),
                Some(most) => text.push_str(&most.to_string()),
                None => unbounded = true,
            }
        }
        if !self.take("}") {
            return Err(PatternError::Invalid);
        }
        text.push('}');
        Ok((text, unbounded))
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
            '*' | '+' | '?' | '{' => return Err(PatternError::Invalid),
            literal => self.literal(literal),
        }
        Ok(true)
    }

    fn set(&mut self, set: &Set) {
        self.backtracks |= set.is_empty();
        set.write(&mut self.out);
    }

    fn literal(&mut self, character: char) {
        if self.flags.fold && character.is_ascii_alphabetic() {
            self.set(&Set::range(character, character, true));
        } else {
            write_code(character, &mut self.out);
        }
    }

    fn text_of(set: &Set) -> String {
        let mut text = String::new();
        set.write(&mut text);
        text
    }

    /// `$` without `(?m)`, `\Z`: the end, or before one line terminator there; never inside `\r\n`.
    fn text_end(&mut self) {
        self.backtracks = true;
        let terminator = Self::text_of(&Set::terminators());
        self.out
            .push_str(&format!("(?=(?:\\r\\n|{terminator})?\\z)(?!(?<=\\r)\\n)"));
    }

    /// `^` under `(?m)`: the start, or behind a line terminator that does not end the text.
    fn line_start(&mut self) {
        self.backtracks = true;
        let terminator = Self::text_of(&Set::terminators());
        self.out
            .push_str(&format!("(?:\\A|(?<={terminator})(?!(?<=\\r)\\n)(?!\\z))"));
    }

    /// `$` under `(?m)`.
    fn line_end(&mut self) {
        self.backtracks = true;
        let terminator = Self::text_of(&Set::terminators());
        self.out
            .push_str(&format!("(?=\\z|{terminator})(?!(?<=\\r)\\n)"));
    }

    fn word_boundary(&mut self, is: bool) {
        self.backtracks = true;
        let word = Self::text_of(&Set::word());
        let (inside, outside) = if is { ("!", "=") } else { ("=", "!") };
        self.out.push_str(&format!(
            "(?:(?<={word})(?{inside}{word})|(?<!{word})(?{outside}{word}))"
        ));
    }

    /// What follows an opening parenthesis.
    fn group(&mut self) -> Done<bool> {
        let outer = self.flags;
        let behind = self.behind;
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
        self.alternation()?;
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

    /// What follows a backslash outside a class.
    fn escape(&mut self) -> Done {
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
            'b' if self.take("{") => return PatternError::refused("\\b{g}"),
            'b' => self.word_boundary(true),
            'B' => self.word_boundary(false),
            'R' => {
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

    fn back_reference(&mut self, group: usize) -> Done {
        if self.behind > 0 {
            return PatternError::refused("a back-reference in a look-behind");
        }
        if self.flags.fold {
            return PatternError::refused("a back-reference under (?i)");
        }
        self.backtracks = true;
        if group > self.groups {
            // A group that does not exist yet has matched nothing.
            self.out.push_str("(?!)");
        } else {
            self.out.push_str(&format!("(?:\\{group})"));
        }
        Ok(())
    }

    /// An escape that stands for a set, in and outside of classes.
    fn set_escape(&mut self) -> Done<Option<Set>> {
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
    fn character_escape(&mut self) -> Done<char> {
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

    fn octal(&mut self) -> Done<char> {
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

    fn hex(&mut self, digits: usize) -> Done<u32> {
        (0..digits).try_fold(0_u32, |code, _| {
            let digit = self.next().and_then(|c| c.to_digit(16));
            Ok(code * 16 + digit.ok_or(PatternError::Invalid)?)
        })
    }

    /// What follows an opening bracket, up to its closing one.
    fn class(&mut self) -> Done<Set> {
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
    fn class_item(&mut self, part: &mut Set) -> Done {
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
