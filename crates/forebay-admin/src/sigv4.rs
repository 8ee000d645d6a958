//! Signature Version 4 of callers, in the header or in the query (AWS, "Signing AWS API requests").
//!
//! The path is signed as it was received and percent-encoded once more, because that is what AWS's own clients do with a
//! path that they have encoded already.

use std::fmt::Write as _;

use axum::http::HeaderMap;
use axum::http::header;
use axum::http::request::Parts;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::access::Secret;
use crate::aws::{AwsError, Service};
use crate::percent;

/// The one algorithm.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far the caller's clock may be from ours.
const SKEW_SECONDS: i64 = 300;
/// The longest life of a signature in a query: seven days.
const EXPIRES_MAX: u64 = 604_800;
/// Headers that change what a request does: one that nobody signed could have been added by anybody.
const MUST_BE_SIGNED: [&str; 6] = [
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-mqtt5-correlation-data",
    "x-amz-mqtt5-payload-format-indicator",
    "x-amz-mqtt5-user-properties",
    "x-amz-tagging",
];

/// The answer to a request without any signature.
pub(crate) fn missing() -> AwsError {
    AwsError::forbidden(
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )
}

fn incomplete(message: impl Into<String>) -> AwsError {
    AwsError::forbidden("IncompleteSignatureException", message)
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::forbidden("InvalidSignatureException", message)
}

/// A signature and what it says about itself.
#[derive(Debug)]
pub(crate) struct Signed {
    key_id: String,
    /// Day, region, service and `aws4_request`.
    scope: [String; 4],
    headers: Vec<String>,
    signature: Vec<u8>,
    /// The moment of signing as it is written, and in seconds since the Unix epoch.
    date: String,
    time: i64,
    /// Seconds for which a signature in a query holds; `None` for one in the header.
    expires: Option<i64>,
}

impl Signed {
    /// Reads the signature of a request.
    pub(crate) fn read(head: &Parts) -> Result<Self, AwsError> {
        match head.headers.get(header::AUTHORIZATION) {
            Some(value) => {
                let value = value
                    .to_str()
                    .map_err(|_| incomplete("Authorization is not ASCII."))?;
                Self::of_header(value, &head.headers)
            }
            None => Self::of_query(head.uri.query().unwrap_or_default()),
        }
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    fn of_header(value: &str, headers: &HeaderMap) -> Result<Self, AwsError> {
        let fields = value
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' '))
            .ok_or_else(|| incomplete(format!("Authorization does not begin with {ALGORITHM}.")))?;
        let field = |name: &str| {
            let mut fields = fields.split(',').map(str::trim);
            fields
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| incomplete(format!("Authorization has no {name}.")))
        };
        let (date, time) = date_of(headers)?;
        Self::new(
            field("Credential")?,
            field("SignedHeaders")?,
            field("Signature")?,
            (date, time),
            None,
        )
    }

    fn of_query(query: &str) -> Result<Self, AwsError> {
        let pairs = percent::query_pairs(query)
            .map_err(|error| incomplete(format!("The query is {error}.")))?;
        let find = |wanted: &str| {
            let found = pairs.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        if !pairs.iter().any(|(name, _)| name.starts_with("X-Amz-")) {
            return Err(missing());
        }
        let field =
            |name: &str| find(name).ok_or_else(|| incomplete(format!("The query has no {name}.")));
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(format!("X-Amz-Algorithm is not {ALGORITHM}.")));
        }
        let date = field("X-Amz-Date")?;
        let time = basic_time(date)
            .ok_or_else(|| incomplete("X-Amz-Date is not a time like 20260102T030405Z."))?;
        let expires = field("X-Amz-Expires")?;
        let expires = expires
            .parse::<u64>()
            .ok()
            .filter(|seconds| (1..=EXPIRES_MAX).contains(seconds))
            .ok_or_else(|| incomplete(format!("X-Amz-Expires is not 1 to {EXPIRES_MAX}.")))?;
        Self::new(
            field("X-Amz-Credential")?,
            field("X-Amz-SignedHeaders")?,
            field("X-Amz-Signature")?,
            (date.to_owned(), time),
            Some(expires.cast_signed()),
        )
    }

    fn new(
        credential: &str,
        headers: &str,
        signature: &str,
        (date, time): (String, i64),
        expires: Option<i64>,
    ) -> Result<Self, AwsError> {
        let mut parts = credential.rsplitn(5, '/').map(str::to_owned);
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (Some(end), Some(service), Some(region), Some(day), Some(key_id)) =
            (part(), part(), part(), part(), part())
        else {
            return Err(incomplete(
                "Credential must have five parts: KEY/DATE/REGION/SERVICE/aws4_request.",
            ));
        };
        let headers: Vec<String> = headers.split(';').map(str::to_ascii_lowercase).collect();
        if !headers.iter().any(|name| name == "host") {
            return Err(incomplete("'Host' must be a signed header."));
        }
        Ok(Self {
            key_id,
            scope: [day, region, service, end],
            headers,
            signature: from_hex(signature)
                .ok_or_else(|| incomplete("The signature is not 64 hexadecimal digits."))?,
            date,
            time,
            expires,
        })
    }

    fn check_scope(&self, service: Service) -> Result<(), AwsError> {
        let [day, _, signed_for, end] = &self.scope;
        if end != "aws4_request" {
            return Err(incomplete("Credential must end with aws4_request."));
        }
        if !self.date.starts_with(day.as_str()) || day.len() != 8 {
            return Err(incomplete(format!(
                "Credential is for the day {day}, the request is of {}.",
                self.date
            )));
        }
        if !service.names().contains(&signed_for.as_str()) {
            return Err(incomplete(format!(
                "Credential should be scoped to correct service: '{}'.",
                service.names()[0]
            )));
        }
        Ok(())
    }

    fn check_time(&self, now: i64) -> Result<(), AwsError> {
        let shown = basic_text(now);
        if self.time > now + SKEW_SECONDS {
            return Err(invalid(format!(
                "Signature not yet current: {} is still later than {} ({shown} + 5 min.)",
                self.date,
                basic_text(now + SKEW_SECONDS)
            )));
        }
        let (until, reason) = match self.expires {
            Some(expires) => (
                self.time + expires,
                format!("{expires} s after {}", self.date),
            ),
            None => (self.time + SKEW_SECONDS, format!("{} + 5 min.", self.date)),
        };
        if now > until {
            return Err(invalid(format!(
                "Signature expired: {} ({reason}) is now earlier than {shown}",
                basic_text(until)
            )));
        }
        Ok(())
    }
}

