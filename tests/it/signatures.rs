//! A second signer: the one of the AWS SDK for Rust.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use forebay_core::{Clock as _, SystemClock};
use forebay_tests::forebay::{Builder, Forebay};
use forebay_tests::http::{self, Response};

use crate::bed;

const KEY: (&str, &str) = ("AKIDSDK", "s3cret+/=");

struct Request<'a> {
    method: &'a str,
    path: &'a str,
    service: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

/// Signs a request, in its headers or in its query, and sends it.
fn signed(
    forebay: &Forebay,
    secret: &str,
    presigned: bool,
    request: &Request<'_>,
) -> Result<Response> {
    let host = forebay.admin().to_string();
    let identity = Credentials::new(KEY.0, secret, None, None, "test").into();
    let mut settings = SigningSettings::default();
    if presigned {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(60));
    }
    let now = u64::try_from(SystemClock::new().wall_millis())?;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name(request.service)
        .time(UNIX_EPOCH + Duration::from_millis(now))
        .settings(settings)
        .build()?
        .into();
    let url = format!("http://{host}{}", request.path);
    let own = request.headers.iter().copied();
    let signable = SignableRequest::new(
        request.method,
        &url,
        own.chain([("host", host.as_str())]),
        SignableBody::Bytes(request.body),
    )?;
    let (instructions, _) = sign(signable, &parameters)?.into_parts();
    let (added, query) = instructions.into_parts();
    let mut headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    headers.extend(
        added
            .iter()
            .map(|header| (header.name().to_owned(), header.value().to_owned())),
    );
    let mut path = request.path.to_owned();
    for (name, value) in query {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(name);
        path.push('=');
        path.extend(value.bytes().map(encoded));
    }
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    http::send(
        forebay.admin(),
        request.method,
        &path,
        &headers,
        request.body,
    )
}

/// A byte of a query.
fn encoded(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

#[test]
fn the_signer_of_the_rust_sdk_agrees() -> Result<()> {
    let builder = Builder::new()?
        .file("keys", &format!("{}:{}", KEY.0, KEY.1))?
        .set("admin.access_keys_file", "\"keys\"");
    fs::set_permissions(
        builder.folder().join("keys"),
        fs::Permissions::from_mode(0o600),
    )?;
    let forebay = builder.start()?;
    let document = br#"{"sql": "SELECT * FROM 'a/#'", "actions": []}"#;
    let tagging = [("x-amz-tagging", "k%20%2F=%2B%C3%A9")];
    let tags = "/tags?resourceArn=arn%3Aaws%3Aiot%3Aus-east-1%3A000000000000%3Arule%2Fr";
    let requests = [
        ("POST", "/rules/r", "iot", &tagging[..], &document[..]),
        (
            "GET",
            "/rules?topic=a%2Fb%20%2B%C3%A9&maxResults=5",
            "iot",
            &[],
            b"",
        ),
        ("GET", tags, "iot", &[], b""),
        (
            "POST",
            "/topics/a%2Fb%20%C3%A9%25~-._?qos=1&contentType=x%20y%2B",
            "iotdata",
            &[],
            b"\x00\xff",
        ),
        (
            "POST",
            "/topics/a/raw/slashes",
            "iotdevicegateway",
            &[],
            b"",
        ),
        ("DELETE", "/rules/r", "iot", &[], b""),
    ];
    for presigned in [false, true] {
        for (method, path, service, headers, body) in requests {
            let request = Request {
                method,
                path,
                service,
                headers,
                body,
            };
            let answer = signed(&forebay, KEY.1, presigned, &request)?;
            ensure!(
                answer.status == 200,
                "{presigned} {method} {path}: {answer:?}"
            );
            let answer = signed(&forebay, "another", presigned, &request)?;
            let name = answer.header("x-amzn-errortype");
            ensure!(
                answer.status == 403 && name == Some("InvalidSignatureException"),
                "{presigned} {method} {path}: {answer:?}"
            );
        }
    }
    bed::stop(forebay)
}
