//! `rule`: trying, checking, explaining, listing, comparing and importing rules without a server.

mod args;
mod cases;
mod diff;
mod documents;
mod explain;
mod import;
mod list;
mod measure;
mod sample;
mod sql_text;
mod test;
mod validate;

pub(super) use args::RuleCommand;
pub(crate) use list::settings_as_json;

use super::exit::Outcome;

/// Runs the command.
pub(super) fn run(command: &RuleCommand) -> Outcome {
    match command {
        RuleCommand::Test(arguments) => match &arguments.cases {
            Some(path) => cases::run(path, arguments),
            None => test::run(arguments),
        },
        RuleCommand::Validate(arguments) => validate::run(arguments),
        RuleCommand::Explain(arguments) => explain::run(arguments),
        RuleCommand::List(arguments) => list::run(arguments),
        RuleCommand::Diff(arguments) => diff::run(arguments),
        RuleCommand::Import(arguments) => import::run(arguments),
    }
}
