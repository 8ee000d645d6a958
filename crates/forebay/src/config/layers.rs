//! Where values come from: defaults < file < `conf.d/*.toml` beside it < environment < `--set`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::raw::{self, RawTable};
use crate::diagnostics::{Code, Diagnostic, Origin, Report, Source};

/// The packaged configuration file, looked for last.
const PACKAGED_FILE: &str = "/etc/forebay/forebay.toml";
/// The configuration file in the working directory.
const LOCAL_FILE: &str = "forebay.toml";
/// Environment variables that begin with this are keys.
const ENVIRONMENT_PREFIX: &str = "FOREBAY__";

/// What decides where the configuration is read from. Everything that is asked from the process is in here, so that a
/// test can say something else.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file of `-c` or of the command's argument.
    pub file: Option<PathBuf>,
    /// The `KEY=VALUE` of each `--set`, in order.
    pub set: Vec<String>,
    /// Environment variables, name and value.
    pub environment: Vec<(String, String)>,
    /// Files to look for when none was named, in order; the first that exists is taken.
    pub search: Vec<PathBuf>,
}

impl Inputs {
    /// The inputs of this process.
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        let named = file.or_else(|| std::env::var_os("FOREBAY_CONFIG").map(PathBuf::from));
        Self {
            file: named,
            set,
            environment,
            search: vec![PathBuf::from(LOCAL_FILE), PathBuf::from(PACKAGED_FILE)],
        }
    }
}

/// All layers merged, and which files they came from.
#[derive(Debug)]
pub(super) struct Layers {
    pub table: RawTable,
    pub files: Vec<PathBuf>,
    pub overrides: Vec<String>,
}

/// Reads and merges everything. What cannot be read is reported.
pub(super) fn read(inputs: &Inputs, report: &mut Report) -> Layers {
    let mut layers = Layers {
        table: RawTable::new(),
        files: Vec::new(),
        overrides: Vec::new(),
    };
    let main_file = inputs
        .file
        .clone()
        .or_else(|| inputs.search.iter().find(|path| path.is_file()).cloned());
    if let Some(path) = main_file {
        layers.add_file(&path, report);
        for path in fragments(&path, report) {
            layers.add_file(&path, report);
        }
    }
    for (name, value) in sorted(&inputs.environment) {
        if let Some(table) = environment_layer(name, value, report) {
            raw::merge(&mut layers.table, table);
            layers.overrides.push(format!("{name}={value}"));
        }
    }
    for setting in &inputs.set {
        if let Some(table) = set_layer(setting, report) {
            raw::merge(&mut layers.table, table);
            layers.overrides.push(format!("--set {setting}"));
        }
    }
    layers
}

impl Layers {
    /// The directory of the main file, where what belongs to it is found: `conf.d` and, unless another one is named,
    /// the directory of rules. The working directory when there is no file.
    pub(super) fn directory(&self) -> &Path {
        let main_file = self.files.first();
        main_file
            .and_then(|file| file.parent())
            .unwrap_or(Path::new(""))
    }

    fn add_file(&mut self, path: &Path, report: &mut Report) {
        match read_source(path) {
            Ok(source) => {
                raw::merge(&mut self.table, raw::parse_document(&source, report));
                self.files.push(path.to_owned());
            }
            Err(diagnostic) => report.push(*diagnostic),
        }
    }
}

/// Reads a file as a source, or says why it cannot be read.
pub(super) fn read_source(path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Box::new(Diagnostic::error(
            Code::Unreadable,
            format!("{name} cannot be read: {error}"),
        ))
    })?;
    Ok(Arc::new(Source {
        name,
        text,
        base: path.parent().map(Path::to_owned).unwrap_or_default(),
        inline: false,
    }))
}

/// The `conf.d/*.toml` beside a file, in name order.
fn fragments(main_file: &Path, report: &mut Report) -> Vec<PathBuf> {
    let directory = main_file
        .parent()
        .map_or_else(|| PathBuf::from("conf.d"), |base| base.join("conf.d"));
    list_files(&directory, "toml", report)
}

/// Files of a directory with this extension, in name order; none when the directory does not exist.
pub(super) fn list_files(directory: &Path, extension: &str, report: &mut Report) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            report.push(Diagnostic::error(
                Code::Unreadable,
                format!("{} cannot be read: {error}", directory.display()),
            ));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension) && path.is_file())
        .collect();
    files.sort();
    files
}

fn sorted(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut sorted: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    sorted.sort_unstable();
    sorted
}

/// `FOREBAY__KINESIS__LINGER=20ms` is `kinesis.linger = "20ms"`.
fn environment_layer(name: &str, value: &str, report: &mut Report) -> Option<RawTable> {
    let key = name.strip_prefix(ENVIRONMENT_PREFIX)?;
    let source = raw::text_source("environment", format!("{name}={value}"));
    let parts: Vec<&str> = key.split("__").collect();
    if parts.iter().any(|part| part.is_empty()) || key.bytes().any(|b| b.is_ascii_lowercase()) {
        report.push(
            Diagnostic::error(
                Code::BadName,
                format!("{name} is not the name of a key"),
            )
            .at(&Origin { source, span: 0..name.len() })
            .label("write FOREBAY__SECTION__KEY, upper case, with two underscores between the parts"),
        );
        return None;
    }
    let mut at = ENVIRONMENT_PREFIX.len();
    let mut path = Vec::new();
    for part in parts {
        path.push((part.to_ascii_lowercase(), at..at + part.len()));
        at += part.len() + "__".len();
    }
    let span = name.len() + 1..source.text.len();
    let value = raw::parse_value(&source, span, report);
    raw::nest(&source, path, value)
}

/// `kinesis.linger=20ms` is `kinesis.linger = "20ms"`.
fn set_layer(setting: &str, report: &mut Report) -> Option<RawTable> {
    let source = raw::text_source("--set", setting.to_owned());
    let Some(equals) = equals_outside_quotes(setting) else {
        report.push(
            Diagnostic::error(Code::Option, format!("--set {setting} has no value"))
                .at(&Origin {
                    span: 0..setting.len(),
                    source,
                })
                .label("write SECTION.KEY=VALUE"),
        );
        return None;
    };
    let value = raw::parse_value(&source, equals + 1..setting.len(), report);
    let key = setting.get(..equals).unwrap_or_default();
    raw::dotted(&source, key, value, report)
}

fn equals_outside_quotes(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    None
}
