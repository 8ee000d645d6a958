//! The admin listener seen from a socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_core::{Clock, ManualClock, SystemClock, Time};
use forebay_metrics::Registry;
use serde_json::Value;

use super::{
    AdminConfig, AdminServer, AdminState, Conservation, Heartbeat, Readiness, RuleStatus,
    RunningAdmin, SpoolStatus, SpoolVerifier, StartError, Status, Tokens, VerifyState,
    VerifyStatus,
};

/// A token with all rights, one that may only look, and the header that bears the first.
const TOKENS: &str = "0123456789abcdef\nreader-0123456789:read";
const BEARER: &str = "Authorization: Bearer 0123456789abcdef\r\n";

fn guarded(bind: &str) -> AdminConfig {
    let mut config = AdminConfig::new(bind.parse().unwrap());
    config.access.tokens = Some(Tokens::parse(TOKENS).unwrap());
    config
}

struct Fixture {
    admin: RunningAdmin,
    clock: Arc<ManualClock>,
    ready: Arc<AtomicBool>,
    registry: Registry,
}

impl Fixture {
    fn start(change: impl FnOnce(&mut AdminConfig)) -> Self {
        let clock = Arc::new(ManualClock::new(0));
        let ready = Arc::new(AtomicBool::new(true));
        let registry = Registry::new();
        let born = clock.now();
        let is_ready = Arc::clone(&ready);
        let state = AdminState::new(
            registry.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
            move || match is_ready.load(Ordering::SeqCst) {
                true => Readiness::Ready,
                false => Readiness::NotReady("draining"),
            },
            || Status {
                version: "1.2.3".to_owned(),
                rules: vec![RuleStatus {
                    name: "telemetry".to_owned(),
                    matched: 7,
                    ..RuleStatus::default()
                }],
                conservation: Conservation {
                    accepted: 7,
                    stored: 5,
                    failed: 0,
                    pending: 2,
                },
                ..Status::default()
            },
        )
        .with_heartbeat(Heartbeat::new("sequencer", move || born));
        let mut config = guarded("127.0.0.1:0");
        change(&mut config);
        Self {
            admin: AdminServer::start(config, state).unwrap(),
            clock,
            ready,
            registry,
        }
    }

    fn address(&self) -> SocketAddr {
        self.admin.address()
    }

    fn get(&self, path: &str) -> Answer {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{BEARER}"
        ))
    }

    /// Sends a request head without its last empty line and reads to the end of the connection.
    fn send(&self, head: &str) -> Answer {
        let mut socket = connect(self.address());
        let request = format!("{head}Connection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut socket)
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(socket: &mut TcpStream) -> Self {
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

#[test]
fn metrics_are_the_registry_as_prometheus_text() {
    let fixture = Fixture::start(|_| {});
    fixture
        .registry
        .counter("forebay_example_total", "Help.", &[])
        .increment(3);
    let answer = fixture.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    assert!(answer.body.contains("forebay_example_total 3"));
}

#[test]
fn livez_fails_once_a_thread_has_not_turned_for_ten_seconds() {
    let fixture = Fixture::start(|_| {});
    fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(fixture.get("/livez").status, 200);
    fixture.clock.advance(Duration::from_millis(1));
    let answer = fixture.get("/livez");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["threads"][0], "sequencer");
}

#[test]
fn readyz_follows_the_readiness_of_the_process() {
    let fixture = Fixture::start(|_| {});
    assert_eq!(fixture.get("/readyz").status, 200);
    fixture.ready.store(false, Ordering::SeqCst);
    let answer = fixture.get("/readyz");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["reason"], "draining");
}

#[test]
fn statusz_is_the_snapshot_as_json() {
    let fixture = Fixture::start(|_| {});
    let status = fixture.get("/statusz").json();
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["rules"][0]["matched"], 7);
    assert_eq!(status["conservation"]["pending"], 2);
    assert_eq!(status["conservation"]["difference"], 0);
}

