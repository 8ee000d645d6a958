//! Where the workspace is and what Cargo says about it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;

/// The checkout that this program was built from, as `cargo metadata` sees it.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    metadata: Value,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let text = process::output(
            cargo()
                .args(["metadata", "--format-version=1", "--no-deps"])
                .arg("--manifest-path")
                .arg(manifest),
        )?;
        let metadata: Value =
            serde_json::from_str(&text).context("`cargo metadata` did not print JSON")?;
        let path = |key: &str| {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("`cargo metadata` printed no {key}"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            metadata,
        })
    }

    /// The packages of the workspace as `cargo metadata` describes them.
    pub(crate) fn packages(&self) -> &[Value] {
        self.metadata["packages"]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    /// The program that the tests start, in the profile that they are built with.
    pub(crate) fn program(&self) -> PathBuf {
        self.target.join("debug").join("forebay")
    }

    /// `cargo` with the root of the workspace as its working directory.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }
}

/// The Cargo that runs this program, so that a toolchain chosen on the command line stays chosen.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
