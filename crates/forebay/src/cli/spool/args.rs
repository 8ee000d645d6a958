//! What can be typed behind `forebay spool`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SpoolCommand {
    /// Show what is kept in the spool: how much, for which streams, since when
    Stat(SpoolArguments),
    /// Read the whole spool and check every frame; exit code 1 when something is damaged
    ///
    /// Where a process has the spool open, that process reads it: it counts what is damaged, keeps a copy of it beside
    /// the spool, and gives up the records that lay there and that it does not have in memory.
    Verify(SpoolArguments),
}

/// Where the spool is.
#[derive(Debug, Args)]
pub(in crate::cli) struct SpoolArguments {
    /// Directory of the spool [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A running process: asked in place of a directory, or when the directory of --dir is in use
    /// [default: $FOREBAY_ADMIN, then that of the configuration]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// File of its token [default: $FOREBAY_TOKEN_FILE, then that of the configuration]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Configuration file that says where the spool is [default: as for run]
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        conflicts_with = "dir"
    )]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
