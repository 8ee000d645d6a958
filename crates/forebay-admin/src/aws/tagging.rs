//! Tags as they come: in a header at creation, in a body later.

use serde::Deserialize;

use super::AwsError;
use crate::percent;
use crate::rules::Tag;

const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// The body of TagResource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagBody {
    pub(super) resource_arn: String,
    pub(super) tags: Vec<Tag>,
}

/// The body of UntagResource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UntagBody {
    pub(super) resource_arn: String,
    pub(super) tag_keys: Vec<String>,
}

/// The tags of `x-amz-tagging`: `k1=v1&k2=v2`, encoded like a form.
pub(super) fn of_header(text: &str) -> Result<Vec<Tag>, AwsError> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let tags = pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok(Tag {
                key: percent::decode_form(key)?,
                value: percent::decode_form(value)?,
            })
        })
        .collect::<Result<Vec<_>, percent::BadEncoding>>()
        .map_err(|error| AwsError::invalid(format!("x-amz-tagging is {error}")))?;
    check(&tags)?;
    Ok(tags)
}

/// Checks lengths, and that each key comes once.
pub(super) fn check(tags: &[Tag]) -> Result<(), AwsError> {
    for (index, tag) in tags.iter().enumerate() {
        check_key(&tag.key)?;
        let chars = tag.value.chars().count();
        if chars > VALUE_CHARS_MAX {
            return Err(AwsError::invalid(format!(
                "the value of tag {:?} has {chars} characters; the limit is {VALUE_CHARS_MAX}",
                tag.key
            )));
        }
        if tags[..index].iter().any(|other| other.key == tag.key) {
            return Err(AwsError::invalid(format!("tag {:?} comes twice", tag.key)));
        }
    }
    Ok(())
}

/// Checks one key.
pub(super) fn check_key(key: &str) -> Result<(), AwsError> {
    let chars = key.chars().count();
    if !(1..=KEY_CHARS_MAX).contains(&chars) {
        return Err(AwsError::invalid(format!(
            "a tag key has {chars} characters; allowed are 1 to {KEY_CHARS_MAX}"
        )));
    }
    if key.starts_with("aws:") {
        return Err(AwsError::invalid(format!(
            "tag keys that begin with aws: are reserved: {key:?}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_a_form() {
        let tags = of_header("env=prod&a%2Fb=%2B%25%C3%A9+x&empty=&bare").unwrap();
        let pairs: Vec<_> = tags
            .iter()
            .map(|tag| (tag.key.as_str(), tag.value.as_str()))
            .collect();
        let expected = [
            ("env", "prod"),
            ("a/b", "+%é x"),
            ("empty", ""),
            ("bare", ""),
        ];
        assert_eq!(pairs, expected);
        for wrong in ["a=1&a=2", "=x", "aws:x=1", "a=%zz"] {
            assert!(of_header(wrong).is_err(), "{wrong}");
        }
        assert!(of_header(&format!("k={}", "v".repeat(257))).is_err());
        assert!(of_header(&format!("{}=v", "k".repeat(129))).is_err());
        assert_eq!(of_header("").unwrap(), []);
    }
}
