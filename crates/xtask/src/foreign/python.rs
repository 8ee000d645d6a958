//! A Python environment with paho-mqtt, boto3 and MiniStack, and the AWS CLI if PATH lacks it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Tool, is_current, read, set_current, start_over};
use crate::process;

pub(super) fn packages(
    sources: &Path,
    folder: &Path,
    tools: &mut BTreeMap<&'static str, Tool>,
) -> Result<()> {
    let system = process::on_path("python3")
        .context("python3 is needed: package `python3` (with `python3-venv` on Debian)")?;
    let aws = process::on_path("aws");
    let mut requirements = vec![sources.join("requirements.txt")];
    if aws.is_none() {
        requirements.push(sources.join("requirements-awscli.txt"));
    }

    let mut wanted = process::output(Command::new(&system).arg("--version"))?;
    for file in &requirements {
        wanted.push_str(&read(file)?);
    }
    let python = folder.join("bin").join("python");
    if !is_current(folder, &wanted) {
        start_over(folder)?;
        println!("installing Python packages into {}", folder.display());
        process::output(Command::new(&system).args(["-m", "venv"]).arg(folder))
            .context("an environment needs python3's venv module: package `python3-venv`")?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--no-input"]);
        install.arg("--disable-pip-version-check");
        for file in &requirements {
            install.arg("--requirement").arg(file);
        }
        process::output(&mut install).context("pip needs the network once")?;
        set_current(folder, &wanted)?;
    }

    // Started as modules: the scripts that pip writes break when the checkout moves.
    let module = |name: &str| Tool::new([&python, Path::new("-m"), Path::new(name)]);
    tools.insert("ministack", module("ministack"));
    tools.insert(
        "aws",
        aws.map_or_else(|| module("awscli"), |path| Tool::new([path])),
    );
    tools.insert("python", Tool::new([&python]));
    Ok(())
}
