//! The routes and the form of their answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::{JoinError, spawn_blocking};

use crate::access::{Caller, Refusal, Role};
use crate::audit::Entry;
use crate::aws;
use crate::guard::{Guard, Peer, guard};
use crate::rules::{RuleChange, RuleDescription};
use crate::state::{AdminState, Readiness};

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// All routes behind the guard, each with the role that it needs: a route cannot be added without one.
pub(crate) fn router(state: AdminState, checks: Guard) -> Router {
    let loopback = state.access.loopback;
    let state = Arc::new(state);
    let needs = |role, route: MethodRouter<Arc<AdminState>>| {
        route.route_layer(from_fn_with_state((Arc::clone(&state), role), need_role))
    };
    let scraped = get(metrics);
    Router::new()
        .route(
            "/metrics",
            match loopback {
                true => scraped,
                false => needs(Role::Read, scraped),
            },
        )
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/statusz", needs(Role::Read, get(statusz)))
        .route("/api/v1/rules", needs(Role::Read, get(rules)))
        .route("/api/v1/reload", needs(Role::Admin, post(reload)))
        .route("/api/v1/spool/stat", needs(Role::Read, get(spool_stat)))
        .route(
            "/api/v1/spool/verify",
            needs(Role::Read, get(spool_verification))
                .merge(needs(Role::Operate, post(verify_spool))),
        )
        .fallback(other)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::new(checks), guard))
        .with_state(state)
}

/// Lets through who bears a token with the role.
async fn need_role(
    State((state, role)): State<(Arc<AdminState>, Role)>,
    mut request: Request,
    next: Next,
) -> Response {
    match state.access.bearer(request.headers(), role) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(Refusal::Role(_)) => refusal(
            StatusCode::FORBIDDEN,
            "forbidden",
            "the token's role may not do this",
        ),
        Err(refused) => {
            let message = match refused {
                Refusal::NoToken => {
                    "this needs Authorization: Bearer with a token of admin.token_file, by default admin-token in the data directory"
                }
                _ => "the token is not known",
            };
            let mut response = refusal(StatusCode::UNAUTHORIZED, "unauthorized", message);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// A refusal. The text is ours alone: nothing of the request is repeated in it.
pub(crate) fn refusal(status: StatusCode, code: &'static str, message: &'static str) -> Response {
    json_answer(
        status,
        &json!({ "error": { "code": code, "message": message } }),
    )
}

async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    answer(StatusCode::OK, PROMETHEUS_TEXT, state.registry.render())
}

async fn livez(State(state): State<Arc<AdminState>>) -> Response {
    let late = state.late_threads();
    if late.is_empty() {
        json_answer(StatusCode::OK, &json!({ "status": "ok" }))
    } else {
        json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "stalled", "threads": late }),
        )
    }
}

async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    match (state.readiness)() {
        Readiness::Ready => json_answer(StatusCode::OK, &json!({ "status": "ok" })),
        Readiness::NotReady(reason) => json_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "not_ready", "reason": reason }),
        ),
    }
}

async fn statusz(State(state): State<Arc<AdminState>>) -> Response {
    json_answer(StatusCode::OK, &(state.status)())
}

async fn spool_stat(State(state): State<Arc<AdminState>>) -> Response {
    match (state.status)().spool {
        Some(spool) => json_answer(StatusCode::OK, &spool),
        None => no_spool(),
    }
}

/// Begins to read the spool. What it finds is fetched from the same path: reading may take longer than a connection
/// lives.
async fn verify_spool(State(state): State<Arc<AdminState>>) -> Response {
    match &state.verifier {
        Some(verifier) => json_answer(StatusCode::ACCEPTED, &verifier.begin()),
        None => no_spool(),
    }
}

async fn spool_verification(State(state): State<Arc<AdminState>>) -> Response {
    match &state.verifier {
        Some(verifier) => json_answer(StatusCode::OK, &verifier.status()),
        None => no_spool(),
    }
}

fn no_spool() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "no_spool",
        "this process keeps nothing in a spool",
    )
}

/// The rules with their documents.
async fn rules(State(state): State<Arc<AdminState>>) -> Response {
    let Some(api) = &state.rules else {
        return no_rules();
    };
    let rules = Arc::clone(&api.rules);
    let listed = spawn_blocking(move || {
        let names = rules.list().into_iter().map(|rule| rule.name);
        let found = names.filter_map(|name| rules.get(&name));
        let rules: Vec<_> = found.map(rule_as_json).collect();
        json!({ "rules": rules })
    });
    match listed.await {
        Ok(listed) => json_answer(StatusCode::OK, &listed),
        Err(error) => panicked(&error),
    }
}

fn rule_as_json(rule: RuleDescription) -> Value {
    json!({
        "name": rule.summary.name,
        "enabled": !rule.summary.disabled,
        "topicPattern": rule.summary.topic_pattern,
        "createdMs": rule.summary.created_ms,
        "payload": rule.payload,
        "settings": rule.settings,
        "warnings": rule.warnings,
    })
}

/// Reads configuration and rules again.
async fn reload(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Extension(peer): Extension<Peer>,
) -> Response {
    let Some(api) = &state.rules else {
        return no_rules();
    };
    let rules = Arc::clone(&api.rules);
    let reloaded = spawn_blocking(move || rules.reload()).await;
    let refused = match &reloaded {
        Ok(Ok(_)) => None,
        Ok(Err(_)) => Some("reload_refused"),
        Err(_) => Some("panicked"),
    };
    state.audit.write(&Entry {
        time_ms: state.wall_millis(),
        caller: &caller.name,
        peer: peer.0.ip().to_canonical(),
        route: "reload",
        object: "",
        change: RuleChange::default(),
        refused,
    });
    match reloaded {
        Ok(Ok(done)) => json_answer(StatusCode::OK, &done),
        Ok(Err(reason)) => json_answer(
            StatusCode::CONFLICT,
            &json!({ "error": { "code": "reload_refused", "message": reason } }),
        ),
        Err(error) => panicked(&error),
    }
}

fn no_rules() -> Response {
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "no_rules",
        "rules are not served yet",
    )
}

fn panicked(error: &JoinError) -> Response {
    tracing::error!(%error, "an operation on rules panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// AWS IoT's API, which routes by itself, and what there is not.
async fn other(State(state): State<Arc<AdminState>>, request: Request) -> Response {
    if aws::is_aws_path(request.uri().path()) {
        return aws::answer(&state, request).await;
    }
    refusal(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is /metrics, /livez, /readyz, /statusz, /api/v1 and the API of AWS IoT",
    )
}

async fn method_not_allowed() -> Response {
    only_reads()
}

/// The answer to any other method where there is something to read only.
pub(crate) fn only_reads() -> Response {
    let mut response = refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "only GET and HEAD are answered here",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// A JSON answer, indented because people read it with curl.
fn json_answer(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(mut text) => {
            text.push('\n');
            answer(status, JSON, text)
        }
        Err(error) => {
            tracing::error!(%error, "admin answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
