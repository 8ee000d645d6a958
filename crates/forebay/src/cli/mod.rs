//! The command line: what can be typed, and one function per command.

mod admin;
mod args;
mod bench;
mod exit;
mod mqtt_client;
mod output;
mod publish;
mod reload;
mod rule;
mod signals;
mod spool;
mod stream;
mod subscribe;
mod validate;

use clap::Parser;

use args::{Arguments, BenchCommand, Command, DemoArguments, RunArguments, StreamCommand};
pub use exit::{Exit, Failure, Outcome};
pub(crate) use output::{remark, report as show_report, style};
pub(crate) use rule::settings_as_json;
pub(crate) use signals::{Hangup, Stop};
pub(crate) use stream::{chain, needs_no_credentials};

use crate::config::{CommandLineRule, Inputs};
use crate::{demo, server};

/// Runs the command that was typed. Whatever there is to say was said when this returns.
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes and go to standard output; clap knows which is which.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return error.print().map_or(Exit::InputOutput, |()| exit);
        }
    };
    match dispatch(arguments) {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::remark(&format!("error: {failure}"));
            }
            failure.exit
        }
    }
}

fn dispatch(arguments: Arguments) -> Outcome {
    match arguments.command.unwrap_or(Command::Run(arguments.run)) {
        Command::Run(run) => run_server(run),
        Command::Demo(demo) => run_demo(demo),
        Command::Validate(validate) => block_on(validate::run(&validate)),
        Command::Rule(rule) => rule::run(&rule),
        Command::Pub(publish) => block_on(publish::run(&publish)),
        Command::Sub(subscribe) => block_on(subscribe::run(&subscribe)),
        Command::Stream(StreamCommand::Serve(serve)) => block_on(stream::serve(&serve)),
        Command::Stream(StreamCommand::List(list)) => block_on(stream::list(&list)),
        Command::Stream(StreamCommand::Describe(describe)) => block_on(stream::describe(&describe)),
        Command::Stream(StreamCommand::Tail(tail)) => block_on(stream::tail(&tail)),
        Command::Spool(command) => block_on(spool::run(&command)),
        Command::Reload(reload) => block_on(reload::run(&reload)),
        Command::Bench(BenchCommand::Quick(quick)) => bench::run(&quick),
    }
}

fn run_server(arguments: RunArguments) -> Outcome {
    let rule = arguments
        .kinesis_stream
        .zip(arguments.rule)
        .map(|(stream, sql)| CommandLineRule {
            stream,
            sql,
            partition_key: arguments
                .partition_key
                .unwrap_or_else(|| "${topic()}".to_owned()),
        });
    server::run(
        &Inputs::of_process(arguments.config, arguments.set),
        rule.as_ref(),
    )
}

fn run_demo(arguments: DemoArguments) -> Outcome {
    let json = arguments.json;
    let summary = demo::run(&demo::DemoOptions {
        duration: arguments.duration,
        devices: arguments.devices,
        rate: arguments.rate,
        shards: arguments.shards,
        inject_loss: arguments.inject_loss,
        set: arguments.set,
    })?;
    if json {
        output::json(&summary.as_json())?;
    } else {
        output::line(&summary.to_string())?;
    }
    Ok(if summary.is_clean() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Runs a command that waits for the network, on a runtime of its own.
fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::InputOutput, format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(command);
    // A thread that waits for standard input must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}
