//! What matches between characters: ends of lines and of the text, word boundaries. The JVM's have more than one line
//! terminator, so each is spelled out with look-around.

use super::super::class::Set;
use super::Translator;

impl Translator {
    /// `$` without `(?m)`, `\Z`: the end, or before one line terminator there; never inside `\r\n`.
    pub(super) fn text_end(&mut self) {
        self.backtracks = true;
        let terminator = Self::text_of(&Set::terminators());
        self.out
            .push_str(&format!("(?=(?:\\r\\n|{terminator})?\\z)(?!(?<=\\r)\\n)"));
    }

    /// `^` under `(?m)`: the start, or behind a line terminator that does not end the text.
    pub(super) fn line_start(&mut self) {
        self.backtracks = true;
        let terminator = Self::text_of(&Set::terminators());
        self.out
            .push_str(&format!("(?:\\A|(?<={terminator})(?!(?<=\\r)\\n)(?!\\z))"));
    }

    /// `$` under `(?m)`.
    pub(super) fn line_end(&mut self) {
        self.backtracks = true;
        let terminator = Self::text_of(&Set::terminators());
        self.out
            .push_str(&format!("(?=\\z|{terminator})(?!(?<=\\r)\\n)"));
    }

    pub(super) fn word_boundary(&mut self, is: bool) {
        self.backtracks = true;
        let word = Self::text_of(&Set::word());
        let (inside, outside) = if is { ("!", "=") } else { ("=", "!") };
        self.out.push_str(&format!(
            "(?:(?<={word})(?{inside}{word})|(?<!{word})(?{outside}{word}))"
        ));
    }
}
