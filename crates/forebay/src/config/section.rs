//! Reading one table of the configuration: typed values with their ranges, and in the end what nobody asked for.
//!
//! A value that is wrong is reported and replaced by its default, so that reading goes on and all mistakes come at once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::raw::{RawEntry, RawKind, RawTable, RawValue};
use super::units::{self, DisplayDuration, DisplaySize};
use crate::diagnostics::{Code, Diagnostic, Origin, Report, nearest};

/// A value that somebody wrote, with its place for later checks against other values.
#[derive(Debug, Clone)]
pub(super) struct Written<T> {
    pub value: T,
    pub origin: Origin,
}

/// One table while it is read. [`Section::finish`] reports the keys that are left.
pub(super) struct Section<'r> {
    /// Dotted path of the table, empty for the root.
    path: String,
    table: RawTable,
    known: Vec<&'static str>,
    report: &'r mut Report,
}

impl<'r> Section<'r> {
    pub(super) fn new(path: impl Into<String>, table: RawTable, report: &'r mut Report) -> Self {
        Self {
            path: path.into(),
            table,
            known: Vec::new(),
            report,
        }
    }

    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// The dotted name of a key of this table.
    pub(super) fn name(&self, key: &str) -> String {
        dotted_name(&self.path, key)
    }

    /// The value of a key, whatever it is.
    pub(super) fn take(&mut self, key: &'static str) -> Option<RawValue> {
        self.known.push(key);
        self.table.remove(key).map(|entry| entry.value)
    }

    /// All keys of a table whose keys are names that the user chose.
    pub(super) fn take_all(&mut self) -> Vec<(String, RawEntry)> {
        std::mem::take(&mut self.table).into_iter().collect()
    }

    /// A table below this one; empty when it is not given.
    pub(super) fn table(&mut self, key: &'static str) -> RawTable {
        match self.take(key) {
            Some(value) => self.expect_table(key, value).unwrap_or_default(),
            None => RawTable::new(),
        }
    }

