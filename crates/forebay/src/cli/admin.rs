//! Asking a running process, through its admin port.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exit::{Exit, Failure};

/// Names the process where no option does.
const VARIABLE: &str = "FOREBAY_ADMIN";
/// Names the file of the token where no option does.
const TOKEN_VARIABLE: &str = "FOREBAY_TOKEN_FILE";
/// Where a process that was started here with the usual settings has put its token.
pub(super) const USUAL_TOKEN: &str = "data/admin-token";
/// Where a process listens that was told nothing else.
const USUAL: &str = "http://127.0.0.1:9464";
/// One question with its answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Far more than any answer has.
const ANSWER_BYTES: usize = 64 << 20;

/// The admin port of a process.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    authority: String,
    /// What is borne; `None` lets the process say that it needs one.
    token: Option<String>,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl Admin {
    /// The process at `url`, else the one that the environment names, else the usual address of this machine. The token
    /// is in `token_file`, else in the file that the environment names, else in the first of `usual` that can be read.
    pub(super) fn named(
        url: Option<&str>,
        token_file: Option<&Path>,
        usual: &[PathBuf],
    ) -> Result<Self, Failure> {
        let named = token_file.map(Path::to_owned);
        let named = named.or_else(|| std::env::var_os(TOKEN_VARIABLE).map(PathBuf::from));
        let token = match named {
            Some(file) => Some(read_token(&file)?),
            None => usual.iter().find_map(|file| read_token(file).ok()),
        };
        Ok(Self {
            token,
            ..Self::url(url)?
        })
    }

    fn url(url: Option<&str>) -> Result<Self, Failure> {
        match url {
            Some(url) => Self::at(url),
            None => match std::env::var(VARIABLE) {
                Ok(url) => Self::at(&url),
                Err(_) => Self::at(USUAL),
            },
        }
    }

    fn at(url: &str) -> Result<Self, Failure> {
        let refused = || {
            Failure::new(
                Exit::Usage,
                format!("{url:?} is not the URL of an admin port: write http://HOST:PORT"),
            )
        };
        let uri: Uri = url.parse().map_err(|_| refused())?;
        match (uri.scheme_str(), uri.authority(), uri.path()) {
            (Some("http"), Some(authority), "" | "/") if uri.query().is_none() => Ok(Self {
                authority: authority.as_str().to_owned(),
                token: None,
            }),
            _ => Err(refused()),
        }
    }

    /// What is at `path`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path).await
    }

    /// Begins what `path` stands for.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::POST, path).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Failure> {
        let asked = timeout(ANSWER_TIME, self.exchange(method, path)).await;
        let (status, body) = asked
            .unwrap_or_else(|_| Err("no answer in time".into()))
            .map_err(|error| {
                Failure::new(
                    Exit::Unreachable,
                    format!("no running process answers at {self}: {error}"),
                )
            })?;
        if !status.is_success() {
            return Err(self.refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Failure::new(
                Exit::Data,
                format!("{self}{path} answers something else: {error}"),
            )
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let has_port = self.authority.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        let address = match has_port {
            true => self.authority.clone(),
            false => format!("{}:80", self.authority),
        };
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer, because the connection is not kept.
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close");
        let request = match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(Full::new(Bytes::new()))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES)
            .collect()
            .await?;
        connection.abort();
        Ok((status, body.to_bytes()))
    }

    /// What the process says when it refuses.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &body["error"];
        let message = error["message"].as_str().unwrap_or("it says nothing more");
        let exit = match error["code"].as_str() {
            // What was looked for is not there.
            Some("no_spool") => Exit::Unreachable,
            // What it would run with is wrong.
            Some("reload_refused") => Exit::Configuration,
            _ => Exit::Failed,
        };
        let hint = match status {
            StatusCode::UNAUTHORIZED => "; name its file with --token-file",
            _ => "",
        };
        Failure::new(exit, format!("{self} refuses ({status}): {message}{hint}"))
    }
}

/// The first token of a file, without its role.
fn read_token(file: &Path) -> Result<String, Failure> {
    let refused =
        |reason: &str| Failure::new(Exit::InputOutput, format!("{}: {reason}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refused(&error.to_string()))?;
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    let token = line.and_then(|line| line.split(':').next());
    token
        .map(str::to_owned)
        .ok_or_else(|| refused("it holds no token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_is_named_by_a_plain_url() {
        for url in [
            "http://127.0.0.1:9464",
            "http://localhost:1/",
            "http://[::1]:9464",
        ] {
            let admin = Admin::url(Some(url)).unwrap();
            assert_eq!(admin.to_string(), url.trim_end_matches('/'));
        }
        for url in [
            "",
            "127.0.0.1:9464",
            "https://a:1",
            "http://a:1/metrics",
            "ftp://a",
            "http://",
        ] {
            let failure = Admin::url(Some(url)).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{url} was accepted");
        }
    }
}
