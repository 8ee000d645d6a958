//! Any bytes as a request to the admin listener: path, query, headers and body.
//!
//! The first byte chooses whether access keys are configured and which headers the request brings; then comes the request
//! line, lines of headers, an empty line and the body. Whatever comes is answered; what is not signed changes nothing;
//! a rule that was taken is shown as it was given.
#![no_main]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use bytes::Bytes;
use forebay_admin::{
    Access, AccessKeys, AdminConfig, AdminService, AdminState, HttpPublish, MessagePort,
    MessageSlot, MissingRule, PublishFault, Publishing, Readiness, Reloaded, RetainedMessage,
    RetainedSummary, RuleApi, RuleChange, RuleControl, RuleDescription, RuleFault, RuleSummary,
    Status, Tag, Tokens,
};
use forebay_core::ManualClock;
use forebay_metrics::Registry;
use forebay_rules::{RuleDocument, RuleLimits, RuleSet, RuleSettings};
use http::Request;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};

const TOKEN: &str = "0123456789abcdef";

/// Rules as the server keeps them, in memory and one by one.
#[derive(Default)]
struct Store {
    rules: Mutex<BTreeMap<String, (Map<String, Value>, Vec<Tag>)>>,
    published: Mutex<u64>,
}

impl Store {
    fn rules(&self) -> MutexGuard<'_, BTreeMap<String, (Map<String, Value>, Vec<Tag>)>> {
        self.rules.lock().expect("nothing panics under the lock")
    }

    fn read(name: &str, payload: &[u8]) -> Result<Map<String, Value>, RuleFault> {
        let invalid = |error: &dyn std::fmt::Display| RuleFault::Invalid(error.to_string());
        let document = RuleDocument::from_json(payload, Some(name)).map_err(|e| invalid(&e))?;
        let kept = RuleDocument::payload(payload).map_err(|e| invalid(&e))?;
        let again = Value::Object(kept.clone()).to_string();
        let again = RuleDocument::from_json(again.as_bytes(), Some(name));
        assert_eq!(
            again.as_ref(),
            Ok(&document),
            "what is kept is another rule"
        );
        RuleSet::build(
            vec![(document, RuleSettings::default())],
            RuleLimits::default(),
        )
        .map_err(|errors| RuleFault::Sql(errors[0].to_string()))?;
        Ok(kept)
    }
}

impl RuleControl for Store {
    fn list(&self) -> Vec<RuleSummary> {
        let rules = self.rules();
        let names = rules.keys().cloned();
        let summary = |name| RuleSummary {
            name,
            topic_pattern: Some("a/+".to_owned()),
            created_ms: 1,
            disabled: false,
        };
        names.map(summary).collect()
    }

    fn get(&self, name: &str) -> Option<RuleDescription> {
        let summary = self.list().into_iter().find(|rule| rule.name == name)?;
        Some(RuleDescription {
            summary,
            sql_version: "2016-03-23".to_owned(),
            payload: self.rules()[name].0.clone(),
            settings: Value::Null,
            warnings: Vec::new(),
        })
    }

    fn create(&self, name: &str, payload: &[u8], tags: Vec<Tag>) -> Result<RuleChange, RuleFault> {
        let payload = Self::read(name, payload)?;
        let mut rules = self.rules();
        if rules.contains_key(name) {
            return Err(RuleFault::Exists);
        }
        if rules.len() >= 4 {
            return Err(RuleFault::Limit("full".to_owned()));
        }
        rules.insert(name.to_owned(), (payload, tags));
        Ok(RuleChange::default())
    }

    fn replace(&self, name: &str, payload: &[u8]) -> Result<RuleChange, RuleFault> {
        let payload = Self::read(name, payload)?;
        let mut rules = self.rules();
        rules.get_mut(name).ok_or(RuleFault::Missing)?.0 = payload;
        Ok(RuleChange::default())
    }

    fn set_disabled(&self, name: &str, _: bool) -> Result<RuleChange, RuleFault> {
        self.rules().get(name).ok_or(RuleFault::Missing)?;
        Ok(RuleChange::default())
    }

    fn delete(&self, name: &str) -> Result<RuleChange, RuleFault> {
        self.rules().remove(name).ok_or(RuleFault::Missing)?;
        Ok(RuleChange::default())
    }

    fn tags(&self, name: &str) -> Option<Vec<Tag>> {
        self.rules().get(name).map(|rule| rule.1.clone())
    }

    fn tag(&self, name: &str, tags: Vec<Tag>) -> Result<RuleChange, RuleFault> {
        for tag in &tags {
            assert!((1..=128).contains(&tag.key.chars().count()), "{tag:?}");
            assert!(tag.value.chars().count() <= 256, "{tag:?}");
        }
        self.rules().get_mut(name).ok_or(RuleFault::Missing)?.1 = tags;
        Ok(RuleChange::default())
    }

    fn untag(&self, name: &str, _: &[String]) -> Result<RuleChange, RuleFault> {
        self.rules().get(name).ok_or(RuleFault::Missing)?;
        Ok(RuleChange::default())
    }