    /// `value` as a table, or a report that it is none.
    pub(super) fn expect_table(&mut self, key: &str, value: RawValue) -> Option<RawTable> {
        match value.kind {
            RawKind::Table(table) => Some(table),
            _ => {
                self.wrong_type(key, &value, "a table");
                None
            }
        }
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<Written<String>> {
        let value = self.take(key)?;
        match value.kind {
            RawKind::String(text) => Some(Written {
                value: text,
                origin: value.origin,
            }),
            _ => {
                self.wrong_type(key, &value, "a string");
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        match value.kind {
            RawKind::Boolean(value) => Some(value),
            _ => {
                self.wrong_type(key, &value, "true or false");
                None
            }
        }
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Written<u64>> {
        let value = self.take(key)?;
        self.integer_of(key, value, range)
    }

    /// An integer that fits 32 bits.
    pub(super) fn integer_u32(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let (low, high) = (u64::from(*range.start()), u64::from(*range.end()));
        let written = self.integer(key, low..=high)?;
        u32::try_from(written.value).ok()
    }

    pub(super) fn integer_of(
        &mut self,
        key: &str,
        value: RawValue,
        range: RangeInclusive<u64>,
    ) -> Option<Written<u64>> {
        let RawKind::Integer(number) = value.kind else {
            self.wrong_type(key, &value, "an integer");
            return None;
        };
        match u64::try_from(number).ok().filter(|n| range.contains(n)) {
            Some(number) => Some(Written {
                value: number,
                origin: value.origin,
            }),
            None => {
                let allowed = match *range.end() {
                    u64::MAX => format!("{} or more", range.start()),
                    end if end == *range.start() => format!("only {end}"),
                    end => format!("{} to {end}", range.start()),
                };
                self.out_of_range(key, &value.origin, &allowed);
                None
            }
        }
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<Written<f64>> {
        let value = self.take(key)?;
        let number = match value.kind {
            RawKind::Float(number) => number,
            #[expect(
                clippy::cast_precision_loss,
                reason = "judged against a small range next"
            )]
            RawKind::Integer(number) => number as f64,
            _ => {
                self.wrong_type(key, &value, "a number");
                return None;
            }
        };
        if range.contains(&number) {
            return Some(Written {
                value: number,
                origin: value.origin,
            });
        }
        let allowed = format!("{} to {}", range.start(), range.end());
        self.out_of_range(key, &value.origin, &allowed);
        None
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Written<Duration>> {
        let value = self.take(key)?;
        self.duration_of(key, value, range, "")
    }

    /// A duration, or the one word that stands for "none". The outer `None` is "not written", the inner one the word.
    pub(super) fn duration_or(
        &mut self,
        key: &'static str,
        word: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        let value = self.take(key)?;
        if matches!(&value.kind, RawKind::String(text) if text == word) {
            return Some(None);
        }
        let or_word = format!(", or {word:?}");
        self.duration_of(key, value, range, &or_word)
            .map(|written| Some(written.value))
    }

    fn duration_of(
        &mut self,
        key: &str,
        value: RawValue,
        range: RangeInclusive<Duration>,
        or_word: &str,
    ) -> Option<Written<Duration>> {
        let RawKind::String(text) = &value.kind else {
            let wanted = format!("a duration with a unit, as in \"10s\"{or_word}");
            self.wrong_type(key, &value, &wanted);
            return None;
        };
        let duration = match units::parse_duration(text) {
            Ok(duration) => duration,
            Err(error) => {
                self.bad_value(key, &value.origin, &error.to_string());
                return None;
            }
        };
        if range.contains(&duration) {
            return Some(Written {
                value: duration,
                origin: value.origin,
            });
        }
        let start = DisplayDuration(*range.start());
        let allowed = match *range.end() {
            Duration::MAX => format!("{start} or more{or_word}"),
            end => format!("{start} to {}{or_word}", DisplayDuration(end)),
        };
        self.out_of_range(key, &value.origin, &allowed);
        None
    }

    pub(super) fn size(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Written<u64>> {
        let value = self.take(key)?;
        let parsed = match &value.kind {
            RawKind::Integer(bytes) => {
                u64::try_from(*bytes).map_err(|_| format!("{bytes} is negative"))
            }
            RawKind::String(text) => units::parse_size(text).map_err(|error| error.to_string()),
            _ => {
                self.wrong_type(key, &value, "a size, as in \"16MiB\", or a number of bytes");
                return None;
            }
        };
        let bytes = match parsed {
            Ok(bytes) => bytes,
            Err(reason) => {
                self.bad_value(key, &value.origin, &reason);
                return None;
            }
        };
        if range.contains(&bytes) {
            return Some(Written {
                value: bytes,
                origin: value.origin,
            });
        }
        let start = DisplaySize(*range.start());
        let allowed = match *range.end() {
            u64::MAX => format!("{start} or more"),
            end => format!("{start} to {}", DisplaySize(end)),
        };
        self.out_of_range(key, &value.origin, &allowed);
        None
    }

    /// One of a few words.
    pub(super) fn choice<T: FromStr>(
        &mut self,
        key: &'static str,
        allowed: &[&'static str],
    ) -> Option<Written<T>> {
        let written = self.string(key)?;
        match T::from_str(&written.value) {
            Ok(value) => Some(Written {
                value,
                origin: written.origin,
            }),
            Err(_) => {
                self.not_allowed(key, &written, allowed);
                None
            }
        }
    }

    /// One of a few words that have no type of their own.
    pub(super) fn word(
        &mut self,
        key: &'static str,
        allowed: &[&'static str],
    ) -> Option<Written<&'static str>> {
        let written = self.string(key)?;
        match allowed.iter().find(|word| **word == written.value) {
            Some(word) => Some(Written {
                value: word,
                origin: written.origin,
            }),
            None => {
                self.not_allowed(key, &written, allowed);
                None
            }
        }
    }

    /// A list of words, without repetition and not empty.
    pub(super) fn words(
        &mut self,
        key: &'static str,
        allowed: &[&'static str],
    ) -> Option<Vec<&'static str>> {
        let value = self.take(key)?;
        let RawKind::Array(items) = value.kind else {
            self.wrong_type(key, &value, "a list");
            return None;
        };
        if items.is_empty() {
            self.out_of_range(key, &value.origin, &one_of(allowed));
            return None;
        }
        let mut found = Vec::new();
        for item in items {
            let RawKind::String(text) = item.kind else {
                self.wrong_type(key, &item, "a string");
                continue;
            };
            match allowed.iter().find(|word| **word == text) {
                Some(word) if found.contains(word) => {}
                Some(word) => found.push(*word),
                None => {
                    let written = Written {
                        value: text,
                        origin: item.origin,
                    };
                    self.not_allowed(key, &written, allowed);
                }
            }
        }
        Some(found)
    }

    /// An address to listen on. A host name is resolved; the first address counts.
    pub(super) fn address_of(
        &mut self,
        key: &str,
        written: &Written<String>,
    ) -> Option<SocketAddr> {
        let resolved = written.value.to_socket_addrs();
        match resolved.map(|mut addresses| addresses.next()) {
            Ok(Some(address)) => Some(address),
            Ok(None) | Err(_) => {
                let name = self.name(key);
                self.report.push(
                    Diagnostic::error(
                        Code::Address,
                        format!(
                            "`{name}` is no address of this machine: {:?}",
                            written.value
                        ),
                    )
                    .at(&written.origin)
                    .label("write host:port, as in \"127.0.0.1:1883\" or \"[::]:1883\""),
                );
                None
            }
        }
    }

    /// A path, relative to the file that names it.
    pub(super) fn path(&mut self, key: &'static str) -> Option<Written<PathBuf>> {
        let written = self.string(key)?;
        if written.value.is_empty() {
            self.out_of_range(key, &written.origin, "a path");
            return None;
        }
        Some(Written {
            value: written.origin.source.base.join(&written.value),
            origin: written.origin,
        })
    }

    pub(super) fn bad_value(&mut self, key: &str, origin: &Origin, reason: &str) {
        let name = self.name(key);
        self.report
            .push(Diagnostic::error(Code::WrongType, format!("`{name}`: {reason}")).at(origin));
    }

    pub(super) fn out_of_range(&mut self, key: &str, origin: &Origin, allowed: &str) {
        let name = self.name(key);
        self.report.push(
            Diagnostic::error(
                Code::OutOfRange,
                format!("`{name}` is out of range: {}", origin.text()),
            )
            .at(origin)
            .label(format!("allowed: {allowed}")),
        );
    }

    fn not_allowed(&mut self, key: &str, written: &Written<String>, allowed: &[&'static str]) {
        let name = self.name(key);
        self.report.push(
            Diagnostic::error(
                Code::OutOfRange,
                format!("`{name}` cannot be {:?}", written.value),
            )
            .at(&written.origin)
            .label(format!("allowed: {}", one_of(allowed))),
        );
    }

    pub(super) fn wrong_type(&mut self, key: &str, value: &RawValue, wanted: &str) {
        let name = self.name(key);
        self.report.push(
            Diagnostic::error(
                Code::WrongType,
                format!("`{name}` is {}", value.type_name()),
            )
            .at(&value.origin)
            .label(format!("expected {wanted}")),
        );
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(mut self) {
        self.known.sort_unstable();
        for (key, entry) in &self.table {
            let what = match entry.value.kind {
                RawKind::Table(_) if self.path.is_empty() => "section",
                _ => "key",
            };
            let name = dotted_name(&self.path, key);
            let mut diagnostic =
                Diagnostic::error(Code::UnknownKey, format!("unknown {what} `{name}`"))
                    .at(&entry.key);
            diagnostic = match nearest(key, self.known.iter().copied()) {
                Some(meant) => diagnostic.label(format!("did you mean `{meant}`?")),
                None => diagnostic.help(format!("known here: {}", self.known.join(", "))),
            };
            self.report.push(diagnostic);
        }
    }
}

fn dotted_name(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let key = if plain {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

fn one_of(allowed: &[&str]) -> String {
    let quoted: Vec<String> = allowed.iter().map(|word| format!("{word:?}")).collect();
    quoted.join(", ")
}
