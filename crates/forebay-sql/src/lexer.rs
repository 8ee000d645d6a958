//! The text of a statement as tokens, one at a time: what follows the expression of a substitution template is plain
//! text and never looked at.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use crate::span::Span;
use crate::{Code, Diagnostic};

/// What a token is. Keywords are words; the parser decides where a word is a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Number,
    String,
    Variable,
    Star,
    Dot,
    Comma,
    Colon,
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    Plus,
    Minus,
    Slash,
    Percent,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    End,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// Reads tokens from a text, beginning at any byte of it.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    /// Reads `text` from byte `at` on, which begins a character.
    pub(crate) fn new(text: &'t str, at: usize) -> Self {
        Self { text, at }
    }

    /// The text of a span.
    pub(crate) fn text(&self, span: Span) -> &'t str {
        self.text.get(span.range()).unwrap_or_default()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next token; at the end of the text [`Kind::End`] again and again. After an error the reading goes on
    /// behind what was wrong.
    pub(crate) fn next(&mut self) -> Result<Token, Diagnostic> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        let start = self.at;
        let kind = match self.rest().chars().next() {
            None => Kind::End,
            Some('_') => self.word(),
            Some(first) if is_letter(first) => self.word(),
            Some('0'..='9') => self.number(start)?,
            Some(quote @ ('\'' | '"')) => self.string(start, quote)?,
            Some('@') => self.variable(start)?,
            Some(first) => self.symbol(start, first)?,
        };
        Ok(Token {
            kind,
            span: Span::new(start, self.at),
        })
    }

    fn word(&mut self) -> Kind {
        let rest = self.rest();
        let is_part = |c: char| c == '_' || c.is_ascii_digit() || is_letter(c);
        self.at += rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        Kind::Word
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self, start: usize) -> Result<Kind, Diagnostic> {
        self.digits();
        let mut complete = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            complete = self.digits();
        }
        if complete && matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if self.peek() == Some(b'-') {
                self.at += 1;
            }
            complete = self.digits();
        }
        let glued = self
            .rest()
            .chars()
            .next()
            .is_some_and(|c| c == '_' || is_letter(c));
        if complete && !glued {
            return Ok(Kind::Number);
        }
        if glued {
            self.word();
        }
        let diagnostic = self.error(Code::Number, "malformed number", start);
        Err(if complete {
            diagnostic
                .help("a field whose name begins with a digit cannot be written as a bare name")
        } else {
            diagnostic.help("numbers are written like 12, 1.5 or 2E-3")
        })
    }

    fn string(&mut self, start: usize, quote: char) -> Result<Kind, Diagnostic> {
        self.at += 1;
        loop {
            let Some(len) = self.rest().find(quote) else {
                self.at = self.text.len();
                return Err(self
                    .error(Code::UnclosedString, format!("string without its closing {quote}"), start)
                    .help("a quote inside a string is written twice; a backslash is an ordinary character"));
            };
            self.at += len + 1;
            // A doubled delimiter stands for one.
            if self.rest().starts_with(quote) {
                self.at += 1;
            } else {
                return Ok(Kind::String);
            }
        }
    }

    fn variable(&mut self, start: usize) -> Result<Kind, Diagnostic> {
        self.at += 1;
        while self
            .peek()
            .is_some_and(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        {
            self.at += 1;
        }
        match self.at - start - 1 {
            1..=64 => Ok(Kind::Variable),
            _ => Err(self
                .error(Code::Variable, "malformed variable", start)
                .help("a variable is @ and 1 to 64 of the characters A-Z a-z 0-9 _")),
        }
    }

    fn symbol(&mut self, start: usize, first: char) -> Result<Kind, Diagnostic> {
        self.at += first.len_utf8();
        let second = self.peek();
        let mut pair = |kind| {
            self.at += 1;
            kind
        };
        Ok(match (first, second) {
            ('<', Some(b'=')) => pair(Kind::LessEqual),
            ('<', Some(b'>')) | ('!', Some(b'=')) => pair(Kind::NotEqual),
            ('>', Some(b'=')) => pair(Kind::GreaterEqual),
            ('<', _) => Kind::Less,
            ('>', _) => Kind::Greater,
            ('=', _) => Kind::Equal,
            ('*', _) => Kind::Star,
            ('.', _) => Kind::Dot,
            (',', _) => Kind::Comma,
            (':', _) => Kind::Colon,
            ('(', _) => Kind::OpenParen,
            (')', _) => Kind::CloseParen,
            ('[', _) => Kind::OpenBracket,
            (']', _) => Kind::CloseBracket,
            ('{', _) => Kind::OpenBrace,
            ('}', _) => Kind::CloseBrace,
            ('+', _) => Kind::Plus,
            ('-', _) => Kind::Minus,
            ('/', _) => Kind::Slash,
            ('%', _) => Kind::Percent,
            _ => {
                return Err(self.error(
                    Code::Character,
                    format!("unexpected character {first:?}"),
                    start,
                ));
            }
        })
    }

    fn error(&self, code: Code, message: impl Into<String>, start: usize) -> Diagnostic {
        Diagnostic::new(code, message, start..self.at)
    }
}

