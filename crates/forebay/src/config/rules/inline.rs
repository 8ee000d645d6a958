//! `[[rules.inline]]`: documents written in TOML.

use serde_json::json;

use super::show::document_error;
use super::{Located, inline_action, written_here};
use crate::config::raw::{RawKind, RawTable, RawValue};
use crate::config::section::Section;
use crate::diagnostics::{Code, Diagnostic, Origin, Report};

/// Reads the whole list.
pub(super) fn read(value: RawValue, documents: &mut Vec<Located>, report: &mut Report) {
    let RawKind::Array(items) = value.kind else {
        Section::new("rules", RawTable::new(), report).wrong_type(
            "inline",
            &value,
            "a list of tables: [[rules.inline]]",
        );
        return;
    };
    for item in items {
        let mut section = Section::new("rules", RawTable::new(), report);
        let origin = item.origin.clone();
        let Some(table) = section.expect_table("inline", item) else {
            continue;
        };
        if let Some(document) = read_inline_rule(table, &origin, report) {
            documents.push(document);
        }
    }
}

/// One `[[rules.inline]]`, turned into the document that AWS's API would take, so that the same checks judge it.
fn read_inline_rule(table: RawTable, item: &Origin, report: &mut Report) -> Option<Located> {
    let errors_before = report.errors();
    let mut section = Section::new("rules.inline", table, report);
    let name = section.string("name");
    let sql = section.string("sql");
    for (key, missing) in [("name", name.is_none()), ("sql", sql.is_none())] {
        if missing && section.report().errors() == errors_before {
            section.report().push(
                Diagnostic::error(Code::Missing, format!("`rules.inline` has no `{key}`")).at(item),
            );
        }
    }
    let version = section.word("sql_version", &["2015-10-08", "2016-03-23", "beta"]);
    let enabled = section.boolean("enabled").unwrap_or(true);
    let description = section.string("description");
    let action = section.take("action");
    let actions = section.take("actions");
    let error_action = section.take("error_action");
    section.finish();
    let actions = match (action, actions) {
        (Some(action), None) => vec![action],
        (
            None,
            Some(RawValue {
                kind: RawKind::Array(actions),
                ..
            }),
        ) => actions,
        (None, None) => Vec::new(),
        (None, Some(other)) => {
            Section::new("rules.inline", RawTable::new(), report).wrong_type(
                "actions",
                &other,
                "a list of tables",
            );
            Vec::new()
        }
        (Some(_), Some(both)) => {
            report.push(
                Diagnostic::error(Code::Duplicate, "`action` and `actions` in one rule")
                    .at(&both.origin)
                    .label("write one of them"),
            );
            Vec::new()
        }
    };
    let actions: Vec<serde_json::Value> = actions
        .into_iter()
        .filter_map(|action| inline_action::read(action, report))
        .collect();
    let error_action = error_action.and_then(|action| inline_action::read(action, report));
    let (name, sql) = (name?, sql?);
    if report.errors() > errors_before {
        return None;
    }
    let document = json!({
        "sql": sql.value,
        "awsIotSqlVersion": version.map(|written| written.value),
        "ruleDisabled": !enabled,
        "description": description.map(|written| written.value),
        "actions": actions,
        "errorAction": error_action,
    });
    match written_here(&document, &name.value) {
        Ok(rule) => Some(Located {
            rule,
            origin: sql.origin,
        }),
        Err(error) => {
            report.push(document_error(&error).at(&name.origin));
            None
        }
    }
}
