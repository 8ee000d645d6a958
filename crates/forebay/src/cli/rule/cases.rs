//! `rule test --cases`: runs files of cases and shows what came out differently.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_core::{Clock, SystemClock};
use forebay_rules::cases::{Case, CaseFile, Difference, Finding};
use serde_json::{Value, json};

use super::args::TestArguments;
use super::documents::{files_in, read_input};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::diagnostics::{Code, Diagnostic, Origin, Report, Severity, Source, as_json};

/// Findings of one file that are shown: a file of something else has one in every line.
const FINDINGS_MAX: usize = 10;
/// Characters of a text that is shown as a whole.
const SHOWN_WHOLE: usize = 160;
/// Characters before and after the place where two longer texts part.
const AROUND: usize = 50;

/// Runs the command.
pub(super) fn run(path: &Path, arguments: &TestArguments) -> Outcome {
    let now_ms = arguments
        .now
        .unwrap_or_else(|| SystemClock::new().wall_millis());
    let files = if path.is_dir() {
        files_in(path, &["json", "jsonl"])?
    } else {
        vec![path.to_owned()]
    };
    let mut report = Report::default();
    let mut tally = Tally::default();
    for file in &files {
        for case in read(file, &mut report)? {
            tally.add(file, &case, case.differences(now_ms));
        }
    }
    if tally.ran() == 0 && !report.has_errors() {
        let message = format!("{} holds no cases", path.display());
        return Err(Failure::new(Exit::Data, message));
    }
    output::report(&report);
    if arguments.json {
        output::json(&tally.as_json(&report))?;
    } else {
        output::line(&tally.as_text())?;
    }
    Ok(if report.has_errors() {
        Exit::Data
    } else if tally.failures.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Reads a file; what is wrong with it goes to the report.
fn read(path: &Path, report: &mut Report) -> Result<Vec<Case>, Failure> {
    let bytes = read_input(path)?;
    let name = path.display().to_string();
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let title = format!("{name} is not UTF-8: byte {at}");
            report.push(Diagnostic::error(Code::Unreadable, title));
            return Ok(Vec::new());
        }
    };
    let CaseFile {
        cases,
        mut findings,
    } = if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let stem = path.file_stem().unwrap_or_default();
        CaseFile::read_document(&stem.to_string_lossy(), &text)
    } else {
        CaseFile::read_lines(&text)
    };
    // A line of the whole file is the unit of a place; rendering needs no other.
    let source = Arc::new(Source {
        name,
        text,
        base: PathBuf::new(),
        inline: false,
    });
    let more = findings.len().saturating_sub(FINDINGS_MAX);
    // Errors decide how the run ends, so warnings are the first to be left out.
    findings.sort_by_key(|finding| !finding.is_error);
    findings.truncate(FINDINGS_MAX);
    for finding in findings {
        report.push(diagnostic_of(finding, &source));
    }
    if more > 0 {
        let severity = Severity::Warning;
        let title = format!("{}: {more} more findings of this kind", source.name);
        report.push(Diagnostic::with_code("R132", severity, title));
    }
    Ok(cases)
}

fn diagnostic_of(finding: Finding, source: &Arc<Source>) -> Diagnostic {
    let severity = if finding.is_error {
        Severity::Error
    } else {
        Severity::Warning
    };
    let shown = Diagnostic::with_code(finding.code, severity, finding.message).at(&Origin {
        source: source.clone(),
        span: finding.span,
    });
    match finding.label {
        Some(label) => shown.label(label),
        None => shown,
    }
}

/// What passed and what did not.
#[derive(Default)]
struct Tally {
    /// Passed and failed, by group.
    groups: BTreeMap<String, (usize, usize)>,
    failures: Vec<Failed>,
}

struct Failed {
    file: String,
    case: Case,
    differences: Vec<Difference>,
}

impl Tally {
    fn add(&mut self, file: &Path, case: &Case, differences: Vec<Difference>) {
        let (passed, failed) = self.groups.entry(case.group().to_owned()).or_default();
        if differences.is_empty() {
            *passed += 1;
            return;
        }
        *failed += 1;
        self.failures.push(Failed {
            file: file.display().to_string(),
            case: case.clone(),
            differences,
        });
    }