    fn reload(&self) -> Result<Reloaded, String> {
        Err("nothing to read again".to_owned())
    }
}

struct Port(Arc<Store>);

impl MessagePort for Port {
    fn publish(&self, publish: HttpPublish) -> Publishing {
        assert!(!publish.topic.contains(['+', '#']), "{publish:?}");
        assert!(publish.qos.level() <= 1 && publish.expiry_seconds.is_none_or(|s| s > 0));
        *self
            .0
            .published
            .lock()
            .expect("nothing panics under the lock") += 1;
        let room = publish.payload.len() % 7 != 6;
        Box::pin(async move { room.then_some(()).ok_or(PublishFault::Stopping) })
    }

    fn retained(&self, topic: &str) -> Option<RetainedMessage> {
        assert!(topic.len() < 1 << 20);
        None
    }

    fn retained_after(&self, _: Option<&str>, max: usize) -> Vec<RetainedSummary> {
        assert!((1..=201).contains(&max));
        Vec::new()
    }
}

struct World {
    runtime: Runtime,
    store: Arc<Store>,
    /// Without and with access keys.
    services: [AdminService; 2],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let store = Arc::new(Store::default());
    let service = |keys: Option<&str>| {
        let keys = keys.map(|text| AccessKeys::parse(text).expect("a key"));
        let tokens = Tokens::parse(TOKEN).expect("a token");
        let mut config = AdminConfig::new("127.0.0.1:9464".parse().expect("an address"));
        config.access = Access::new(keys, Some(tokens));
        let slot = MessageSlot::default();
        slot.set(Port(Arc::clone(&store)));
        let state = AdminState::new(
            Registry::new(),
            Arc::new(ManualClock::new(1_795_602_600_000)),
            || Readiness::Ready,
            Status::default,
        )
        .with_rules(RuleApi {
            rules: Arc::clone(&store) as _,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            missing: MissingRule::Aws,
        })
        .with_messages(slot);
        AdminService::new(config, state)
    };
    World {
        runtime: Builder::new_current_thread().build().expect("a runtime"),
        services: [service(None), service(Some("AKID:secret"))],
        store,
    }
});

fn parse(bytes: &[u8]) -> Option<(u8, Request<Bytes>)> {
    let (&choice, bytes) = bytes.split_first()?;
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &b""[..]),
    };
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(path);
    if choice & 2 != 0 {
        request = request.header("host", "localhost:9464");
    }
    if choice & 4 != 0 {
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20261125/us-east-1/iot/aws4_request, SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000";
        request = request.header("authorization", signed);
        request = request.header("x-amz-date", "20261125T103000Z");
    }
    if choice & 8 != 0 {
        request = request.header("authorization", format!("Bearer {TOKEN}"));
    }
    if choice & 16 != 0 {
        request = request.header("content-type", "application/json");
    }
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value.trim());
    }
    Some((choice, request.body(Bytes::copy_from_slice(body)).ok()?))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, request)) = parse(bytes) else {
        return;
    };
    let world = &*WORLD;
    let keyed = choice & 1 != 0;
    let bears = request
        .headers()
        .get_all("authorization")
        .iter()
        .any(|value| {
            let text = value.to_str().unwrap_or_default();
            text.to_ascii_lowercase().starts_with("bearer")
                || (!keyed && text.starts_with("AWS4-HMAC-SHA256"))
        });
    let (kept, published) = (
        world.store.rules().clone(),
        *world
            .store
            .published
            .lock()
            .expect("nothing panics under the lock"),
    );
    let method = request.method().clone();
    let uri = request.uri().clone();
    let peer: SocketAddr = ([127, 0, 0, 1], 1).into();
    let service = &world.services[usize::from(keyed)];
    let answer = world.runtime.block_on(service.call(peer, request));
    let status = answer.status().as_u16();
    // 500 is for what goes wrong inside; nothing in this world does.
    assert!(status != 500, "{method} {uri}: {answer:?}");
    assert!(answer.headers().contains_key("cache-control"), "{answer:?}");
    assert!(
        !answer
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with("access-control"))
    );
    let json = serde_json::from_slice::<Value>(answer.body());
    let json_type = answer
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "application/json");
    // An answer to HEAD has the headers of the body that it leaves out.
    if json_type && method != "HEAD" {
        let json = json.expect("an answer of JSON");
        if answer.headers().contains_key("x-amzn-errortype") {
            assert!(json["message"].is_string(), "{json}");
        }
    }
    if !bears {
        // A valid signature cannot be found by chance.
        assert_eq!(*world.store.rules(), kept, "{method} {uri} changed a rule");
        let now = *world
            .store
            .published
            .lock()
            .expect("nothing panics under the lock");
        assert_eq!(now, published, "{method} {uri} published");
        let open = ["/metrics", "/livez", "/readyz"];
        assert!(
            !(200..300).contains(&status) || open.contains(&uri.path()),
            "{method} {uri}: {status}"
        );
    }
    if method == "GET" || method == "HEAD" || method == "OPTIONS" {
        assert_eq!(*world.store.rules(), kept, "{method} {uri} changed a rule");
    }
});