#[test]
fn every_answer_forbids_storing_sniffing_and_framing() {
    let fixture = Fixture::start(|_| {});
    for path in ["/metrics", "/livez", "/statusz", "/nothing"] {
        let answer = fixture.get(path);
        for line in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "referrer-policy: no-referrer",
        ] {
            assert!(
                answer.head.contains(line),
                "{path} lacks {line}: {}",
                answer.head
            );
        }
        assert!(!answer.head.contains("access-control-"));
    }
}

#[test]
fn unknown_paths_and_other_methods_are_refused_as_json() {
    let fixture = Fixture::start(|_| {});
    let missing = fixture.get("/api/v1/stats");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["error"]["code"], "not_found");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let head = format!("{method} /metrics HTTP/1.1\r\nHost: localhost\r\n");
        let answer = fixture.send(&head);
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"));
    }
    let head_only = fixture.send("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n");
    assert_eq!((head_only.status, head_only.body.as_str()), (200, ""));
}

/// Says that it is running once it was begun.
#[derive(Default)]
struct Verifier(AtomicBool);

impl SpoolVerifier for Verifier {
    fn begin(&self) -> VerifyStatus {
        self.0.store(true, Ordering::SeqCst);
        self.status()
    }

    fn status(&self) -> VerifyStatus {
        let state = match self.0.load(Ordering::SeqCst) {
            true => VerifyState::Running,
            false => VerifyState::Idle,
        };
        VerifyStatus {
            state,
            ..VerifyStatus::default()
        }
    }
}

fn with_spool() -> RunningAdmin {
    let state = AdminState::new(
        Registry::new(),
        Arc::new(ManualClock::new(0)),
        || Readiness::Ready,
        || Status {
            spool: Some(SpoolStatus {
                dir: "data/spool".to_owned(),
                backlog_records: 3,
                ..SpoolStatus::default()
            }),
            ..Status::default()
        },
    )
    .with_verifier(Verifier::default());
    AdminServer::start(guarded("127.0.0.1:0"), state).unwrap()
}

fn request(admin: &RunningAdmin, head: &str) -> Answer {
    let mut socket = connect(admin.address());
    let request = format!("{head} HTTP/1.1\r\nHost: localhost\r\n{BEARER}Connection: close\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    socket.write_all(b"\r\n").unwrap();
    Answer::read(&mut socket)
}

#[test]
fn the_spool_is_told_where_there_is_one() {
    let admin = with_spool();
    let stat = request(&admin, "GET /api/v1/spool/stat");
    assert_eq!(stat.status, 200);
    let stat: SpoolStatus = serde_json::from_str(&stat.body).unwrap();
    assert_eq!((stat.dir.as_str(), stat.backlog_records), ("data/spool", 3));
    assert_eq!(
        request(&admin, "GET /statusz").json()["spool"]["backlog_records"],
        3
    );

    let without = Fixture::start(|_| {});
    for path in ["/api/v1/spool/stat", "/api/v1/spool/verify"] {
        let answer = without.get(path);
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["error"]["code"], "no_spool");
    }
    assert!(without.get("/statusz").json().get("spool").is_none());
}

#[test]
fn only_a_post_of_json_begins_to_read_the_spool() {
    let admin = with_spool();
    let state = || request(&admin, "GET /api/v1/spool/verify").json()["state"].clone();
    let path = "/api/v1/spool/verify";
    let plain = request(&admin, &format!("POST {path}"));
    assert_eq!(plain.status, 415);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let post = |path: &str, headers: &str| {
        let mut socket = connect(admin.address());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{BEARER}Connection: close\r\nContent-Length: 2\r\n{headers}\r\n{{}}"
        );
        socket.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut socket)
    };
    assert_eq!(post(path, form).status, 415);
    assert_eq!(state(), "idle");
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let read_only = post("/api/v1/spool/stat", json);
    assert_eq!(read_only.status, 405);
    assert!(read_only.head.contains("allow: get, head"));
    let begun = post(path, json);
    assert_eq!(
        (begun.status, begun.json()["state"].clone()),
        (202, "running".into())
    );
    assert_eq!(state(), "running");
}

