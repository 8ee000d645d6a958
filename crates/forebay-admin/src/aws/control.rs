//! The operations on rules and their tags.

use std::sync::Arc;

use axum::http::header;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forebay_core::limits::RULE_NAME_BYTES_MAX;
use forebay_core::topic::{HashParent, matches};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::operation::Control;
use super::tagging::{self, TagBody, UntagBody};
use super::{AwsError, AwsRequest, MissingRule};
use crate::rules::{RuleChange, RuleControl, RuleDescription, RuleFault, RuleSummary};
use crate::state::{AdminState, RuleApi};

/// Rules that one page of a list may be asked for.
const PAGE_MAX: usize = 10_000;
/// Endpoints that this listener can name: its own.
const ENDPOINT_TYPES: [&str; 3] = ["iot:Data", "iot:Data-ATS", "iot:Data-Beta"];

/// What an operation gave.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The answer; `None` is an empty body.
    pub(super) body: Option<Value>,
    /// What it changed.
    pub(super) change: Option<RuleChange>,
}

impl Done {
    fn answer(body: Value) -> Self {
        Self {
            body: Some(body),
            change: None,
        }
    }

    fn changed(change: RuleChange) -> Self {
        Self {
            body: None,
            change: Some(change),
        }
    }
}

/// Carries out one operation.
pub(super) async fn perform(
    state: &AdminState,
    request: &AwsRequest,
    operation: Control,
) -> Result<Done, AwsError> {
    match operation {
        Control::Destinations => {
            return Err(AwsError::invalid(
                "topic rule destinations are not supported",
            ));
        }
        Control::DescribeEndpoint => return describe_endpoint(request),
        _ => {}
    }
    let api = state
        .rules
        .as_ref()
        .ok_or_else(|| AwsError::service_unavailable("rules are not served yet"))?;
    match operation {
        Control::Create(name) => create(api, request, name).await,
        Control::Replace(name) => {
            let body = request.body.clone();
            change(api, name, move |rules, name| rules.replace(name, &body)).await
        }
        Control::Get(name) => get(api, name).await,
        Control::List => list(api, request).await,
        Control::Delete(name) => change(api, name, |rules, name| rules.delete(name)).await,
        Control::Enable(name) => {
            change(api, name, |rules, name| rules.set_disabled(name, false)).await
        }
        Control::Disable(name) => {
            change(api, name, |rules, name| rules.set_disabled(name, true)).await
        }
        Control::Tag => tag(api, request).await,
        Control::Untag => untag(api, request).await,
        Control::ListTags => list_tags(api, request).await,
        // Answered above.
        Control::DescribeEndpoint | Control::Destinations => Err(AwsError::unknown_path()),
    }
}

/// Rules are compiled and written on a thread that may take its time.
async fn blocking<T: Send + 'static>(
    api: &RuleApi,
    work: impl FnOnce(&dyn RuleControl) -> T + Send + 'static,
) -> Result<T, AwsError> {
    let rules = Arc::clone(&api.rules);
    let done = tokio::task::spawn_blocking(move || work(&*rules)).await;
    done.map_err(|error| {
        tracing::error!(%error, "an operation on rules panicked");
        AwsError::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailureException",
            "the operation failed inside the server",
        )
    })
}

async fn create(api: &RuleApi, request: &AwsRequest, name: String) -> Result<Done, AwsError> {
    // The form of the document is judged before its name, and both by whoever keeps the rules; the tags are ours.
    let tags = match request.header("x-amz-tagging")? {
        Some(text) => tagging::of_header(text)?,
        None => Vec::new(),
    };
    let body = request.body.clone();
    change(api, name, move |rules, name| {
        rules.create(name, &body, tags)
    })
    .await
}

async fn change(
    api: &RuleApi,
    name: String,
    work: impl FnOnce(&dyn RuleControl, &str) -> Result<RuleChange, RuleFault> + Send + 'static,
) -> Result<Done, AwsError> {
    let worked_on = name.clone();
    let changed = blocking(api, move |rules| work(rules, &worked_on)).await?;
    match changed {
        Ok(change) => Ok(Done::changed(change)),
        // A name that no rule can have is told as such, before it is said that there is none.
        Err(RuleFault::Missing) if !is_rule_name(&name) => Err(bad_name(&name)),
        Err(fault) => {
            let arn = api.arn(&name);
            Err(AwsError::of_rule(fault, (&name, arn), api.missing))
        }
    }
}

async fn get(api: &RuleApi, name: String) -> Result<Done, AwsError> {
    if !is_rule_name(&name) {
        return Err(bad_name(&name));
    }
    let wanted = name.clone();
    let found = blocking(api, move |rules| rules.get(&wanted)).await?;
    let arn = api.arn(&name);
    match found {
        Some(rule) => Ok(Done::answer(
            json!({ "ruleArn": arn, "rule": described(rule) }),
        )),
        None => Err(AwsError::of_rule(
            RuleFault::Missing,
            (&name, arn),
            api.missing,
        )),
    }
}

