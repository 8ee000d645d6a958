//! `rules.dir` on disk: a document per rule, and beside it what AWS's document has no place for.
//!
//! A file is replaced as a whole: written under another name, flushed, renamed, and the directory flushed. The sidecar of
//! a new rule is written before its document, so that the document's name is what makes the rule.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use forebay_admin::Tag;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where the sidecars are, in `rules.dir`.
const META: &str = ".meta";

/// What is kept of a rule besides its document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    /// Milliseconds since the Unix epoch.
    pub(crate) created_at_ms: i64,
    #[serde(default)]
    pub(crate) tags: Vec<Tag>,
}

/// The file of a rule's document.
pub(crate) fn document_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.json"))
}

fn meta_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(META).join(format!("{name}.json"))
}

/// The sidecar of a rule. A document that was put there by hand has none: it was created when its file was written.
///
/// # Errors
/// When the sidecar cannot be read, in words.
pub(crate) fn read_meta(dir: &Path, name: &str) -> Result<Meta, String> {
    let path = meta_path(dir, name);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} cannot be used: {error}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Meta {
            created_at_ms: written_ms(&document_path(dir, name)),
            tags: Vec::new(),
        }),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

fn written_ms(path: &Path) -> i64 {
    let written = fs::metadata(path).and_then(|found| found.modified());
    let since = written
        .ok()
        .and_then(|written| written.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Writes the sidecar of a rule.
///
/// # Errors
/// What the operating system said; the sidecar is as it was.
pub(crate) fn write_meta(dir: &Path, name: &str, meta: &Meta) -> io::Result<()> {
    fs::create_dir_all(dir.join(META))?;
    let text = serde_json::to_vec_pretty(meta).map_err(io::Error::other)?;
    replace(&meta_path(dir, name), &text)
}

/// Writes the document of a rule.
///
/// # Errors
/// What the operating system said; the document is as it was.
pub(crate) fn write_document(
    dir: &Path,
    name: &str,
    payload: &Map<String, Value>,
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut text = serde_json::to_vec_pretty(payload).map_err(io::Error::other)?;
    text.push(b'\n');
    replace(&document_path(dir, name), &text)
}

/// Removes a rule: first its document, which ends it, then what belonged to it.
///
/// # Errors
/// What the operating system said; the document is as it was.
pub(crate) fn remove(dir: &Path, name: &str) -> io::Result<()> {
    fs::remove_file(document_path(dir, name))?;
    flush_directory(dir);
    match fs::remove_file(meta_path(dir, name)) {
        Ok(()) => flush_directory(&dir.join(META)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A rule that is made under this name later gets a sidecar of its own.
        Err(error) => tracing::warn!(rule = name, %error, "sidecar of a deleted rule not removed"),
    }
    Ok(())
}

/// Puts `bytes` at `path`, all or nothing.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let temporary = dir.join(format!(".{}.tmp", name.display()));
    // One that a crash left behind; a link in its place is removed and not followed.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Nothing is left to do where this fails too: the next write removes it.
        fs::remove_file(&temporary).unwrap_or_default();
        return Err(error);
    }
    flush_directory(dir);
    Ok(())
}

/// Makes names durable. The change is visible already, so a failure is told and does not undo it.
fn flush_directory(dir: &Path) {
    if let Err(error) = File::open(dir).and_then(|dir| dir.sync_all()) {
        tracing::error!(dir = %dir.display(), %error, "directory not flushed: a power cut may undo the last change of a rule");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_sidecars_are_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made");
        let payload = Map::from_iter([("sql".to_owned(), Value::from("SELECT * FROM 'é'"))]);
        write_document(&dir, "r", &payload).unwrap();
        let by_hand = read_meta(&dir, "r").unwrap();
        assert!(by_hand.created_at_ms > 1_700_000_000_000 && by_hand.tags.is_empty());
        let meta = Meta {
            created_at_ms: 7,
            tags: vec![Tag {
                key: "a".to_owned(),
                value: "b".to_owned(),
            }],
        };
        write_meta(&dir, "r", &meta).unwrap();
        assert_eq!(read_meta(&dir, "r").unwrap(), meta);
        // What a crash left behind is in nobody's way.
        fs::write(dir.join(".r.json.tmp"), "half").unwrap();
        write_document(&dir, "r", &Map::new()).unwrap();
        assert_eq!(
            fs::read_to_string(document_path(&dir, "r")).unwrap(),
            "{}\n"
        );
        assert!(!dir.join(".r.json.tmp").exists());
        remove(&dir, "r").unwrap();
        assert!(!document_path(&dir, "r").exists() && !meta_path(&dir, "r").exists());
        assert!(remove(&dir, "r").is_err());
        fs::write(meta_path(&dir, "r"), "not JSON").unwrap();
        assert!(read_meta(&dir, "r").unwrap_err().contains("cannot be used"));
    }
}
