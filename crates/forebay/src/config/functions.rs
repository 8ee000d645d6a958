//! `[functions]`: data of other services, for the functions of rules that ask them.

use std::path::{Path, PathBuf};

use forebay_rules::{FunctionData, FunctionDataError};

use super::raw::RawTable;
use super::section::{Section, Written};
use crate::diagnostics::{Code, Diagnostic, Report};

/// Directories below `protobuf_descriptors`: the bucket, and what the key has.
const DEPTH_MAX: usize = 8;
/// Files of descriptors.
const DESCRIPTORS_MAX: usize = 1000;

/// Reads the files that the section names. What cannot be read is reported.
pub(super) fn read(table: RawTable, report: &mut Report) -> FunctionData {
    let mut section = Section::new("functions", table, report);
    let registry = section.path("registry_file");
    let secrets = section.path("secrets_file");
    let shadows = section.path("shadow_source").filter(|written| {
        let is_file = !written.origin.text().contains("://");
        if !is_file {
            let reason = "this version reads shadows from files only";
            section.bad_value("shadow_source", &written.origin, reason);
        }
        is_file
    });
    let descriptors = section.path("protobuf_descriptors");
    section.finish();

    let mut data = FunctionData::default();
    file(registry, "registry_file", report, |text| {
        data.read_registry(text)
    });
    file(secrets, "secrets_file", report, |text| {
        data.read_secrets(text)
    });
    file(shadows, "shadow_source", report, |text| {
        data.read_shadows(text)
    });
    if let Some(written) = descriptors {
        read_descriptors(&written, &mut data, report);
    }
    data
}

/// Hands the content of a file to `take`.
fn file(
    written: Option<Written<PathBuf>>,
    key: &str,
    report: &mut Report,
    take: impl FnOnce(&[u8]) -> Result<(), FunctionDataError>,
) {
    let Some(written) = written else {
        return;
    };
    let path = &written.value;
    let taken = match std::fs::read(path) {
        Ok(bytes) => take(&bytes).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(reason) = taken {
        let title = format!("`functions.{key}`: {}: {reason}", path.display());
        report.push(Diagnostic::error(Code::Unreadable, title).at(&written.origin));
    }
}

/// One file of descriptors for every bucket and key, or a directory with one in `BUCKET/KEY` for each.
fn read_descriptors(written: &Written<PathBuf>, data: &mut FunctionData, report: &mut Report) {
    let root = &written.value;
    let mut take = |path: &Path, object: Option<(String, String)>| {
        let taken = match std::fs::read(path) {
            Ok(bytes) => data
                .read_descriptors(object, &bytes)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = taken {
            let title = format!(
                "`functions.protobuf_descriptors`: {}: {reason}",
                path.display()
            );
            report.push(Diagnostic::error(Code::Unreadable, title).at(&written.origin));
        }
    };
    if !root.is_dir() {
        return take(root, None);
    }
    let mut files = Vec::new();
    list(root, DEPTH_MAX, &mut files);
    for path in files {
        let inside = path.strip_prefix(root).ok().and_then(Path::to_str);
        let object = inside.and_then(|inside| inside.split_once('/'));
        if let Some((bucket, key)) = object {
            take(&path, Some((bucket.to_owned(), key.to_owned())));
        }
    }
}

/// The files below a directory, sorted within each.
fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => return,
    };
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, files);
            }
        } else if files.len() < DESCRIPTORS_MAX {
            files.push(path);
        }
    }
}
