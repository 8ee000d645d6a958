//! The clients and servers of others that the black-box tests use: found on PATH or fetched into
//! `target/foreign`, then listed in `target/foreign/tools.json`, where `forebay-tests` finds them.

mod debian;
mod node;
mod python;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::workspace::Workspace;

/// How to start one tool: the words of its command line and what it needs in its environment.
#[derive(Debug)]
struct Tool {
    words: Vec<String>,
    environment: BTreeMap<&'static str, String>,
}

impl Tool {
    fn new<W: AsRef<Path>>(words: impl IntoIterator<Item = W>) -> Self {
        let words = words.into_iter();
        Self {
            words: words.map(|word| text(word.as_ref())).collect(),
            environment: BTreeMap::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &Path) -> Self {
        self.environment.insert(name, text(value));
        self
    }

    fn describe(&self) -> Value {
        json!({ "command": self.words, "environment": self.environment })
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Makes every tool available and writes the list of them. Does nothing that needs the network
/// when what is there is what the requirement files ask for.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let folder = workspace.target.join("foreign");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = folder.join("lock");
    let lock = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
    lock.lock()
        .context("cannot wait for another `cargo xtask tools`")?;

    let sources = workspace.root.join("tests").join("foreign");
    let mut tools = BTreeMap::new();
    debian::mosquitto_clients(&folder.join("debian"), &mut tools)?;
    debian::browser(&folder.join("browser"), &mut tools)?;
    python::packages(&sources, &folder.join("python"), &mut tools)?;
    node::packages(&sources, &folder.join("node"), &mut tools)?;

    for (name, tool) in &tools {
        println!("{name:14} {}", tool.words.join(" "));
    }
    let list: BTreeMap<_, _> = tools
        .iter()
        .map(|(name, tool)| (*name, tool.describe()))
        .collect();
    write(&folder.join("tools.json"), &format!("{:#}\n", json!(list)))
}

/// Whether what was installed into `folder` is what `wanted` describes.
fn is_current(folder: &Path, wanted: &str) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|stamp| stamp == wanted)
}

/// Empties `folder` before an installation; a half-finished one carries no stamp.
fn start_over(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn set_current(folder: &Path, wanted: &str) -> Result<()> {
    write(&folder.join(STAMP), wanted)
}

const STAMP: &str = "installed";

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
