//! `rule`: trying, checking, explaining, listing and comparing rules without a server.

mod args;
mod cases;
mod documents;
mod test;

pub(super) use args::RuleCommand;

use super::exit::Outcome;

/// Runs the command.
pub(super) fn run(command: &RuleCommand) -> Outcome {
    match command {
        RuleCommand::Test(arguments) => match &arguments.cases {
            Some(path) => cases::run(path, arguments),
            None => test::run(arguments),
        },
    }
}
