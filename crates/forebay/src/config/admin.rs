//! `[admin]`: the listener for AWS IoT's API, metrics and health, and who may call what there.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use forebay_admin::{AccessFileError, AccessKeys, MissingRule, Tokens};

use super::listeners::{is_loopback, loopback};
use super::raw::{RawKind, RawTable};
use super::section::{Section, Written};
use crate::diagnostics::{Code, Diagnostic, Origin, Report};

/// Where the admin listener is by default.
const ADMIN_PORT: u16 = 9464;
/// The file of the token that is made at first start, in the data directory.
const TOKEN_FILE: &str = "admin-token";
/// Permissions that let others read a file.
const OTHERS_READ: u32 = 0o004;

/// `[admin]`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// `bind`: where it listens; `None` is `"off"`. Default 127.0.0.1:9464. Another address than one of loopback needs
    /// `access_keys_file` or `token_file`, and `insecure`.
    pub bind: Option<SocketAddr>,
    /// `access_keys_file`: the keys that callers of AWS IoT's API sign with. Without them that API answers callers on
    /// this machine only, and their signatures are not verified.
    pub access_keys: Option<AccessKeys>,
    /// `token_file`: the tokens for everything else. It is made when it does not exist. Default `admin-token` in
    /// `server.data_dir`.
    pub token_file: PathBuf,
    /// The tokens of that file; `None` when it is still to be made.
    pub tokens: Option<Tokens>,
    /// The token file was named, so that it is an error when it cannot be made.
    pub token_file_is_named: bool,
    /// `hosts`: names accepted in the Host header besides those of loopback and the bound address.
    pub hosts: Vec<String>,
    /// `missing_rule_error`: how a rule that does not exist is answered, `aws` or `not_found`. Default `aws`.
    pub missing_rule: MissingRule,
    /// `audit_file`: gets one line per write. Default none.
    pub audit_file: Option<PathBuf>,
    /// `insecure`: answers other machines although nothing is encrypted. Default false.
    pub insecure: bool,
}

impl Admin {
    pub(super) fn read(table: RawTable, data_dir: &Path, report: &mut Report) -> Self {
        let mut section = Section::new("admin", table, report);
        let (bind, bind_origin) = read_bind(&mut section);
        let keys_file = section.path("access_keys_file");
        let named_tokens = section.path("token_file");
        let token_file = match &named_tokens {
            Some(written) => written.value.clone(),
            None => data_dir.join(TOKEN_FILE),
        };
        let admin = Self {
            bind,
            access_keys: keys_file.as_ref().and_then(|written| {
                let place = Some(&written.origin);
                read_file(&mut section, &written.value, place, AccessKeys::parse)
            }),
            tokens: match named_tokens.is_some() && token_file.exists() || is_readable(&token_file)
            {
                true => {
                    let place = named_tokens.as_ref().map(|written| &written.origin);
                    read_file(&mut section, &token_file, place, Tokens::parse)
                }
                false => None,
            },
            token_file,
            token_file_is_named: named_tokens.is_some(),
            hosts: read_hosts(&mut section),
            missing_rule: match section.word("missing_rule_error", &["aws", "not_found"]) {
                Some(written) if written.value == "not_found" => MissingRule::NotFound,
                _ => MissingRule::Aws,
            },
            audit_file: section.path("audit_file").map(|written| written.value),
            insecure: section.boolean("insecure").unwrap_or(false),
        };
        let guarded = keys_file.is_some() || admin.token_file_is_named;
        if let (Some(address), Some(origin)) = (bind, bind_origin) {
            check_open(&mut section, (address, &origin), guarded, admin.insecure);
        }
        section.finish();
        admin
    }
}

/// Whether this user may read the file. Commands that only look at the configuration may belong to somebody else than
/// the server, whose token is not theirs.
fn is_readable(path: &Path) -> bool {
    File::open(path).is_ok()
}

