//! `[listeners.NAME]` and `[admin]`: where the program can be reached, and that nobody is let in by accident.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use forebay_core::AckMode;

use super::limits::ListenerLimits;
use super::process::read_ack;
use super::raw::RawTable;
use super::section::{Section, Written};
use crate::diagnostics::{Code, Diagnostic, Origin, Report};

/// The port of MQTT without encryption (IANA).
const MQTT_PORT: u16 = 1883;
/// The listener that exists when none is written.
const DEFAULT_NAME: &str = "default";

/// `[listeners.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The name: the label in metrics.
    pub name: String,
    /// `bind`: where it listens; port 0 is any free one. Default 127.0.0.1:1883.
    pub bind: SocketAddr,
    /// `versions`: whether MQTT 3.1.1 is spoken. Default true.
    pub v3: bool,
    /// `versions`: whether MQTT 5.0 is spoken. Default true.
    pub v5: bool,
    /// `ack` for rules without their own. Default `server.ack`.
    pub ack: AckMode,
    /// `max_connections`, besides `limits.connections`. Default none.
    pub max_connections: Option<u32>,
    /// `backlog` of the socket, 1 to 65 535. Default 1 024.
    pub backlog: u32,
    /// `limits`. Default: those of `[limits]`.
    pub limits: ListenerLimits,
}

/// A listener with the places that later checks point to.
pub(super) struct ReadListener {
    pub listener: Listener,
    pub ack_origin: Option<Origin>,
}

/// Reads all listeners; without any there is one on loopback.
pub(super) fn read_listeners(
    table: RawTable,
    ack: AckMode,
    limits: &ListenerLimits,
    report: &mut Report,
) -> Vec<ReadListener> {
    let mut listeners: Vec<ReadListener> = Vec::new();
    let entries = Section::new("listeners", table, report).take_all();
    for (name, entry) in entries {
        let path = format!("listeners.{name}");
        check_name(&name, &entry.key, report);
        let mut section = Section::new(path, RawTable::new(), report);
        let Some(table) = section.expect_table("", entry.value) else {
            continue;
        };
        let read = read_listener(name, table, ack, limits, report);
        check_unique(&read, &listeners, &entry.key, report);
        listeners.push(read);
    }
    if listeners.is_empty() {
        let listener = read_listener(DEFAULT_NAME.into(), RawTable::new(), ack, limits, report);
        listeners.push(listener);
    }
    listeners
}

fn check_name(name: &str, key: &Origin, report: &mut Report) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return;
    }
    report.push(
        Diagnostic::error(Code::BadName, format!("{name:?} cannot name a listener"))
            .at(key)
            .label("allowed: 1 to 64 of A-Z a-z 0-9 _ -"),
    );
}

/// Two listeners on one fixed address cannot both open it.
fn check_unique(new: &ReadListener, others: &[ReadListener], key: &Origin, report: &mut Report) {
    let bind = new.listener.bind;
    if bind.port() == 0 {
        return;
    }
    if let Some(other) = others.iter().find(|other| other.listener.bind == bind) {
        report.push(
            Diagnostic::error(
                Code::Duplicate,
                format!(
                    "listeners {} and {} both listen on {bind}",
                    other.listener.name, new.listener.name
                ),
            )
            .at(key),
        );
    }
}

fn read_listener(
    name: String,
    table: RawTable,
    inherited_ack: AckMode,
    limits: &ListenerLimits,
    report: &mut Report,
) -> ReadListener {
    let path = format!("listeners.{name}");
    let mut section = Section::new(path.as_str(), table, report);
    let bind = section.string("bind");
    let address = bind
        .as_ref()
        .and_then(|written| section.address_of("bind", written))
        .unwrap_or_else(|| loopback(MQTT_PORT));
    section.word("protocol", &["tcp"]);
    let versions = section
        .words("versions", &["3.1.1", "5.0"])
        .unwrap_or_else(|| vec!["3.1.1", "5.0"]);
    let allow_anonymous = section.boolean("allow_anonymous");
    check_open(&mut section, address, allow_anonymous, bind.as_ref());
    let ack = read_ack(&mut section);
    let listener_limits = section.table("limits");
    let max_connections = section.integer_u32("max_connections", 1..=u32::MAX);
    let backlog = section.integer_u32("backlog", 1..=65_535).unwrap_or(1024);
    section.finish();
    ReadListener {
        listener: Listener {
            name,
            bind: address,
            v3: versions.contains(&"3.1.1"),
            v5: versions.contains(&"5.0"),
            ack: ack.as_ref().map_or(inherited_ack, |written| written.value),
            max_connections,
            backlog,
            limits: limits.of_listener(format!("{path}.limits"), listener_limits, report),
        },
        ack_origin: ack.map(|written| written.origin),
    }
}

/// A listener that others can reach lets nobody in by accident. Until authentication exists, `allow_anonymous` is the
/// only way to say that anybody may come.
fn check_open(
    section: &mut Section<'_>,
    address: SocketAddr,
    allow_anonymous: Option<bool>,
    bind: Option<&Written<String>>,
) {
    let loopback = is_loopback(address.ip());
    let name = section.name("bind");
    let mut diagnostic = match (loopback, allow_anonymous) {
        (true, None | Some(true)) | (false, Some(true)) => return,
        (false, None | Some(false)) => Diagnostic::error(
            Code::OpenListener,
            format!("`{name}` is reachable by others and nobody has to authenticate"),
        )
        .help(format!(
            "authentication does not exist yet: listen on 127.0.0.1, or set `{}` and control access in the network",
            section.name("allow_anonymous = true")
                .replace('"', "")
        )),
        (true, Some(false)) => Diagnostic::error(
            Code::OpenListener,
            format!("nobody could connect to `{name}`"),
        )
        .help("authentication does not exist yet: remove `allow_anonymous = false`"),
    };
    if let Some(bind) = bind {
        diagnostic = diagnostic.at(&bind.origin);
    }
    section.report().push(diagnostic);
}

pub(super) fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