    fn ran(&self) -> usize {
        let (passed, failed) = self.totals();
        passed + failed
    }

    fn totals(&self) -> (usize, usize) {
        self.groups
            .values()
            .fold((0, 0), |(passed, failed), (p, f)| (passed + p, failed + f))
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        for failed in &self.failures {
            text.push_str(&failed.as_text());
        }
        if self.groups.len() > 1 {
            let heading = "group";
            let names = self.groups.keys().map(String::len);
            let width = names.max().unwrap_or(0).max(heading.len());
            text.push_str(&format!("{heading:width$} passed failed\n"));
            for (group, (passed, failed)) in &self.groups {
                text.push_str(&format!("{group:width$} {passed:6} {failed:6}\n"));
            }
        }
        let (passed, failed) = self.totals();
        text.push_str(&format!("{passed} passed, {failed} failed"));
        text
    }

    fn as_json(&self, report: &Report) -> Value {
        let (passed, failed) = self.totals();
        let groups: Value = self
            .groups
            .iter()
            .map(|(group, (passed, failed))| {
                (group.clone(), json!({ "passed": passed, "failed": failed }))
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        let failures: Vec<Value> = self.failures.iter().map(Failed::as_json).collect();
        json!({
            "passed": passed,
            "failed": failed,
            "groups": groups,
            "failures": failures,
            "diagnostics": as_json(report),
        })
    }
}

impl Failed {
    fn as_text(&self) -> String {
        let mut text = format!("{} failed ({})\n", self.case.id(), self.file);
        let mut row = |name: &str, value: &str| {
            text.push_str(&format!("  {name:<9} {value}\n"));
        };
        row("tried", &self.case.text().replace('\n', " "));
        for Difference {
            what,
            path,
            expected,
            got,
        } in &self.differences
        {
            row("differs", &format!("{what}{path}"));
            let (expected, got) = side_by_side(expected, got);
            row("expected", &expected);
            row("got", &got);
        }
        text
    }

    fn as_json(&self) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|difference| {
                json!({
                    "what": difference.what,
                    "path": difference.path,
                    "expected": difference.expected,
                    "got": difference.got,
                })
            })
            .collect();
        json!({
            "id": self.case.id(),
            "file": self.file,
            "tried": self.case.text(),
            "differences": differences,
        })
    }
}

/// Two texts that differ: as they are when they are short, else the part around the place where they part, with its
/// number.
fn side_by_side(expected: &str, got: &str) -> (String, String) {
    let (e, g): (Vec<char>, Vec<char>) = (expected.chars().collect(), got.chars().collect());
    if e.len().max(g.len()) <= SHOWN_WHOLE {
        return (visible(&e), visible(&g));
    }
    let mut pairs = e.iter().zip(&g);
    let common = pairs
        .position(|(e, g)| e != g)
        .unwrap_or_else(|| e.len().min(g.len()));
    let window = |text: &[char]| {
        let start = common.saturating_sub(AROUND).min(text.len());
        let end = (common + AROUND).min(text.len());
        let open = if start > 0 { "…" } else { "" };
        let close = if end < text.len() { "…" } else { "" };
        let part = text.get(start..end).unwrap_or_default();
        format!(
            "{open}{}{close} (from character {common} of {})",
            visible(part),
            text.len()
        )
    };
    (window(&e), window(&g))
}

/// A text on one line of a terminal: control characters as escapes.
fn visible(text: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(*character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::side_by_side;

    #[test]
    fn long_texts_are_shown_where_they_part() {
        assert_eq!(
            side_by_side("a\nb", "a b"),
            ("a\\nb".to_owned(), "a b".to_owned())
        );
        let start = "x".repeat(200);
        let (expected, got) = side_by_side(&format!("{start}1{start}"), &format!("{start}2"));
        let common = "x".repeat(50);
        assert_eq!(
            expected,
            format!("…{common}1{}… (from character 200 of 401)", "x".repeat(49))
        );
        assert_eq!(got, format!("…{common}2 (from character 200 of 201)"));
        // One is the beginning of the other.
        let (_, got) = side_by_side(&format!("{start}1"), &start);
        assert_eq!(got, format!("…{common} (from character 200 of 200)"));
    }
}