#[test]
fn a_host_that_is_not_ours_is_misdirected() {
    let fixture = Fixture::start(|config| config.hosts.push("ops.example".to_owned()));
    let status = |head: &str| fixture.send(head).status;
    let port = fixture.address().port();
    assert_eq!(
        status(&format!(
            "GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        )),
        200
    );
    assert_eq!(status("GET /livez HTTP/1.1\r\nHost: ops.example\r\n"), 200);
    assert_eq!(status("GET /livez HTTP/1.1\r\nHost: evil.example\r\n"), 421);
    assert_eq!(
        status("GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n"),
        421
    );
    assert_eq!(status("GET /livez HTTP/1.1\r\n"), 400);
    assert_eq!(
        status("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n"),
        400
    );
}

#[test]
fn an_announced_body_over_the_limit_is_refused() {
    let fixture = Fixture::start(|config| config.limits.body_bytes = 10);
    let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n";
    assert_eq!(fixture.send(head).status, 413);
}

#[test]
fn a_slow_header_and_an_idle_connection_are_cut() {
    let fixture = Fixture::start(|config| {
        config.limits.header_timeout = Duration::from_millis(50);
    });
    for sent in ["", "GET /livez HTTP/1.1\r\nHost: lo"] {
        let mut socket = connect(fixture.address());
        socket.write_all(sent.as_bytes()).unwrap();
        let mut rest = String::new();
        socket.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("200 OK"), "{rest}");
    }
}

#[test]
fn a_connection_beyond_the_limit_is_told_and_closed() {
    let fixture = Fixture::start(|config| config.limits.connections = 1);
    let mut first = connect(fixture.address());
    first
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).unwrap();

    let mut second = connect(fixture.address());
    assert_eq!(Answer::read(&mut second).status, 503);
    assert!(
        fixture
            .registry
            .render()
            .contains("forebay_limit_hits_total{limit=\"admin.connections\"} 1")
    );

    drop(first);
    let deadline = SystemClock::new();
    while !answers(fixture.address()) {
        assert!(
            deadline.now() < Time::from_millis(10_000),
            "the slot of a closed connection stays taken"
        );
    }
}

/// Whether a request gets 200. A refused connection may also be reset, because its request is never read.
fn answers(address: SocketAddr) -> bool {
    let mut socket = connect(address);
    let mut text = String::new();
    socket
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .and_then(|()| socket.read_to_string(&mut text))
        .is_ok_and(|_| text.starts_with("HTTP/1.1 200"))
}

#[test]
fn shutdown_closes_idle_connections_and_the_listener() {
    let fixture = Fixture::start(|_| {});
    let address = fixture.address();
    let mut idle = connect(address);
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).unwrap();
    fixture.admin.shutdown();
    let mut rest = String::new();
    idle.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("200 OK"));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_that_is_taken_and_an_open_address_give_errors_that_name_them() {
    let fixture = Fixture::start(|_| {});
    let start = |address: SocketAddr| {
        let state = AdminState::new(
            Registry::new(),
            Arc::new(ManualClock::new(0)),
            || Readiness::Ready,
            Status::default,
        );
        AdminServer::start(AdminConfig::new(address), state).unwrap_err()
    };
    let taken = start(fixture.address());
    assert!(matches!(taken, StartError::Bind { .. }));
    assert!(taken.to_string().contains(&fixture.address().to_string()));
    let open = start("0.0.0.0:0".parse().unwrap());
    assert!(matches!(open, StartError::NotLoopback { .. }));
}

fn plain_state() -> AdminState {
    AdminState::new(
        Registry::new(),
        Arc::new(ManualClock::new(0)),
        || Readiness::Ready,
        Status::default,
    )
}

