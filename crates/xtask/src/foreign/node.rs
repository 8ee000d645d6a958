//! Node packages: MQTT.js, kinesalite and the AWS SDK for JavaScript.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Tool, is_current, read, set_current, start_over};
use crate::process;

/// What the AWS SDK for JavaScript asks for.
const MAJOR_MIN: u32 = 20;
const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

pub(super) fn packages(
    sources: &Path,
    folder: &Path,
    tools: &mut BTreeMap<&'static str, Tool>,
) -> Result<()> {
    let node = process::on_path("node").with_context(|| {
        format!("node is needed: Node.js {MAJOR_MIN} or newer, package `nodejs`")
    })?;
    let version = process::output(Command::new(&node).arg("--version"))?;
    if major(&version).is_none_or(|major| major < MAJOR_MIN) {
        bail!(
            "node is {}, and the AWS SDK for JavaScript needs {MAJOR_MIN} or newer: package `nodejs`",
            version.trim()
        );
    }

    let mut wanted = version;
    for file in FILES {
        wanted.push_str(&read(&sources.join(file))?);
    }
    let modules = folder.join("node_modules");
    if !is_current(folder, &wanted) {
        let npm = process::on_path("npm").context("npm is needed: package `npm`")?;
        start_over(folder)?;
        println!("installing Node packages into {}", folder.display());
        for file in FILES {
            fs::copy(sources.join(file), folder.join(file))
                .with_context(|| format!("cannot copy {file} to {}", folder.display()))?;
        }
        process::output(Command::new(npm).arg("ci").current_dir(folder))
            .context("npm needs the network once")?;
        set_current(folder, &wanted)?;
    }

    tools.insert("node", Tool::new([&node]).with("NODE_PATH", &modules));
    Ok(())
}

fn major(version: &str) -> Option<u32> {
    let digits = version.trim().strip_prefix('v')?.split('.').next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_node_prints() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v8.1.0"), Some(8));
        assert_eq!(major("unknown"), None);
    }
}
