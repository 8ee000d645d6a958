//! Who may call what: roles, access keys, tokens, and the one place where it is decided.

use std::fmt;
use std::hint::black_box;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

use crate::aws::{AwsError, Service};
use crate::sigv4::{self, Signed};

/// What a caller may do; each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look at anything.
    Read,
    /// Also publish, and begin what changes nothing that is kept.
    Operate,
    /// Also change rules and reload.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// The name in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key that requests are signed with.
#[derive(Debug, Clone)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: Secret,
    pub(crate) role: Role,
}

/// What is wrong with a file of keys or tokens. No line is repeated: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessFileError {
    /// Nothing but blank lines and comments.
    #[error("it holds no {what}")]
    Empty {
        /// What it should hold.
        what: &'static str,
    },
    /// A line that is none.
    #[error("line {line}: expected {expected}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Its form.
        expected: &'static str,
    },
    /// A role that does not exist.
    #[error("line {line}: the role is not read, operate or admin")]
    Role {
        /// Its number, from 1.
        line: usize,
    },
    /// The same key or token again.
    #[error("line {line}: the same {what} as on another line")]
    Twice {
        /// Its number, from 1.
        line: usize,
        /// What comes twice.
        what: &'static str,
    },
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn role_of(text: &str, line: usize) -> Result<Role, AccessFileError> {
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    found.ok_or(AccessFileError::Role { line })
}

/// The access keys that requests may be signed with.
#[derive(Debug, Clone, Default)]
pub struct AccessKeys(Vec<AccessKey>);

impl AccessKeys {
    /// Reads lines `ACCESS_KEY_ID:SECRET[:role]`; a line without role has all rights. Blank lines and lines that begin
    /// with `#` say nothing.
    ///
    /// # Errors
    /// For a file without keys, and for the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, AccessFileError> {
        let mut keys: Vec<AccessKey> = Vec::new();
        for (line, written) in lines(text) {
            let mut parts = written.split(':');
            let (Some(id), Some(secret), role, None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(bad_key(line));
            };
            let is_id = (1..=128).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !is_id || secret.is_empty() {
                return Err(bad_key(line));
            }
            if keys.iter().any(|key| key.id == id) {
                return Err(AccessFileError::Twice {
                    line,
                    what: "access key id",
                });
            }
            keys.push(AccessKey {
                id: id.to_owned(),
                secret: Secret(secret.to_owned()),
                role: role.map_or(Ok(Role::Admin), |role| role_of(role, line))?,
            });
        }
        match keys.is_empty() {
            true => Err(AccessFileError::Empty { what: "access key" }),
            false => Ok(Self(keys)),
        }
    }

    pub(crate) fn find(&self, id: &str) -> Option<&AccessKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

fn bad_key(line: usize) -> AccessFileError {
    AccessFileError::Line {
        line,
        expected: "ACCESS_KEY_ID:SECRET or ACCESS_KEY_ID:SECRET:role",
    }
}

/// The tokens that requests may bear.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Debug, Clone)]
struct Token {
    /// Tokens are compared by their digests, which tells nothing about them by the time it takes.
    digest: [u8; 32],
    role: Role,
    line: usize,
}

impl Tokens {
    /// Reads lines `TOKEN[:role]`; a line without role has all rights. Blank lines and lines that begin with `#` say
    /// nothing.
    ///
    /// # Errors
    /// For a file without tokens, and for the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, AccessFileError> {
        let mut tokens: Vec<Token> = Vec::new();
        for (line, written) in lines(text) {
            let (token, role) = match written.split_once(':') {
                Some((token, role)) => (token, role_of(role, line)?),
                None => (written, Role::Admin),
            };
            // RFC 6750, 2.1, and long enough not to be guessed.
            let is_token = token.len() >= 16
                && token
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
            if !is_token {
                return Err(AccessFileError::Line {
                    line,
                    expected: "TOKEN or TOKEN:role, a token of 16 or more of A-Z a-z 0-9 - . _ ~ + / =",
                });
            }
            let digest = Sha256::digest(token).into();
            if tokens.iter().any(|known| known.digest == digest) {
                return Err(AccessFileError::Twice {
                    line,
                    what: "token",
                });
            }
            tokens.push(Token { digest, role, line });
        }
        match tokens.is_empty() {
            true => Err(AccessFileError::Empty { what: "token" }),
            false => Ok(Self(tokens)),
        }
    }

    fn find(&self, given: &str) -> Option<&Token> {
        let digest: [u8; 32] = Sha256::digest(given).into();
        let mut found = None;
        for token in &self.0 {
            let differs = token.digest.iter().zip(&digest);
            let differs = differs.fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
            if differs == 0 {
                found = Some(token);
            }
        }
        found
    }
}

/// Somebody who may call something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For people: an access key id, or which line of the tokens.
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// What callers are judged by.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// With none, the API of AWS IoT is for callers on this machine.
    pub keys: Option<AccessKeys>,
    /// With none, nobody can call what needs a token.
    pub tokens: Option<Tokens>,
    /// Only callers on this machine reach the listener.
    pub(crate) loopback: bool,
}

/// What a bearer of nothing or of something wrong gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token.
    NoToken,
    /// One that is not known.
    BadToken,
    /// One whose role is too low.
    Role(Role),
}