/// Checks scope, time, body and signature.
pub(crate) fn verify(
    signed: &Signed,
    head: &Parts,
    body: &[u8],
    service: Service,
    secret: &Secret,
    now_ms: i64,
) -> Result<(), AwsError> {
    signed.check_scope(service)?;
    signed.check_time(now_ms.div_euclid(1000))?;
    for name in MUST_BE_SIGNED {
        if head.headers.contains_key(name) && !signed.headers.iter().any(|known| known == name) {
            return Err(incomplete(format!("{name} must be a signed header.")));
        }
    }
    let body_hash = hex(&Sha256::digest(body));
    if let Some(claimed) = head.headers.get("x-amz-content-sha256")
        && claimed.as_bytes() != body_hash.as_bytes()
    {
        return Err(invalid(
            "The body is not the one that x-amz-content-sha256 was made of.",
        ));
    }
    let request = canonical_request(signed, head, &body_hash)?;
    match matches(signed, &request, secret) {
        true => Ok(()),
        false => Err(invalid(
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method.",
        )),
    }
}

/// Whether the signature is the one of this canonical request, compared in a time that says nothing about where they
/// differ.
fn matches(signed: &Signed, request: &str, secret: &Secret) -> bool {
    let [day, region, service, end] = &signed.scope;
    let scope = signed.scope.join("/");
    let request_hash = hex(&Sha256::digest(request.as_bytes()));
    let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{request_hash}", signed.date);
    let mut key = format!("AWS4{}", secret.reveal()).into_bytes();
    for part in [day, region, service, end] {
        key = mac(&key, part.as_bytes()).finalize().into_bytes().to_vec();
    }
    let signature = mac(&key, to_sign.as_bytes());
    signature.verify_slice(&signed.signature).is_ok()
}

fn mac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(text);
    mac
}