/// The document with what AWS adds. Members that were given as null were not given.
fn described(rule: RuleDescription) -> Value {
    let RuleDescription {
        summary,
        sql_version,
        payload,
        ..
    } = rule;
    let given = payload.into_iter().filter(|(_, value)| !value.is_null());
    let mut members: Map<String, Value> = given.collect();
    members.insert("ruleName".to_owned(), summary.name.into());
    members.insert("createdAt".to_owned(), seconds(summary.created_ms));
    members.insert("ruleDisabled".to_owned(), summary.disabled.into());
    members.insert("awsIotSqlVersion".to_owned(), sql_version.into());
    members.into()
}

/// A moment as AWS IoT writes it.
fn seconds(millis: i64) -> Value {
    (millis as f64 / 1000.0).into()
}

#[derive(Debug, Default)]
struct ListQuery {
    topic: Option<String>,
    disabled: Option<bool>,
    max: Option<usize>,
    after: Option<String>,
}

impl ListQuery {
    fn read(request: &AwsRequest) -> Result<Self, AwsError> {
        let mut query = Self::default();
        for (name, value) in request.query()? {
            match name.as_str() {
                "topic" => query.topic = Some(value),
                "ruleDisabled" => {
                    let disabled = value.parse().map_err(|_| {
                        AwsError::invalid(format!("ruleDisabled is not true or false: {value:?}"))
                    })?;
                    query.disabled = Some(disabled);
                }
                "maxResults" => query.max = Some(page_size(&value, PAGE_MAX)?),
                "nextToken" => query.after = Some(after_token(&value)?),
                _ => {}
            }
        }
        Ok(query)
    }

    fn wants(&self, rule: &RuleSummary) -> bool {
        let pattern = rule.topic_pattern.as_deref();
        let on_topic = self.topic.as_deref().is_none_or(|topic| {
            pattern.is_some_and(|pattern| {
                pattern == topic || matches(pattern, topic, HashParent::Excluded)
            })
        });
        let after = self.after.as_ref().is_none_or(|after| rule.name > *after);
        on_topic && after && self.disabled.is_none_or(|wanted| rule.disabled == wanted)
    }
}

/// `maxResults`, from 1 to `max`.
pub(super) fn page_size(text: &str, max: usize) -> Result<usize, AwsError> {
    let refused = |end: &str| {
        AwsError::invalid(format!(
            "1 validation error detected: Value '{text}' at 'maxResults' failed to satisfy constraint: Member must have value {end}"
        ))
    };
    match text.parse::<u64>() {
        Ok(0) => Err(refused("greater than or equal to 1")),
        Ok(count) if count <= max as u64 => Ok(count as usize),
        Ok(_) => Err(refused(&format!("less than or equal to {max}"))),
        Err(_) => Err(AwsError::invalid(format!(
            "maxResults is not a number: {text:?}"
        ))),
    }
}

/// What a page ended with, so that the next one begins behind it.
pub(super) fn token_after(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("after:{name}"))
}

/// Reads what [`token_after`] wrote.
pub(super) fn after_token(token: &str) -> Result<String, AwsError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    let after = text.strip_prefix("after:").map(str::to_owned);
    after.ok_or_else(|| AwsError::invalid(format!("nextToken is not one of ours: {token:?}")))
}

async fn list(api: &RuleApi, request: &AwsRequest) -> Result<Done, AwsError> {
    let query = ListQuery::read(request)?;
    let rules = blocking(api, |rules| rules.list()).await?;
    let mut found = rules
        .into_iter()
        .filter(|rule| query.wants(rule))
        .peekable();
    let page: Vec<RuleSummary> = found.by_ref().take(query.max.unwrap_or(PAGE_MAX)).collect();
    let more = found.peek().is_some();
    let mut body = json!({
        "rules": page.iter().map(|rule| listed(api, rule)).collect::<Vec<_>>(),
    });
    if let Some(last) = page.last().filter(|_| more) {
        body["nextToken"] = token_after(&last.name).into();
    }
    Ok(Done::answer(body))
}

fn listed(api: &RuleApi, rule: &RuleSummary) -> Value {
    let mut item = json!({
        "ruleArn": api.arn(&rule.name),
        "ruleName": rule.name,
        "createdAt": seconds(rule.created_ms),
        "ruleDisabled": rule.disabled,
    });
    if let Some(pattern) = &rule.topic_pattern {
        item["topicPattern"] = pattern.as_str().into();
    }
    item
}

async fn tag(api: &RuleApi, request: &AwsRequest) -> Result<Done, AwsError> {
    let TagBody { resource_arn, tags } = body(request)?;
    tagging::check(&tags)?;
    change_tags(api, &resource_arn, |rules, name| rules.tag(name, tags)).await
}