impl Access {
    /// Callers with these keys and tokens.
    pub fn new(keys: Option<AccessKeys>, tokens: Option<Tokens>) -> Self {
        Self {
            keys,
            tokens,
            loopback: false,
        }
    }

    /// Access keys make a signature do what otherwise the Host header does.
    pub(crate) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Somebody has to show something.
    pub(crate) fn is_guarded(&self) -> bool {
        self.keys.is_some() || self.tokens.is_some()
    }

    /// Judges a request to a path of our own that needs `role`.
    pub(crate) fn bearer(&self, headers: &HeaderMap, role: Role) -> Result<Caller, Refusal> {
        let given = bearer_of(headers).ok_or(Refusal::NoToken)?;
        let caller = self.token(given).ok_or(Refusal::BadToken)?;
        match caller.role >= role {
            true => Ok(caller),
            false => Err(Refusal::Role(caller.role)),
        }
    }

    fn token(&self, given: &str) -> Option<Caller> {
        let token = self.tokens.as_ref()?.find(given)?;
        Some(Caller {
            name: format!("token {}", token.line),
            role: token.role,
        })
    }

    /// Judges a request to a path of AWS IoT's API.
    ///
    /// Without keys a signature proves nothing, but its header does: a page in a browser cannot send it to another
    /// origin without asking first, and is never told that it may.
    pub(crate) fn authorize(
        &self,
        head: &Parts,
        body: &[u8],
        service: Service,
        now_ms: i64,
    ) -> Result<Caller, AwsError> {
        if let Some(given) = bearer_of(&head.headers) {
            return self.token(given).ok_or_else(|| {
                AwsError::forbidden("UnrecognizedClientException", "The token is not known.")
            });
        }
        let Some(keys) = &self.keys else {
            return self.local(head);
        };
        let signed = Signed::read(head)?;
        let key = keys.find(signed.key_id()).ok_or_else(|| {
            AwsError::forbidden(
                "UnrecognizedClientException",
                "The access key id in the request is not known.",
            )
        })?;
        sigv4::verify(&signed, head, body, service, &key.secret, now_ms)?;
        Ok(Caller {
            name: key.id.clone(),
            role: key.role,
        })
    }

    fn local(&self, head: &Parts) -> Result<Caller, AwsError> {
        let authorization = head.headers.get(header::AUTHORIZATION);
        let Some(authorization) = authorization.and_then(|value| value.to_str().ok()) else {
            return Err(sigv4::missing());
        };
        if !authorization.starts_with(sigv4::ALGORITHM) {
            return Err(AwsError::forbidden(
                "IncompleteSignatureException",
                format!("Authorization does not begin with {}.", sigv4::ALGORITHM),
            ));
        }
        if !self.loopback {
            return Err(AwsError::forbidden(
                "UnrecognizedClientException",
                "No access keys are configured here (admin.access_keys_file).",
            ));
        }
        Ok(Caller {
            name: "local".to_owned(),
            role: Role::Admin,
        })
    }
}

fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn key_files_are_read_line_by_line() {
        let keys = AccessKeys::parse("# ours\n\nAKID1:secret/+=\nAKID2:s:read\n").unwrap();
        assert_eq!(keys.find("AKID1").unwrap().role, Role::Admin);
        assert_eq!(keys.find("AKID1").unwrap().secret.reveal(), "secret/+=");
        assert_eq!(keys.find("AKID2").unwrap().role, Role::Read);
        assert!(keys.find("AKID3").is_none());
        let error = |text: &str| AccessKeys::parse(text).unwrap_err();
        assert_eq!(
            error("# none\n"),
            AccessFileError::Empty { what: "access key" }
        );
        assert_eq!(error("a:b:root"), AccessFileError::Role { line: 1 });
        for (line, text) in [
            (2, "a:b\nc"),
            (1, "a:"),
            (1, ":b"),
            (1, "a:b:read:x"),
            (1, "a b:c"),
        ] {
            assert_eq!(error(text), bad_key(line), "{text}");
        }
        assert!(matches!(
            error("a:b\na:c"),
            AccessFileError::Twice { line: 2, .. }
        ));
        assert!(!format!("{keys:?}").contains("secret/+="));
    }

    #[test]
    fn tokens_carry_roles() {
        let tokens = Tokens::parse("0123456789abcdef\nFEDCBA9876543210:operate").unwrap();
        let access = Access {
            tokens: Some(tokens),
            ..Access::default()
        };
        let bearer = |value: &'static str, role| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            access.bearer(&headers, role).map(|caller| caller.name)
        };
        let name = |line| Ok(format!("token {line}"));
        assert_eq!(bearer("Bearer 0123456789abcdef", Role::Admin), name(1));
        assert_eq!(bearer("bearer FEDCBA9876543210", Role::Operate), name(2));
        assert_eq!(
            bearer("Bearer FEDCBA9876543210", Role::Admin),
            Err(Refusal::Role(Role::Operate))
        );
        assert_eq!(
            bearer("Bearer 0123456789abcdeg", Role::Read),
            Err(Refusal::BadToken)
        );
        assert_eq!(
            bearer("Basic 0123456789abcdef", Role::Read),
            Err(Refusal::NoToken)
        );
        for wrong in ["", "short", "0123456789abcdef:root", "0123456789abcde é"] {
            assert!(Tokens::parse(wrong).is_err(), "{wrong}");
        }
    }
}
