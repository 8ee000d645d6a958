//! What became of each rule of an import.

use std::path::PathBuf;

use serde_json::{Value, json};

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Imported,
    /// With gaps, which the reasons name.
    Partly,
    /// It was there already.
    Unchanged,
    /// Only its name is known.
    Listed,
    Refused,
}

impl Verdict {
    const ALL: [Self; 5] = [
        Self::Imported,
        Self::Partly,
        Self::Unchanged,
        Self::Listed,
        Self::Refused,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Partly => "partly imported",
            Self::Unchanged => "unchanged",
            Self::Listed => "needs get-topic-rule",
            Self::Refused => "refused",
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Its name, if it has one.
    pub(super) rule: Option<String>,
    pub(super) verdict: Verdict,
    /// Where the input has it.
    pub(super) from: String,
    /// Why it was not taken, or what it lost.
    pub(super) reasons: Vec<String>,
}

/// All rules of an import.
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// Where they went.
    pub(super) dir: PathBuf,
    /// Nothing was written.
    pub(super) dry_run: bool,
}

impl Table {
    /// True when every rule of the input is in the directory, or would be.
    pub(super) fn is_complete(&self) -> bool {
        let is_missing = |row: &Row| matches!(row.verdict, Verdict::Refused | Verdict::Listed);
        !self.rows.iter().any(is_missing)
    }

    fn count(&self, verdict: Verdict) -> usize {
        let rows = self.rows.iter().filter(|row| row.verdict == verdict);
        rows.count()
    }

    pub(super) fn as_text(&self) -> String {
        let mut lines = vec![["rule", "result", "from", "reason"].map(str::to_owned)];
        for row in &self.rows {
            let mut reasons = row.reasons.iter().map(String::as_str);
            lines.push([
                row.rule.as_deref().unwrap_or("(no name)").to_owned(),
                row.verdict.as_str().to_owned(),
                row.from.clone(),
                reasons.next().unwrap_or_default().to_owned(),
            ]);
            lines.extend(reasons.map(|reason| ["", "", "", reason].map(str::to_owned)));
        }
        let width = |column: usize| {
            let widths = lines.iter().map(|cells| cells[column].chars().count());
            widths.max().unwrap_or_default()
        };
        let (rule, result, from) = (width(0), width(1), width(2));
        let mut text: Vec<String> = lines
            .iter()
            .map(|[a, b, c, d]| {
                let line = format!("{a:rule$}  {b:result$}  {c:from$}  {d}");
                line.trim_end().to_owned()
            })
            .collect();
        text.push(self.summary());
        text.join("\n")
    }

    fn summary(&self) -> String {
        let counts = Verdict::ALL.map(|verdict| (self.count(verdict), verdict));
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts
            .map(|(count, verdict)| match (count, verdict) {
                (2.., Verdict::Listed) => format!("{count} need get-topic-rule"),
                _ => format!("{count} {}", verdict.as_str()),
            })
            .collect();
        let written = self.count(Verdict::Imported) + self.count(Verdict::Partly);
        let place = match (written, self.dry_run) {
            (_, true) => "nothing was written (--dry-run)".to_owned(),
            (0, false) => "nothing was written".to_owned(),
            (_, false) => format!("written to {}", self.dir.display()),
        };
        format!("{}; {place}", counts.join(", "))
    }

    pub(super) fn as_json(&self) -> Value {
        let rules: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "rule": row.rule,
                    "result": row.verdict.as_str(),
                    "from": row.from,
                    "reasons": row.reasons,
                })
            })
            .collect();
        json!({ "rules": rules, "directory": self.dir, "dry_run": self.dry_run })
    }
}
