//! What every request passes before a route sees it, and every answer before it leaves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::aws::is_aws_path;
use crate::routes::{only_reads, refusal};

const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The paths at which something can be begun.
const OWN_API: &str = "/api/v1/";

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Whether the body is said to be JSON, whatever the parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok()?.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Which requests are let through.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<String>,
    body_bytes_max: u64,
    /// A request to AWS IoT's API is signed, which a page under a rebound name cannot do.
    signed: bool,
}

impl Guard {
    /// Lets through what names a loopback host, the bound address or one of `extra`.
    ///
    /// A web page can make a browser connect to loopback under a name of its own (DNS rebinding), but it cannot make
    /// it send another name than its own in the Host header.
    pub(crate) fn new(
        bound: SocketAddr,
        extra: &[String],
        body_bytes_max: u64,
        signed: bool,
    ) -> Self {
        let own = match bound.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        hosts.push("[::1]".to_owned());
        hosts.push(own);
        hosts.extend(extra.iter().map(|host| host.to_ascii_lowercase()));
        Self {
            hosts,
            body_bytes_max,
            signed,
        }
    }

    /// The answer that refuses the request; none when it is let through.
    fn refuse(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        let bad_host = || {
            refusal(
                StatusCode::MISDIRECTED_REQUEST,
                "host_not_accepted",
                "the Host header names none of the accepted hosts",
            )
        };
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return Some(refusal(
                StatusCode::BAD_REQUEST,
                "host_missing",
                "a request needs exactly one Host header",
            ));
        };
        // A request line with an authority of its own outranks the header, so both must be accepted.
        let aws = is_aws_path(uri.path());
        if !(aws && self.signed)
            && (!self.accepts(host.to_str().unwrap_or_default())
                || uri.authority().is_some_and(|it| !self.accepts(it.as_str())))
        {
            return Some(bad_host());
        }
        if let Some(origin) = headers.get(header::ORIGIN)
            && !self.is_own(origin.to_str().unwrap_or_default())
        {
            return Some(refusal(
                StatusCode::FORBIDDEN,
                "origin_not_accepted",
                "a page of another origin may not call this",
            ));
        }
        if aws {
            return None;
        }
        let begins = method == Method::POST && uri.path().starts_with(OWN_API);
        if !begins && method != Method::GET && method != Method::HEAD {
            return Some(only_reads());
        }
        // A page of another origin may send a POST without asking first, but not with this content type.
        if begins && !is_json(headers) {
            return Some(refusal(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "this needs Content-Type: application/json",
            ));
        }
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > self.body_bytes_max) {
            return Some(refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the request body is over the limit",
            ));
        }
        None
    }

    /// Whether an Origin header names a page that was served under an accepted name.
    fn is_own(&self, origin: &str) -> bool {
        let host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| self.accepts(host))
    }

    /// Whether `host`, with or without a port, is an accepted name. The port is not compared: it differs when the
    /// listener is reached through a tunnel, and a rebound name is stopped by the name.
    fn accepts(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        self.hosts.iter().any(|it| it.eq_ignore_ascii_case(name))
    }
}

/// The middleware: checks the request, and marks every answer as not to be stored, sniffed or framed.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let refused = guard.refuse(request.method(), request.uri(), request.headers());
    let mut response = match refused {
        None => next.run(request).await,
        Some(refusal) => refusal,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_port_and_case() {
        let guard = Guard::new(
            "127.0.0.2:9464".parse().unwrap(),
            &["Forebay.Example".to_owned()],
            1,
            false,
        );
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "127.0.0.1:1",
            "127.0.0.2",
            "[::1]:9464",
            "[::1]",
            "forebay.example:9464",
        ] {
            assert!(guard.accepts(host), "{host} was refused");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.3",
            "::1",
            "localhost:x",
        ] {
            assert!(!guard.accepts(host), "{host} was accepted");
        }
        for (origin, own) in [
            ("http://localhost:9464", true),
            ("https://forebay.example", true),
            ("http://evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(guard.is_own(origin), own, "{origin}");
        }
    }
}
