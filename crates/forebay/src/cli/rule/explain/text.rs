//! An explanation for people.

use forebay_rules::{Explanation, PayloadUse};

use super::super::measure::Measured;
use super::{Explained, folded_value, output_path, read, type_name};

impl Explained<'_> {
    /// One block per part of the rule.
    pub(super) fn as_text(&self) -> String {
        let mut text = String::new();
        let document = self.rule.document();
        let state = if self.is_enabled { "" } else { ", disabled" };
        text.push_str(&format!("rule {}{state}\n", self.rule.name()));
        row(&mut text, "sql", &document.sql.replace('\n', " "));
        row(&mut text, "version", document.version.as_str());
        row(
            &mut text,
            "topics",
            self.rule.filter().unwrap_or("only by Basic Ingest"),
        );
        text.push_str("statement\n");
        row(
            &mut text,
            "output",
            output_path(self.explanation.statement.output),
        );
        describe(&mut text, &document.sql, &self.explanation.statement);
        for template in &self.explanation.templates {
            text.push_str(&format!("{}\n", template.field));
            row(&mut text, "template", &template.text);
            describe(&mut text, &template.text, &template.explanation);
        }
        text.push_str("records\n");
        for (name, value) in self.records() {
            row(&mut text, &name, &value);
        }
        text.push_str("settings in force\n");
        for (name, value) in &self.settings {
            row(&mut text, name, value);
        }
        for warning in self.rule.warnings() {
            row(&mut text, "note", &warning.to_string());
        }
        self.cost_as_text(&mut text);
        text
    }

    fn cost_as_text(&self, text: &mut String) {
        let cost = &self.cost;
        let Measured {
            median_ns,
            min_ns,
            max_ns,
            rounds,
            evaluations,
        } = cost.measured;
        text.push_str("cost per message\n");
        row(
            text,
            "measured",
            &format!("{median_ns:.0} ns ({min_ns:.0} to {max_ns:.0})"),
        );
        let how = format!(
            "median of {rounds} rounds of {evaluations} evaluations on one thread: match, statement, templates, output"
        );
        row(text, "how", &how);
        if cfg!(debug_assertions) {
            row(
                text,
                "beware",
                "this is a debug build; a release build is several times faster",
            );
        }
        row(text, "topic", &cost.topic);
        let made_up = if cost.is_made_up { ", made up" } else { "" };
        row(
            text,
            "payload",
            &format!("{} bytes{made_up}", cost.payload.len()),
        );
        if cost.is_made_up {
            row(text, "", &String::from_utf8_lossy(&cost.payload));
        }
        if self.parses() {
            row(text, "read by", cost.reader());
        }
        row(text, "outcome", &cost.outcome());
    }
}

fn row(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("  {name:<12} {value}\n"));
}

/// What a statement or template reads, calls, converts and has folded.
fn describe(text: &mut String, source: &str, explanation: &Explanation) {
    let payload = match explanation.payload {
        PayloadUse::Unread => "not read",
        PayloadUse::Bytes => "taken as bytes",
        PayloadUse::Parsed => "parsed as JSON, once for all rules of the message",
    };
    row(text, "payload", payload);
    let part = |span: &std::ops::Range<usize>| source.get(span.clone()).unwrap_or_default();
    let lists = [
        (
            "reads",
            explanation.reads.iter().map(read).collect::<Vec<_>>(),
        ),
        (
            "calls",
            explanation
                .calls
                .iter()
                .map(|call| {
                    let asks = if call.asks_message {
                        " (asks the message)"
                    } else {
                        ""
                    };
                    format!("{}{asks}", call.function)
                })
                .collect(),
        ),
        (
            "converts",
            explanation
                .conversions
                .iter()
                .map(|conversion| {
                    let to = type_name(conversion.to);
                    match conversion.from {
                        Some(from) => format!(
                            "`{}` from {} to {to}",
                            part(&conversion.span),
                            type_name(from)
                        ),
                        None => format!("`{}` to {to}, where it is none", part(&conversion.span)),
                    }
                })
                .collect(),
        ),
        (
            "folded",
            explanation
                .folded
                .iter()
                .map(|folded| format!("`{}` = {}", part(&folded.span), folded_value(&folded.value)))
                .collect(),
        ),
        ("variables", explanation.variables.clone()),
    ];
    for (name, items) in lists {
        if !items.is_empty() {
            row(text, name, &items.join(", "));
        }
    }
}
