//! Replacement text in the syntax of the JVM: `$n`, `${name}`, `\` before a literal character.

use std::fmt;

use fancy_regex::Captures;

use super::Pattern;

/// A replacement, checked against the groups of a pattern.
#[derive(Debug)]
pub(crate) struct Replacement<'t> {
    parts: Vec<Part<'t>>,
}

#[derive(Debug)]
enum Part<'t> {
    Text(&'t str),
    Group(usize),
}

impl<'t> Replacement<'t> {
    /// Reads a replacement; `None` when the JVM would refuse it: a group that does not exist, a lone `$`, a `\` at the
    /// end.
    pub(crate) fn new(text: &'t str, pattern: &Pattern) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            let (before, special) = rest.split_at(at);
            parts.push(Part::Text(before));
            let mut characters = special.chars();
            let is_group = characters.next() == Some('$');
            rest = characters.as_str();
            if !is_group {
                let literal = rest.chars().next()?;
                let (literal, after) = rest.split_at(literal.len_utf8());
                parts.push(Part::Text(literal));
                rest = after;
            } else if let Some(named) = rest.strip_prefix('{') {
                let (name, after) = named.split_once('}')?;
                parts.push(Part::Group(pattern.group(name)?));
                rest = after;
            } else {
                let (group, after) = numbered(rest, pattern.groups)?;
                parts.push(Part::Group(group));
                rest = after;
            }
        }
        parts.push(Part::Text(rest));
        Some(Self { parts })
    }

    /// Appends the replacement of one match; writing to memory does not fail. A group that took no part gives nothing.
    pub(crate) fn write(&self, captures: &Captures<'_, str>, out: &mut impl fmt::Write) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.write_str(text).unwrap_or_default(),
                Part::Group(group) => {
                    if let Some(found) = captures.get(*group) {
                        out.write_str(found.as_str()).unwrap_or_default();
                    }
                }
            }
        }
    }
}

/// The group that the digits name: the first one always, further ones while there is such a group.
fn numbered(text: &str, groups: usize) -> Option<(usize, &str)> {
    let mut group = None;
    let mut rest = text;
    while let Some(digit) = rest.chars().next().and_then(|c| c.to_digit(10)) {
        let digit = usize::try_from(digit).ok()?;
        let longer = group.map_or(digit, |group: usize| group * 10 + digit);
        if longer > groups {
            // Only the first digit must be a group.
            group?;
            break;
        }
        group = Some(longer);
        rest = rest.get(1..)?;
    }
    group.map(|group| (group, rest))
}