#[test]
fn beyond_loopback_needs_a_token_and_says_that_nothing_is_encrypted() {
    let mut config = guarded("0.0.0.0:0");
    let refused = AdminServer::start(config.clone(), plain_state()).unwrap_err();
    assert!(matches!(refused, StartError::NotLoopback { .. }));
    config.insecure = true;
    let admin = AdminServer::start(config, plain_state()).unwrap();
    let port = admin.address().port();
    let status = |request: &str| {
        let mut socket = connect(([127, 0, 0, 1], port).into());
        socket.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut socket).status
    };
    let head = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    assert_eq!(status(&format!("GET /livez {head}\r\n")), 200);
    assert_eq!(status(&format!("GET /metrics {head}\r\n")), 401);
    assert_eq!(status(&format!("GET /metrics {head}{BEARER}\r\n")), 200);
    // A signature that nobody can verify is worth something on this machine only.
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n";
    assert_eq!(status(&format!("GET /rules {head}{signed}\r\n")), 403);
    assert_eq!(status(&format!("GET /endpoint {head}{BEARER}\r\n")), 200);
}

/// What each route answers to nobody, to a stranger, to a reader and to an administrator.
#[test]
fn every_route_asks_for_what_it_needs() {
    let admin = with_spool();
    let bearers = [
        "",
        "Authorization: Bearer ffffffffffffffff\r\n",
        "Authorization: Bearer reader-0123456789\r\n",
        BEARER,
    ];
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n";
    let status = |line: &str, more: &str| {
        let mut socket = connect(admin.address());
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\nContent-Type: application/json\r\n{more}\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut socket).status
    };
    for (line, expected) in [
        ("GET /livez", [200, 200, 200, 200]),
        ("GET /readyz", [200, 200, 200, 200]),
        ("GET /metrics", [200, 200, 200, 200]),
        ("GET /statusz", [401, 401, 200, 200]),
        ("GET /api/v1/rules", [401, 401, 503, 503]),
        ("POST /api/v1/reload", [401, 401, 403, 503]),
        ("GET /api/v1/spool/stat", [401, 401, 200, 200]),
        ("GET /api/v1/spool/verify", [401, 401, 200, 200]),
        ("POST /api/v1/spool/verify", [401, 401, 403, 202]),
        ("GET /rules", [403, 403, 503, 503]),
        ("POST /rules/r", [403, 403, 401, 503]),
        ("PATCH /rules/r", [403, 403, 401, 503]),
        ("DELETE /rules/r", [403, 403, 401, 503]),
        ("POST /rules/r/enable", [403, 403, 401, 503]),
        ("POST /rules/r/disable", [403, 403, 401, 503]),
        ("GET /endpoint", [403, 403, 200, 200]),
        ("POST /tags", [403, 403, 401, 503]),
        ("POST /untag", [403, 403, 401, 503]),
        ("GET /tags", [403, 403, 503, 503]),
        ("GET /destinations", [403, 403, 400, 400]),
        ("POST /topics/a", [403, 403, 401, 503]),
        ("GET /retainedMessage/a", [403, 403, 503, 503]),
        ("GET /retainedMessage", [403, 403, 503, 503]),
    ] {
        for (bearer, expected) in bearers.iter().zip(expected) {
            assert_eq!(status(line, bearer), expected, "{line} with {bearer:?}");
        }
        let (_, path) = line.split_once(' ').unwrap();
        let own = path.starts_with("/api") || path == "/statusz";
        if own {
            assert_eq!(status(line, signed), 401, "{line} with a signature");
        } else {
            assert_eq!(status(line, signed), expected[3], "{line} with a signature");
        }
        for page in ["Origin: http://evil.example\r\n", "Origin: null\r\n"] {
            assert_eq!(
                status(line, &format!("{BEARER}{page}")),
                403,
                "{line} from {page}"
            );
        }
    }
    // What a page could send to another origin unasked: no header of its own, a signature in the query.
    assert_eq!(status("POST /rules/r?X-Amz-Signature=00", ""), 403);
    assert_eq!(
        status("GET /rules?X-Amz-Algorithm=AWS4-HMAC-SHA256", ""),
        403
    );
}
