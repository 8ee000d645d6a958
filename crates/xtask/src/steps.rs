//! `cargo xtask test`: the steps, their order, and the summary.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{deny, edges, foreign, process, symbols};

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

/// Cheap steps first: a mistake that a second can show should not wait for a compiler.
const STEPS: &[Step] = &[
    Step {
        name: "edges",
        about: "edges between our packages",
        run: edges::check,
    },
    Step {
        name: "fmt",
        about: "formatting",
        run: |workspace| process::run(workspace.cargo().args(["fmt", "--all", "--check"])),
    },
    Step {
        name: "deny",
        about: "duplicates, licences and sources of dependencies",
        run: |workspace| deny::check(workspace, &["bans", "licenses", "sources"]),
    },
    Step {
        name: "tools",
        about: "foreign clients and servers",
        run: foreign::ensure,
    },
    Step {
        name: "clippy",
        about: "lints of all targets",
        run: |workspace| {
            process::run(workspace.cargo().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]))
        },
    },
    Step {
        name: "doc",
        about: "documentation without a broken link",
        run: |workspace| {
            process::run(
                workspace
                    .cargo()
                    .args(["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )
        },
    },
    Step {
        name: "build",
        about: "the program and the tests",
        run: |workspace| process::run(&mut build(workspace)),
    },
    Step {
        name: "symbols",
        about: "of rumqttd only the codec in the program",
        run: symbols::check,
    },
    Step {
        name: "tests",
        about: "unit, conformance, simulation and black box",
        run: tests,
    },
    Step {
        name: "models",
        about: "hand-overs between threads, in every order",
        run: |workspace| process::run(&mut models(workspace)),
    },
    Step {
        name: "doctests",
        about: "examples in the documentation",
        run: |workspace| process::run(workspace.cargo().args(["test", "--workspace", "--doc"])),
    },
];

/// Which steps run.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    only: BTreeSet<String>,
    skip: BTreeSet<String>,
}

impl Selection {
    /// Reads `--only` and `--skip`, each with one step or several with commas.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut selection = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (argument.as_str(), None),
            };
            let chosen = match flag {
                "--only" => &mut selection.only,
                "--skip" => &mut selection.skip,
                _ => bail!("unknown argument `{argument}`; there are --only STEP and --skip STEP"),
            };
            let value = value
                .or_else(|| rest.next().map(String::as_str))
                .with_context(|| format!("{flag} needs a step: {}", names()))?;
            for name in value.split(',') {
                if !STEPS.iter().any(|step| step.name == name) {
                    bail!("unknown step `{name}`; the steps are {}", names());
                }
                chosen.insert(name.to_owned());
            }
        }
        Ok(selection)
    }

    fn includes(&self, name: &str) -> bool {
        (self.only.is_empty() || self.only.contains(name)) && !self.skip.contains(name)
    }
}

/// The names of the steps in their order.
pub(crate) fn names() -> String {
    let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
    names.join(", ")
}

/// Runs the selected steps, stops at the first that fails, and prints what each took.
pub(crate) fn run(workspace: &Workspace, selection: &Selection) -> Result<()> {
    let start = Instant::now();
    let mut summary = String::new();
    let mut failure = None;
    for step in STEPS {
        let result = if failure.is_some() {
            "not run".to_owned()
        } else if !selection.includes(step.name) {
            "skipped".to_owned()
        } else {
            println!("\n==> {}: {}", step.name, step.about);
            let step_start = Instant::now();
            let outcome = (step.run)(workspace);
            let took = seconds(step_start.elapsed());
            let word = if outcome.is_ok() { "ok" } else { "FAILED" };
            println!("<== {} {word} in {took}", step.name);
            failure = outcome.err().map(|error| (step.name, error));
            format!("{word:7} {took}")
        };
        summary.push_str(&format!("  {:9} {result}\n", step.name));
    }
    println!(
        "\nSummary ({} in total)\n{summary}",
        seconds(start.elapsed())
    );
    match failure {
        None => Ok(()),
        Some((name, error)) => Err(error.context(format!(
            "step `{name}` failed; `cargo xtask test --only {name}` repeats it alone"
        ))),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Programs and tests in one call: with one set of packages Cargo settles on one set of features,
/// so the dependencies are compiled once and the next step only runs what is built here.
fn build(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["build", "--workspace", "--bins", "--tests"]);
    command
}

/// A build beside the others, because its flag reaches every dependency. The models are explored exhaustively, so none
/// of them is left out for time.
fn models(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["test", "--profile", "models", "-p", "forebay-pipeline"])
        .args(["--lib", "models::", "--target-dir"])
        .arg(workspace.target.join("loom"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "--cfg forebay_loom");
    command
}

fn tests(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo();
    if process::on_path("cargo-nextest").is_some() {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        command.args(["test", "--workspace", "--lib", "--bins", "--tests"]);
        command.arg("--no-fail-fast");
    }
    process::run(command.env("FOREBAY_BIN", workspace.program()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Selection> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Selection::parse(&words)
    }

    #[test]
    fn every_step_runs_when_nothing_is_selected() {
        let selection = parse(&[]).unwrap();
        assert!(STEPS.iter().all(|step| selection.includes(step.name)));
    }

    #[test]
    fn only_and_skip_choose_steps_singly_and_as_lists() {
        let selection = parse(&["--only", "fmt,clippy", "--skip=clippy"]).unwrap();
        let chosen: Vec<_> = STEPS
            .iter()
            .map(|step| step.name)
            .filter(|name| selection.includes(name))
            .collect();
        assert_eq!(chosen, ["fmt"]);
    }

    #[test]
    fn a_step_that_does_not_exist_is_refused_with_the_list_of_steps() {
        let error = parse(&["--skip", "lint"]).unwrap_err().to_string();
        assert!(error.contains("`lint`"), "{error}");
        assert!(error.contains("clippy"), "{error}");
    }
}
