//! A page from elsewhere in a real browser on the machine of the broker: it can reach the admin port on loopback, and
//! must change nothing and read nothing there.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use forebay_tests::forebay::Builder;
use forebay_tests::foreign;
use forebay_tests::mqtt::{Client, Publish, Version};
use forebay_tests::process::Process;
use forebay_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

use crate::bed::{self, LIMIT};
use crate::control_api::{call, document};

/// What the page tries with the broker, and with a server of no interest, to see what a browser sends without asking
/// first. `read` of an attempt is true when the page could look at the answer.
const PAGE: &str = r#"<!doctype html><title>elsewhere</title><script>
const admin = "http://ADMIN";
const anybody = "http://ANYBODY";
const signature = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/iot/aws4_request, SignedHeaders=host, Signature=0";
const rule = JSON.stringify({topicRulePayload: {sql: "SELECT * FROM 'stolen/#'", actions: [], ruleDisabled: false},
  sql: "SELECT * FROM 'stolen/#'", actions: []});
const attempts = {
  simpleRule: ["/rules/evil", {method: "POST", mode: "no-cors", body: rule}],
  simplePublish: ["/topics/evil?qos=1", {method: "POST", mode: "no-cors", body: "x"}],
  simpleReload: ["/api/v1/reload", {method: "POST", mode: "no-cors"}],
  signedRule: ["/rules/evil", {method: "POST", headers: {Authorization: signature}, body: rule}],
  signedPublish: ["/topics/evil?qos=1", {method: "POST", headers: {Authorization: signature}, body: "x"}],
  replaced: ["/rules/keep", {method: "PATCH", headers: {Authorization: signature}, body: rule}],
  deleted: ["/rules/keep", {method: "DELETE", headers: {Authorization: signature}}],
  listed: ["/rules", {}],
  metrics: ["/metrics", {}],
  status: ["/statusz", {}],
};
(async () => {
  const results = {};
  for (const [name, [path, options]] of Object.entries(attempts)) {
    try {
      const answer = await fetch(admin + path, options);
      results[name] = {read: answer.type !== "opaque", status: answer.status};
    } catch (error) {
      results[name] = {read: false};
    }
    if (options.mode === "no-cors") { await fetch(anybody + path, options); }
  }
  for (const host of [admin, anybody]) { navigator.sendBeacon(host + "/topics/beacon?qos=1", "x"); }
  for (const host of [admin, anybody]) {
    const form = document.createElement("form");
    const frame = document.createElement("iframe");
    frame.name = "hidden" + host;
    Object.assign(form, {method: "POST", action: host + "/topics/form?qos=1", target: frame.name, enctype: "text/plain"});
    const input = document.createElement("input");
    Object.assign(input, {name: "a", value: "b"});
    form.append(input);
    document.documentElement.append(frame, form);
    const answered = new Promise(done => { frame.onload = done; setTimeout(done, 5000); });
    form.submit();
    await answered;
  }
  await fetch("/done", {method: "POST", body: JSON.stringify(results)});
})();
</script>"#;

/// Serves the page until it reports what it could do. Returns that, and what the other server was sent.
fn serve(own: &TcpListener, anybody: &TcpListener, admin: SocketAddr) -> Result<(Value, String)> {
    let page = PAGE
        .replace("ADMIN", &admin.to_string())
        .replace("ANYBODY", &anybody.local_addr()?.to_string());
    own.set_nonblocking(true)?;
    anybody.set_nonblocking(true)?;
    let mut sent = String::new();
    wait::until("the page's report", 3 * LIMIT, || {
        if let Some(stream) = accepted(anybody)? {
            sent += &answer(&stream, "")?.0;
        }
        let Some(stream) = accepted(own)? else {
            return Ok(None);
        };
        let (request, body) = answer(&stream, &page)?;
        let is_report = request.starts_with("POST /done ");
        Ok(is_report.then(|| (body, sent.clone())))
    })
    .and_then(|(body, sent)| Ok((serde_json::from_slice(&body)?, sent)))
}

fn accepted(listener: &TcpListener) -> Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(LIMIT))?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Answers one request with a page; returns its first line and its body.
fn answer(mut stream: &TcpStream, page: &str) -> Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    // A browser opens connections that it never uses.
    if reader.read_line(&mut request)? == 0 {
        return Ok((request, Vec::new()));
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    )?;
    Ok((request, body))
}

#[test]
fn a_page_from_elsewhere_changes_and_reads_nothing_in_a_real_browser() -> Result<()> {
    let forebay = Builder::new()?
        .rule("keep", &document("SELECT * FROM 'dt/#'", "kept"))?
        .start()?;
    let mut reader = Client::simple(forebay.mqtt(), Version::V5, "reader")?;
    reader.subscribe(&[("#", 0)])?;
    let before = call(&forebay, "GET", "/rules/keep", b"")?.body;

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let anybody = TcpListener::bind(("127.0.0.1", 0))?;
    let elsewhere = format!("http://{}/", listener.local_addr()?);
    let profile = TempDir::with_prefix("forebay-test-browser-")?;
    let mut command = foreign::tool("chromium")?;
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(&elsewhere);
    let browser = Process::spawn("chromium", &mut command)?;
    let (report, sent) = serve(&listener, &anybody, forebay.admin())?;
    browser.kill()?;

    // A browser sends these without asking first, so it is the broker that refuses them.
    for path in [
        "/rules/evil",
        "/topics/evil",
        "/api/v1/reload",
        "/topics/beacon",
        "/topics/form",
    ] {
        ensure!(sent.contains(&format!("POST {path}")), "{path}: {sent}");
    }
    for (name, attempt) in report.as_object().context("a report")? {
        ensure!(attempt["read"] == false, "{name}: {report:#}");
    }
    let rules = call(&forebay, "GET", "/rules", b"")?.body;
    ensure!(!rules.contains("evil"), "{rules}");
    ensure!(call(&forebay, "GET", "/rules/keep", b"")?.body == before);
    reader.publish(Publish::new("last", "x", 1))?;
    let first = reader.receive(LIMIT)?;
    ensure!(first.topic == "last", "{first:?}");
    bed::stop(forebay)
}