async fn untag(api: &RuleApi, request: &AwsRequest) -> Result<Done, AwsError> {
    let UntagBody {
        resource_arn,
        tag_keys,
    } = body(request)?;
    for key in &tag_keys {
        tagging::check_key(key)?;
    }
    change_tags(api, &resource_arn, move |rules, name| {
        rules.untag(name, &tag_keys)
    })
    .await
}

async fn change_tags(
    api: &RuleApi,
    arn: &str,
    work: impl FnOnce(&dyn RuleControl, &str) -> Result<RuleChange, RuleFault> + Send + 'static,
) -> Result<Done, AwsError> {
    let name = rule_of(api, arn)?.to_owned();
    let worked_on = name.clone();
    let changed = blocking(api, move |rules| work(rules, &worked_on)).await?;
    let changed = changed.map_err(|fault| {
        AwsError::of_rule(fault, (&name, arn.to_owned()), MissingRule::NotFound)
    })?;
    Ok(Done {
        body: Some(json!({})),
        change: Some(changed),
    })
}

async fn list_tags(api: &RuleApi, request: &AwsRequest) -> Result<Done, AwsError> {
    let mut arn = None;
    for (name, value) in request.query()? {
        match name.as_str() {
            "resourceArn" => arn = Some(value),
            // All tags of a rule fit one page, so no token of ours can come back.
            "nextToken" => drop(after_token(&value)?),
            _ => {}
        }
    }
    let arn = arn.ok_or_else(|| AwsError::invalid("resourceArn is missing"))?;
    let name = rule_of(api, &arn)?.to_owned();
    match blocking(api, move |rules| rules.tags(&name)).await? {
        Some(tags) => Ok(Done::answer(json!({ "tags": tags }))),
        None => Err(no_resource(&arn)),
    }
}

/// The name of the rule that an ARN of this account and region stands for.
fn rule_of<'a>(api: &RuleApi, arn: &'a str) -> Result<&'a str, AwsError> {
    arn.strip_prefix(api.arn("").as_str())
        .filter(|name| is_rule_name(name))
        .ok_or_else(|| no_resource(arn))
}

fn no_resource(arn: &str) -> AwsError {
    AwsError::resource_not_found(format!("{arn} does not exist"))
}

fn body<'a, T: Deserialize<'a>>(request: &'a AwsRequest) -> Result<T, AwsError> {
    serde_json::from_slice(&request.body).map_err(|error| {
        AwsError::invalid(format!(
            "the request body is not what it should be: {error}"
        ))
    })
}

/// The messages are served where the rules are, so the address is the one that the caller used.
fn describe_endpoint(request: &AwsRequest) -> Result<Done, AwsError> {
    let query = request.query()?;
    let wanted = query.iter().find(|(name, _)| name == "endpointType");
    if let Some((_, wanted)) = wanted
        && !ENDPOINT_TYPES.contains(&wanted.as_str())
    {
        return Err(AwsError::invalid(format!("Unknown endpointType: {wanted}")));
    }
    let host = request.header(header::HOST.as_str())?.unwrap_or_default();
    Ok(Done::answer(json!({ "endpointAddress": host })))
}

/// True for what a rule can be called.
fn is_rule_name(name: &str) -> bool {
    (1..=RULE_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The answer to a name that is none, in AWS's words.
fn bad_name(name: &str) -> AwsError {
    AwsError::invalid(bad_rule_name(name))
}

/// What AWS IoT says about a name that no rule can have.
pub fn bad_rule_name(name: &str) -> String {
    let shown: String = name.chars().take(RULE_NAME_BYTES_MAX + 1).collect();
    let constraint = match name.len() {
        1..=RULE_NAME_BYTES_MAX => {
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9_]+$".to_owned()
        }
        0 => "Member must have length greater than or equal to 1".to_owned(),
        _ => format!("Member must have length less than or equal to {RULE_NAME_BYTES_MAX}"),
    };
    format!(
        "1 validation error detected: Value '{shown}' at 'ruleName' failed to satisfy constraint: {constraint}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        let token = token_after("hot_telemetry");
        assert_eq!(after_token(&token).unwrap(), "hot_telemetry");
        for other in ["", "x", "aGVsbG8", "%%"] {
            assert!(after_token(other).is_err(), "{other}");
        }
        assert_eq!(page_size("7", 10).unwrap(), 7);
        for other in ["0", "11", "-1", "", "x", "99999999999999999999"] {
            assert!(page_size(other, 10).is_err(), "{other}");
        }
    }

    #[test]
    fn names_are_judged_in_the_words_of_aws() {
        assert!(is_rule_name("Az_09") && !is_rule_name("a-b") && !is_rule_name(""));
        assert_eq!(
            bad_name("bad-name!").message,
            "1 validation error detected: Value 'bad-name!' at 'ruleName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_]+$"
        );
        assert!(
            bad_name(&"x".repeat(129))
                .message
                .ends_with("less than or equal to 128")
        );
    }
}
