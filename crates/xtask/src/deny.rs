//! cargo-deny at one pinned version, built into `target/tools` when PATH does not have it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::Workspace;

/// Its checks and the syntax of `deny.toml` change between versions, so any other is not used.
const VERSION: &str = "0.20.2";

/// Runs `cargo deny check` with the given checks.
pub(crate) fn check(workspace: &Workspace, checks: &[&str]) -> Result<()> {
    let program = ensure(workspace)?;
    process::run(
        Command::new(program)
            .current_dir(&workspace.root)
            .args(["--all-features", "check", "--hide-inclusion-graph"])
            .args(checks),
    )
}

fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.target.join("tools");
    let installed = root.join("bin").join("cargo-deny");
    let found = process::on_path("cargo-deny").into_iter();
    if let Some(program) = found.chain([installed.clone()]).find(is_pinned) {
        return Ok(program);
    }
    println!("building cargo-deny {VERSION} into {}", root.display());
    let build = root.join("build");
    process::run(
        workspace
            .cargo()
            .args(["install", "cargo-deny", "--locked", "--quiet", "--debug"])
            .args(["--version", &format!("={VERSION}")])
            .args(["--config", "profile.dev.debug=0"])
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(&build),
    )
    .context("cargo-deny is needed: package `cargo-deny` of the Rust registry")?;
    std::fs::remove_dir_all(&build)
        .with_context(|| format!("cannot remove {}", build.display()))?;
    Ok(installed)
}

fn is_pinned(program: &PathBuf) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| {
            output.status.success()
                && String::from_utf8_lossy(&output.stdout).trim() == format!("cargo-deny {VERSION}")
        })
}
