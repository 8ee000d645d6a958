//! Patterns of java.time, split into what a text is read by.

use super::COUNT_MAX;
use super::digits::Digits;

/// Nested optional sections.
const DEPTH_MAX: usize = 16;

/// One part of a pattern.
#[derive(Debug)]
pub(super) enum Token {
    Literal(String),
    Letters(char, usize),
    /// Spaces before a field, in so many characters altogether.
    Padded(usize, char, usize),
    Optional(Vec<Token>),
}

/// The parts of a pattern; `None` for one that java.time refuses.
pub(super) fn tokens(pattern: &str) -> Option<Vec<Token>> {
    section(&mut { pattern }, 0)
}

/// Splits a pattern, up to its end or the end of an optional section.
fn section(rest: &mut &str, depth: usize) -> Option<Vec<Token>> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut tokens = Vec::new();
    while let Some(letter) = rest.chars().next() {
        let (count, after) = run(rest, letter);
        match letter {
            '\'' => {
                let mut literal = String::new();
                *rest = quoted(rest.get(1..)?, &mut literal)?;
                tokens.push(Token::Literal(literal));
                continue;
            }
            '[' => {
                *rest = rest.get(1..)?;
                tokens.push(Token::Optional(section(rest, depth + 1)?));
                continue;
            }
            ']' => {
                *rest = rest.get(1..)?;
                return (depth > 0).then_some(tokens);
            }
            '{' | '}' | '#' => return None,
            'p' => {
                let padded = after.chars().next()?;
                let (width, (count, after)) = (count, run(after, padded));
                if padded == 'p' || !is_field(padded, count) || width > COUNT_MAX {
                    return None;
                }
                tokens.push(Token::Padded(width, padded, count));
                // A number cannot be padded and adjacent to another one.
                let next = after.chars().next().unwrap_or(' ');
                let follows = Digits::of(next, run(after, next).0).is_some();
                if follows && Digits::of(padded, count).is_some() {
                    return None;
                }
                *rest = after;
                continue;
            }
            letter if letter.is_ascii_alphabetic() => {
                if !is_field(letter, count) {
                    return None;
                }
                tokens.push(Token::Letters(letter, count));
            }
            other => tokens.push(Token::Literal(other.to_string().repeat(count))),
        }
        *rest = after;
    }
    // A section may stay open at the end.
    Some(tokens)
}

/// How often a character is repeated at the beginning of a text, and what follows.
fn run(text: &str, character: char) -> (usize, &str) {
    let after = text.trim_start_matches(character);
    ((text.len() - after.len()) / character.len_utf8(), after)
}

/// True for a letter that java.time has, as often as it may stand there.
fn is_field(letter: char, count: usize) -> bool {
    let most = match letter {
        'G' | 'M' | 'L' | 'Q' | 'q' | 'E' | 'e' | 'X' | 'x' | 'Z' => 5,
        'c' => return matches!(count, 1 | 3..=5),
        'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's' | 'w' => 2,
        'a' | 'W' => 1,
        'D' => 3,
        'S' => 9,
        'z' => 4,
        'V' => return count == 2,
        'O' => return matches!(count, 1 | 4),
        'u' | 'y' | 'n' | 'A' | 'N' => 19,
        _ => return false,
    };
    count <= most
}

/// Takes quoted text, from behind its opening quote; two quotes are one.
fn quoted<'p>(text: &'p str, literal: &mut String) -> Option<&'p str> {
    if let Some(rest) = text.strip_prefix('\'') {
        literal.push('\'');
        return Some(rest);
    }
    let mut rest = text;
    loop {
        let (piece, after) = rest.split_once('\'')?;
        literal.push_str(piece);
        match after.strip_prefix('\'') {
            Some(again) => {
                literal.push('\'');
                rest = again;
            }
            None => return Some(after),
        }
    }
}