/// True for a letter of any script: Unicode's general category L. The standard library's "alphabetic" has marks and
/// letter numbers besides.
fn is_letter(character: char) -> bool {
    static LETTERS: LazyLock<Option<ClassUnicode>> =
        LazyLock::new(|| match regex_syntax::parse("\\pL").ok()?.into_kind() {
            HirKind::Class(Class::Unicode(letters)) => Some(letters),
            _ => None,
        });
    if character.is_ascii() {
        return character.is_ascii_alphabetic();
    }
    LETTERS.as_ref().is_some_and(|letters| {
        let place = |range: &ClassUnicodeRange| {
            if range.end() < character {
                Ordering::Less
            } else if range.start() > character {
                Ordering::Greater
            } else {
                Ordering::Equal
            }
        };
        letters.ranges().binary_search_by(place).is_ok()
    })
}

/// The value of a string token: without its quotes, doubled ones made single.
pub(crate) fn string_value(token: &str) -> String {
    let quote = if token.starts_with('"') { "\"" } else { "'" };
    let inner = token
        .strip_prefix(quote)
        .and_then(|rest| rest.strip_suffix(quote))
        .unwrap_or(token);
    inner.replace(&quote.repeat(2), quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let mut lexer = Lexer::new(text, 0);
        let mut kinds = Vec::new();
        loop {
            match lexer.next().unwrap().kind {
                Kind::End => return kinds,
                kind => kinds.push(kind),
            }
        }
    }

    #[test]
    fn numbers_words_and_symbols() {
        use Kind::*;
        assert_eq!(
            kinds("a.b1 >= 1.5E-3"),
            [Word, Dot, Word, GreaterEqual, Number]
        );
        assert_eq!(
            kinds("größe<>@v_1!=2"),
            [Word, NotEqual, Variable, NotEqual, Number]
        );
        for bad in ["1.", "1e", "1E+3", "12ab", "a # b", "'x", "@", "!"] {
            let mut lexer = Lexer::new(bad, 0);
            let failed = std::iter::from_fn(|| Some(lexer.next()))
                .take(5)
                .any(|token| token.is_err());
            assert!(failed, "{bad:?} was read");
        }
    }

    #[test]
    fn letters_are_those_of_unicode_s_category() {
        for letter in ['a', 'Z', 'é', 'ß', '温', 'ა', 'ʰ', 'א', '𝔘'] {
            assert!(is_letter(letter), "{letter}");
        }
        // A digit, a letter number, a circled letter, a vowel sign.
        for other in ['1', '²', 'Ⅷ', 'Ⓐ', '\u{93f}', '_', '-', '\u{2d}'] {
            assert!(!is_letter(other), "{other}");
        }
    }

    #[test]
    fn a_doubled_delimiter_is_one_and_a_backslash_is_ordinary() {
        assert_eq!(string_value(r"'it''s'"), "it's");
        assert_eq!(string_value(r#""say ""hi"" it''s""#), r#"say "hi" it''s"#);
        assert_eq!(string_value(r"'a\'"), r"a\");
        assert_eq!(kinds("'a''b' \"\""), [Kind::String, Kind::String]);
    }
}
