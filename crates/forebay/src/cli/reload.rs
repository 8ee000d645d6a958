//! `reload`: a running server reads its configuration and rules again.

use forebay_admin::Reloaded;

use super::admin::{Admin, USUAL_TOKEN};
use super::args::ReloadArguments;
use super::exit::{Exit, Failure, Outcome};
use super::output;

const RELOAD: &str = "/api/v1/reload";

/// Runs the command.
pub(super) async fn run(arguments: &ReloadArguments) -> Outcome {
    let process = &arguments.process;
    let admin = Admin::named(
        process.admin.as_deref(),
        process.token_file.as_deref(),
        &[USUAL_TOKEN.into()],
    )?;
    let reloaded: Reloaded = admin.post(RELOAD).await?;
    if arguments.json {
        let value = serde_json::to_value(&reloaded)
            .map_err(|error| Failure::new(Exit::InputOutput, error.to_string()))?;
        output::json(&value)?;
    } else {
        for line in text(&reloaded) {
            output::line(&line)?;
        }
    }
    Ok(Exit::Done)
}

fn text(reloaded: &Reloaded) -> Vec<String> {
    let Reloaded {
        rules,
        changed_rules,
        applied,
        needs_restart,
        warnings,
    } = reloaded;
    let mut lines = vec![match changed_rules.len() {
        0 => format!("{rules} rules in force, none changed"),
        count => format!(
            "{rules} rules in force, {count} changed: {}",
            changed_rules.join(", ")
        ),
    }];
    if !applied.is_empty() {
        lines.push(format!("applied: {}", applied.join(", ")));
    }
    if !needs_restart.is_empty() {
        lines.push(format!(
            "changed, but only after a restart: {}",
            needs_restart.join(", ")
        ));
    }
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    lines
}