fn read_bind(section: &mut Section<'_>) -> (Option<SocketAddr>, Option<Origin>) {
    let usual = Some(loopback(ADMIN_PORT));
    let Some(value) = section.take("bind") else {
        return (usual, None);
    };
    match value.kind {
        RawKind::String(word) if word == "off" => (None, None),
        RawKind::String(text) => {
            let written = Written {
                value: text,
                origin: value.origin,
            };
            match section.address_of("bind", &written) {
                Some(address) => (Some(address), Some(written.origin)),
                None => (usual, None),
            }
        }
        _ => {
            section.wrong_type("bind", &value, "an address, or \"off\"");
            (usual, None)
        }
    }
}

/// Names for the Host header, without port.
fn read_hosts(section: &mut Section<'_>) -> Vec<String> {
    let Some(value) = section.take("hosts") else {
        return Vec::new();
    };
    let RawKind::Array(items) = value.kind else {
        section.wrong_type("hosts", &value, "a list of host names");
        return Vec::new();
    };
    let mut hosts = Vec::new();
    for item in items {
        match item.kind {
            RawKind::String(name) if is_host(&name) => hosts.push(name),
            RawKind::String(_) => section.bad_value(
                "hosts",
                &item.origin,
                "a host is a name or an address without port, as in \"forebay.example\"",
            ),
            _ => section.wrong_type("hosts", &item, "a string"),
        }
    }
    hosts
}

fn is_host(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let bracketed = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(plain),
    }
}

/// Reads a file of secrets. An empty one and one that everybody can read are mistakes: the first locks everybody out,
/// the second lets everybody in.
fn read_file<T>(
    section: &mut Section<'_>,
    path: &Path,
    origin: Option<&Origin>,
    parse: impl Fn(&str) -> Result<T, AccessFileError>,
) -> Option<T> {
    let name = path.display();
    let read = std::fs::metadata(path).and_then(|found| {
        let text = std::fs::read_to_string(path)?;
        Ok((text, found.permissions().mode()))
    });
    let diagnostic = match read {
        Err(error) => {
            Diagnostic::error(Code::Unreadable, format!("{name} cannot be read: {error}"))
        }
        Ok((_, mode)) if mode & OTHERS_READ != 0 => Diagnostic::error(
            Code::Secrets,
            format!("{name} holds secrets and everybody can read it"),
        )
        .help(format!("chmod 600 {name}")),
        Ok((text, _)) => match parse(&text) {
            Ok(parsed) => return Some(parsed),
            Err(error) => Diagnostic::error(Code::Secrets, format!("{name}: {error}")),
        },
    };
    section.report().push(match origin {
        Some(origin) => diagnostic.at(origin),
        None => diagnostic,
    });
    None
}

/// A listener that others reach needs something that keeps them out.
fn check_open(
    section: &mut Section<'_>,
    (address, origin): (SocketAddr, &Origin),
    guarded: bool,
    insecure: bool,
) {
    if is_loopback(address.ip()) {
        return;
    }
    if !guarded {
        section.report().push(
            Diagnostic::error(
                Code::OpenListener,
                "`admin.bind` is reachable by others and nobody has to authenticate",
            )
            .at(origin)
            .label("allowed: loopback addresses, or \"off\"")
            .help("set `admin.access_keys_file`, `admin.token_file` or both for other addresses"),
        );
    } else if !insecure {
        section.report().push(
            Diagnostic::error(
                Code::OpenListener,
                "`admin.bind` is reachable by others and nothing is encrypted",
            )
            .at(origin)
            .help("set `admin.insecure = true` where the network keeps what is sent secret"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts_are_names_and_addresses_without_port() {
        for host in ["forebay.example", "edge-1", "10.0.0.7", "[::1]"] {
            assert!(is_host(host), "{host}");
        }
        for other in ["", "a:80", "http://a", "a/b", "::1", "[x]", "a b"] {
            assert!(!is_host(other), "{other}");
        }
    }
}
