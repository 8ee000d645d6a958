//! Where a spool is looked at: in its directory, or through the process that has it open.

use std::path::{Path, PathBuf};

use forebay_admin::SpoolStatus;
use forebay_spool::OpenError;

use super::args::SpoolArguments;
use crate::cli::admin::{Admin, USUAL_TOKEN};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::config::{self, Inputs, Loaded, Machine};

/// The path of the figures of a running process.
pub(super) const STAT: &str = "/api/v1/spool/stat";

/// The spool that a command is about.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` when only a process was named.
    pub dir: Option<PathBuf>,
    /// The process to ask where the directory is in use.
    url: Option<String>,
    /// The file of its token, where one was named.
    token_file: Option<PathBuf>,
    /// Where its token may be otherwise.
    usual_tokens: Vec<PathBuf>,
}

impl Place {
    /// What the arguments name, else what the configuration says.
    pub(super) fn of(arguments: &SpoolArguments) -> Result<Self, Failure> {
        let (url, token_file) = (arguments.admin.clone(), arguments.token_file.clone());
        if let Some(dir) = &arguments.dir {
            let beside = dir.parent().map(|data| data.join("admin-token"));
            let usual_tokens = beside.into_iter().chain([USUAL_TOKEN.into()]).collect();
            return Ok(Self {
                dir: Some(dir.clone()),
                url,
                token_file,
                usual_tokens,
            });
        }
        if url.is_some() && arguments.config.is_none() {
            return Ok(Self {
                dir: None,
                url,
                token_file,
                usual_tokens: vec![USUAL_TOKEN.into()],
            });
        }
        let inputs = Inputs::of_process(arguments.config.clone(), Vec::new());
        let Loaded { config, report } = config::load(&inputs, None, &Machine::detect());
        let Some(config) = config else {
            output::report(&report);
            return Err(Failure::silent(Exit::Configuration));
        };
        let configured = || {
            std::env::var_os("FOREBAY_ADMIN").is_none().then_some(())?;
            config.admin.bind.map(|address| format!("http://{address}"))
        };
        Ok(Self {
            dir: Some(config.spool.dir.clone()),
            url: url.or_else(configured),
            token_file,
            usual_tokens: vec![config.admin.token_file.clone()],
        })
    }

    /// The directory, when one was named.
    pub(super) fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(""))
    }

    /// The process that has the spool open.
    pub(super) fn admin(&self) -> Result<Admin, Failure> {
        Admin::named(
            self.url.as_deref(),
            self.token_file.as_deref(),
            &self.usual_tokens,
        )
    }

    /// Makes certain that the process has the directory open that was named, when one was.
    pub(super) async fn expect_same(&self, admin: &Admin) -> Result<(), Failure> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let theirs: SpoolStatus = admin.get(STAT).await?;
        if is_same(dir, Path::new(&theirs.dir)) {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Unreachable,
            format!(
                "{} is in use, and not by the process at {admin}, whose spool is {}: name the one that uses it by --admin",
                dir.display(),
                theirs.dir
            ),
        ))
    }
}

/// A process may name its directory relative to its own working directory, so the last parts have to do where the
/// whole path is not found from here.
fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        (Ok(a), Err(_)) => a.ends_with(b),
        (Err(_), _) => false,
    }
}

/// A directory that cannot be looked at.
pub(super) fn unreadable(error: &OpenError) -> Failure {
    Failure::new(Exit::InputOutput, error.to_string())
}
