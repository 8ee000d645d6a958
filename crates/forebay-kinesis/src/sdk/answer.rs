//! Reads the answer to PutRecords straight from its bytes.
//!
//! Of an entry only the shard, or the error, is wanted: the SDK's own types would allocate two strings per record for
//! it. The reader takes any JSON whose shape is the service's, in any order of members, and skips what it does not
//! know.

use std::borrow::Cow;

use compact_str::CompactString;

use crate::api::{EntryAnswer, PutRecordsAnswer};

/// Nested brackets in what is skipped.
const DEPTH_MAX: usize = 32;

/// The answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the JSON of a PutRecords answer, at byte {at}")]
pub(super) struct Unreadable {
    at: usize,
}

/// Reads an answer with HTTP status 200.
pub(super) fn read(bytes: &[u8]) -> Result<PutRecordsAnswer, Unreadable> {
    let mut reader = Reader { bytes, at: 0 };
    let mut entries = None;
    reader.object(|reader, name| {
        if name == "Records" {
            entries = Some(reader.entries()?);
            return Ok(());
        }
        reader.skip(0)
    })?;
    reader.blank();
    match entries {
        Some(entries) if reader.at == bytes.len() => Ok(PutRecordsAnswer { entries }),
        _ => Err(reader.unreadable()),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn unreadable(&self) -> Unreadable {
        Unreadable { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unreadable> {
        self.blank();
        if self.peek() != Some(byte) {
            return Err(self.unreadable());
        }
        self.at += 1;
        Ok(())
    }

    /// True when `byte` is next; it is taken then.
    fn take(&mut self, byte: u8) -> bool {
        self.blank();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            member(self, &name)?;
            if !self.take(b',') {
                return self.expect(b'}');
            }
        }
    }

    fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.expect(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
    }

    fn entries(&mut self) -> Result<Vec<EntryAnswer>, Unreadable> {
        // An entry takes at least 90 bytes when its record was stored, so this room is rarely too small.
        let mut entries = Vec::with_capacity(self.bytes.len() / 90);
        self.array(|reader| {
            let entry = reader.entry()?;
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    fn entry(&mut self) -> Result<EntryAnswer, Unreadable> {
        let mut shard = CompactString::default();
        let mut code = CompactString::default();
        let mut message = CompactString::default();
        let mut stored = false;
        self.object(|reader, name| {
            match name {
                "SequenceNumber" => stored = reader.text()?.is_some_and(|text| !text.is_empty()),
                "ShardId" => shard = reader.compact()?,
                "ErrorCode" => code = reader.compact()?,
                "ErrorMessage" => message = reader.compact()?,
                _ => reader.skip(0)?,
            }
            Ok(())
        })?;
        Ok(if stored {
            EntryAnswer::Stored { shard }
        } else if !code.is_empty() {
            EntryAnswer::Refused { code, message }
        } else {
            EntryAnswer::Unclear
        })
    }

    fn compact(&mut self) -> Result<CompactString, Unreadable> {
        Ok(self.text()?.map(CompactString::from).unwrap_or_default())
    }

    /// A string, or `None` for null.
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Unreadable> {
        self.blank();
        if self.peek() == Some(b'n') {
            self.literal(b"null")?;
            return Ok(None);
        }
        self.string().map(Some)
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), Unreadable> {
        if !self.bytes[self.at..].starts_with(literal) {
            return Err(self.unreadable());
        }
        self.at += literal.len();
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err(self.unreadable()),
            }
        }
        let inside = &self.bytes[start..self.at];
        self.at += 1;
        let text = std::str::from_utf8(inside).map_err(|_| Unreadable { at: start })?;
        if escaped {
            unescape(text)
                .map(Cow::Owned)
                .ok_or(Unreadable { at: start })
        } else {
            Ok(Cow::Borrowed(text))
        }
    }

    fn skip(&mut self, depth: usize) -> Result<(), Unreadable> {
        self.blank();
        if depth > DEPTH_MAX {
            return Err(self.unreadable());
        }
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.skip(depth + 1)),
            Some(b'[') => self.array(|reader| reader.skip(depth + 1)),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => {
                while matches!(
                    self.peek(),
                    Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                ) {
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(self.unreadable()),
        }
    }
}

/// Resolves the escapes of a JSON string; `None` when one is malformed. A lone surrogate becomes U+FFFD, since the text
/// is only shown.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(character) = chars.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match chars.next()? {
            escaped @ ('"' | '\\' | '/') => out.push(escaped),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let digits = chars.as_str().get(..4)?;
                let unit = u16::from_str_radix(digits, 16).ok()?;
                chars = chars.as_str().get(4..)?.chars();
                out.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_in_any_order_of_members() {
        let answer = read(
            br#" {"EncryptionType":"NONE", "FailedRecordCount": 2, "Extra": {"a": [1, -2.5e3, true, null, "x"]},
            "Records": [
                {"SequenceNumber":"49590338271490256608559692538361571095921575989136588898","ShardId":"shardId-000000000000"},
                {"ErrorMessage":"Rate \"exceeded\" \u00e9","ErrorCode":"ProvisionedThroughputExceededException"},
                {"ShardId":"shardId-000000000001","ErrorCode":null,"SequenceNumber":"1","ErrorMessage":null},
                {}, {"SequenceNumber":""}
            ]} "#,
        )
        .unwrap();
        assert_eq!(
            answer.entries,
            [
                EntryAnswer::Stored {
                    shard: "shardId-000000000000".into()
                },
                EntryAnswer::Refused {
                    code: "ProvisionedThroughputExceededException".into(),
                    message: "Rate \"exceeded\" \u{e9}".into()
                },
                EntryAnswer::Stored {
                    shard: "shardId-000000000001".into()
                },
                EntryAnswer::Unclear,
                EntryAnswer::Unclear,
            ]
        );
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_unreadable() {
        let whole =
            br#"{"Records":[{"SequenceNumber":"1","ShardId":"s"},{"ErrorCode":"a\\b"}],"N":-1}"#;
        assert!(read(whole).is_ok());
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} bytes");
        }
        for text in [
            "{}",
            "[]",
            "null",
            "{\"Records\":[]}x",
            "<html>",
            "{\"Records\":{}}",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
        assert!(read(deep.as_bytes()).is_err());
    }
}
