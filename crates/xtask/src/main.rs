//! `cargo xtask`: the project's own commands.
//!
//! `test` is everything that CI runs; the other commands are parts of it that are useful alone,
//! and the advisories check, which needs a database from the network.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool for developers reports on standard output"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "steps are timed by the wall clock, and nothing here is simulated"
)]

mod deny;
mod edges;
mod foreign;
mod process;
mod steps;
mod symbols;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::steps::Selection;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--only STEP]... [--skip STEP]...   everything CI runs, in order
  edges                                    the edges between our packages against the map
  tools                                    fetch the foreign clients and servers of the tests
  advisories                               known vulnerabilities (needs the network)

STEP may be given several times, or as a list with commas.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command\n\n{USAGE}\n\nsteps: {}", steps::names());
    };
    match command.as_str() {
        "test" => steps::run(&Workspace::find()?, &Selection::parse(rest)?),
        "edges" if rest.is_empty() => edges::check(&Workspace::find()?),
        "tools" if rest.is_empty() => foreign::ensure(&Workspace::find()?),
        "advisories" if rest.is_empty() => deny::check(&Workspace::find()?, &["advisories"]),
        "help" | "--help" | "-h" => {
            println!("{USAGE}\n\nsteps: {}", steps::names());
            Ok(())
        }
        "edges" | "tools" | "advisories" => bail!("`{command}` takes no arguments"),
        other => bail!("unknown command `{other}`\n\n{USAGE}"),
    }
}
