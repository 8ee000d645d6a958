//! What can go wrong: an answer of the API, and a failure of the server itself.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why the server could not start or a call of its Rust interface failed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address could not be bound.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The data directory is held by another process.
    #[error("data directory {} is locked by another process", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory could not be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of the data directory is not what this server writes.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is outside its range.
    #[error("{key} = {value} is out of range: {allowed}")]
    Setting {
        /// The field of [`ServerConfig`](crate::ServerConfig).
        key: &'static str,
        /// The value that was given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The API refused the call.
    #[error("{code}: {message}")]
    Refused {
        /// The error code of the Kinesis API.
        code: String,
        /// The message.
        message: String,
    },
}

impl ServerError {
    pub(crate) fn storage(path: &Path, source: io::Error) -> Self {
        Self::Storage {
            path: path.to_owned(),
            source,
        }
    }
}

/// An answer of the API other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: Cow::Borrowed(code),
            message: message.into(),
        }
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    pub(crate) fn stream_not_found(name: &str, account: &str) -> Self {
        Self::new(
            "ResourceNotFoundException",
            format!("Stream {name} under account {account} not found."),
        )
    }

    pub(crate) fn shard_not_found(shard_id: &str, name: &str, account: &str) -> Self {
        Self::new(
            "ResourceNotFoundException",
            format!("Shard {shard_id} in stream {name} under account {account} does not exist"),
        )
    }

    pub(crate) fn storage(cause: &io::Error) -> Self {
        Self {
            status: 500,
            code: Cow::Borrowed("InternalFailureException"),
            message: format!("the storage of the stream failed: {cause}"),
        }
    }

    /// The `{"__type": ..., "message": ...}` document of this error.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.code.len() + self.message.len());
        out.extend_from_slice(b"{\"__type\":");
        crate::json::push_string(&mut out, &self.code);
        out.extend_from_slice(b",\"message\":");
        crate::json::push_string(&mut out, &self.message);
        out.push(b'}');
        out
    }
}

/// The message that the service gives a record it throttles.
pub(crate) fn rate_exceeded(shard_id: &str, stream: &str, account: &str) -> String {
    format!("Rate exceeded for shard {shard_id} in stream {stream} under account {account}.")
}

impl From<ApiError> for ServerError {
    fn from(error: ApiError) -> Self {
        Self::Refused {
            code: error.code.into_owned(),
            message: error.message,
        }
    }
}