fn canonical_request(signed: &Signed, head: &Parts, body_hash: &str) -> Result<String, AwsError> {
    let mut text = format!("{}\n", head.method);
    percent::encode_into(head.uri.path(), b"/", &mut text);
    text.push('\n');
    text.push_str(&canonical_query(head.uri.query().unwrap_or_default())?);
    text.push('\n');
    let mut names: Vec<&str> = signed.headers.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        text.push_str(name);
        text.push(':');
        let mut values = head.headers.get_all(*name).iter().peekable();
        if values.peek().is_none() {
            return Err(incomplete(format!(
                "The signed header {name} is not there."
            )));
        }
        for (index, value) in values.enumerate() {
            if index > 0 {
                text.push(',');
            }
            let value = std::str::from_utf8(value.as_bytes())
                .map_err(|_| incomplete(format!("The header {name} is not UTF-8.")))?;
            let mut words = value.split(' ').filter(|word| !word.is_empty());
            text.push_str(words.next().unwrap_or_default());
            for word in words {
                text.push(' ');
                text.push_str(word);
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&names.join(";"));
    text.push('\n');
    text.push_str(body_hash);
    Ok(text)
}

/// All pairs but the signature, encoded once and sorted.
fn canonical_query(query: &str) -> Result<String, AwsError> {
    let pairs = percent::query_pairs(query)
        .map_err(|error| incomplete(format!("The query is {error}.")))?;
    let encoded = |text: &str| {
        let mut out = String::new();
        percent::encode_into(text, b"", &mut out);
        out
    };
    let mut pairs: Vec<(String, String)> = pairs
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Ok(pairs.join("&"))
}

/// The moment of signing: `X-Amz-Date`, else `Date`. The text is that of the string to sign.
fn date_of(headers: &HeaderMap) -> Result<(String, i64), AwsError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let wrong = || incomplete("X-Amz-Date is not a time like 20260102T030405Z.");
    if let Some(date) = text("x-amz-date") {
        let time = basic_time(date).ok_or_else(wrong)?;
        return Ok((date.to_owned(), time));
    }
    let Some(date) = text("date") else {
        return Err(incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ));
    };
    if let Some(time) = basic_time(date) {
        return Ok((date.to_owned(), time));
    }
    let time = httpdate::parse_http_date(date).map_err(|_| wrong())?;
    let time = time
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|_| wrong())?;
    let seconds = time.as_secs().cast_signed();
    Ok((basic_text(seconds), seconds))
}

/// Seconds since the Unix epoch of `YYYYMMDDTHHMMSSZ`.
fn basic_time(text: &str) -> Option<i64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |text: &str, from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| digits.parse().ok())?
    };
    if day.len() != 8 || time.len() != 6 {
        return None;
    }
    let (year, month, date) = (number(day, 0, 4)?, number(day, 4, 6)?, number(day, 6, 8)?);
    let (hour, minute, second) = (
        number(time, 0, 2)?,
        number(time, 2, 4)?,
        number(time, 4, 6)?,
    );
    let valid = (1..=12).contains(&month)
        && (1..=31).contains(&date)
        && hour < 24
        && minute < 60
        && second < 61;
    valid.then(|| days(year, month, date) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since the Unix epoch of a date of the Gregorian calendar, counted from March so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`basic_time`].
fn basic_text(seconds: i64) -> String {
    let (day, second) = (
        seconds.div_euclid(86_400) + 719_468,
        seconds.rem_euclid(86_400),
    );
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}{month:02}{date:02}T{:02}{:02}{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

/// The 32 bytes of 64 digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    let pairs = digits.chunks_exact(2);
    Some(pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::access::AccessKeys;

    #[test]
    fn times_go_back_and_forth() {
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20000229T235959Z", 951_868_799),
            ("20261125T103000Z", 1_795_602_600),
            ("21000301T000000Z", 4_107_542_400),
        ] {
            assert_eq!(basic_time(text), Some(seconds), "{text}");
            assert_eq!(basic_text(seconds), text);
        }
        for wrong in [
            "20261125T103000",
            "2026-11-25T10:30:00Z",
            "20261325T103000Z",
            "20261125T+13000Z",
        ] {
            assert_eq!(basic_time(wrong), None, "{wrong}");
        }
    }

    /// The example of AWS's documentation of the signing process, "GET ListUsers": its headers, date, secret and
    /// signature.
    #[test]
    fn the_published_example_verifies() {
        let head = Request::builder()
            .method("GET")
            .uri("/?Action=ListUsers&Version=2010-05-08")
            .header("host", "iam.amazonaws.com")
            .header(
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .header("x-amz-date", "20150830T123600Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            )
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let signed = Signed::read(&head).unwrap();
        assert_eq!(signed.key_id(), "AKIDEXAMPLE");
        let body_hash = hex(&Sha256::digest(b""));
        let request = canonical_request(&signed, &head, &body_hash).unwrap();
        assert_eq!(
            hex(&Sha256::digest(request.as_bytes())),
            "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
        );
        let keys = AccessKeys::parse("AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\nB:b");
        let secret = |id| keys.as_ref().unwrap().find(id).unwrap().secret.clone();
        assert!(matches(&signed, &request, &secret("AKIDEXAMPLE")));
        assert!(!matches(&signed, &request, &secret("B")));
        let refused = signed.check_scope(Service::Control).unwrap_err();
        assert_eq!(refused.name, "IncompleteSignatureException");
    }
}
