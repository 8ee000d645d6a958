//! Exit codes, and failures that carry one.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// What the process ends with (the numbers above 2 are those of BSD's sysexits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// A check or test failed, or something was lost.
    Failed,
    /// Unknown option, missing argument.
    Usage,
    /// Input that cannot be read as what it should be.
    Data,
    /// No broker, no endpoint; the address is in use.
    Unreachable,
    /// A directory or file that is missing or not writable, or a start that is given up because those before it failed
    /// alike.
    InputOutput,
    /// Configuration or rules that are wrong.
    Configuration,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Data => 65,
            Self::Unreachable => 69,
            Self::InputOutput => 74,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ended early: a message for standard error, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened; empty when it was said already.
    pub message: String,
}

impl Failure {
    /// A failure with these words.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// A failure whose reason was printed already.
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Writing to standard output fails when whoever reads it has enough, as `head` does: no failure of ours.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::silent(Exit::Done)
        } else {
            Self::new(Exit::InputOutput, format!("cannot write: {error}"))
        }
    }
}

/// What a command gives back.
pub type Outcome = Result<Exit, Failure>;
