//! The body of a request: read once the caller is known, bounded, and checked before anything is decided.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::value::RawValue;

use crate::dialect::openai_chat::json_failure;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::{self, Object};
use crate::limits;
use crate::ports::{ReadError, RequestBody};

/// A body that was not read yet.
pub(crate) struct Input<'a, B> {
    head: &'a http::request::Parts,
    body: B,
}

impl<'a, B: RequestBody> Input<'a, B> {
    pub(crate) const fn new(head: &'a http::request::Parts, body: B) -> Self {
        Self { head, body }
    }

    /// The request's headers.
    pub(crate) const fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }

    /// Reads a JSON body of at most `limit` bytes.
    pub(crate) async fn read(self, limit: usize) -> Outcome<Bytes> {
        let too_large =
            || Failure::new(ErrorCode::RequestTooLarge, format!("The request body may have at most {limit} bytes."));
        let headers = &self.head.headers;
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(Failure::new(
                ErrorCode::UnsupportedMediaType,
                "Compressed bodies are not taken; send the body without 'Content-Encoding'.",
            ));
        }
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let json = types.next().and_then(|v| v.to_str().ok()).is_some_and(is_json) && types.next().is_none();
        if !json {
            return Err(Failure::new(
                ErrorCode::UnsupportedMediaType,
                "The body must be JSON in UTF-8; send the header 'Content-Type: application/json'.",
            ));
        }
        let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        match self.body.read(limit).await {
            Ok(bytes) => Ok(bytes),
            Err(ReadError::TooLarge) => Err(too_large()),
            Err(ReadError::Incomplete) => {
                Err(Failure::new(ErrorCode::RequestIncomplete, "The request body did not arrive in whole."))
            }
        }
    }

    /// Reads the body of an admin call.
    pub(crate) async fn admin(self) -> Outcome<Bytes> {
        self.read(limits::ADMIN_BODY_BYTES).await
    }
}

/// `application/json`, with no other charset than UTF-8.
fn is_json(value: &str) -> bool {
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return parameter.trim().is_empty() };
            let charset = name.trim().eq_ignore_ascii_case("charset");
            !charset || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

/// An admin body: an object whose members are all known. `known` lists them; a name is matched exactly.
pub(crate) fn fields<'a>(bytes: &'a [u8], known: &[&str]) -> Outcome<Object<'a>> {
    let object = json::object(bytes).map_err(json_failure)?;
    if object.iter().any(|(name, _)| !known.contains(&name)) {
        let list = known.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        let message = format!("The body has a member that this endpoint does not know. It takes: {list}.");
        return Err(Failure::new(ErrorCode::UnknownField, message));
    }
    Ok(object)
}

/// A member, with `null` counting as absent.
pub(crate) fn optional<'a>(object: &Object<'a>, name: &str) -> Option<&'a RawValue> {
    object.get(name).filter(|raw| raw.get() != "null")
}

/// A member that must be a string, if it is there.
pub(crate) fn string(object: &Object<'_>, name: &'static str) -> Outcome<Option<String>> {
    optional(object, name)
        .map(|raw| {
            serde_json::from_str(raw.get()).map_err(|_| Failure::invalid(name, format!("'{name}' must be a string.")))
        })
        .transpose()
}

/// A member that must be true or false, if it is there.
pub(crate) fn flag(object: &Object<'_>, name: &'static str) -> Outcome<Option<bool>> {
    optional(object, name)
        .map(|raw| match raw.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Failure::invalid(name, format!("'{name}' must be true or false."))),
        })
        .transpose()
}

/// A member that must be there and be a string.
pub(crate) fn required(object: &Object<'_>, name: &'static str) -> Outcome<String> {
    string(object, name)?.ok_or_else(|| Failure::invalid(name, format!("'{name}' is required.")))
}

/// The failure of a name that breaks its rules.
pub(crate) fn bad_name(param: &'static str) -> impl Fn(crate::model::NameError) -> Failure {
    move |error| Failure::invalid(param, format!("'{param}' {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_taken() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json;",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonx",
            "application/json; charset=utf-16",
            "application/json, text/plain",
            "multipart/form-data",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn unknown_members_are_refused_and_not_repeated() {
        let failure = fields(br#"{"name":"a","sk-canary":1}"#, &["name"]).unwrap_err();
        assert_eq!(failure.code, ErrorCode::UnknownField);
        assert!(!String::from_utf8_lossy(&failure.body()).contains("canary"));
        assert!(fields(br#"{"name":"a"}"#, &["name"]).is_ok());
    }
}
