//! The caller's body: what we must know of it, and the body that goes upstream.

mod decode;

use bytes::Bytes;
use serde_json::value::RawValue;

pub(crate) use self::decode::decode_request;

use crate::account::Estimate;
use crate::chat::Drops;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::{self, Edit, JsonError, Object};
use crate::model::{Capabilities, MaxTokensParameter};
use crate::provider::Endpoint;

/// A caller's request, checked as far as the gateway depends on it.
pub(crate) struct Call<'a> {
    /// Which endpoint it was sent to.
    pub endpoint: Endpoint,
    /// The model's name as the client sent it.
    pub model: String,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Whether the client wants the usage at the end of its stream.
    pub include_usage: bool,
    object: Object<'a>,
    bytes: usize,
    estimate: Estimate,
}

/// Members that steer the gateway and that no provider may see.
const GATEWAY_MEMBERS: &[&str] =
    &["cache", "router", "input_type", "thinking_blocks", "reasoning_content", "cache_control"];

/// The same below `messages` and `tools`.
const GATEWAY_MESSAGE_MEMBERS: &[&str] = &["thinking_blocks", "reasoning_content", "cache_control"];

/// Documented members for which `null` means the same as absence, and which some servers refuse as `null`.
const OPTIONAL_MEMBERS: &[&str] = &[
    "audio",
    "best_of",
    "dimensions",
    "echo",
    "encoding_format",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Members that must be whole, non-negative numbers, with the least value.
const COUNTS: &[(&str, u64)] = &[
    ("max_tokens", 0),
    ("max_completion_tokens", 0),
    ("n", 1),
    ("best_of", 1),
    ("top_logprobs", 0),
    ("dimensions", 1),
];

/// Reads and checks a body of `endpoint`.
pub(crate) fn read_call(endpoint: Endpoint, body: &[u8]) -> Outcome<Call<'_>> {
    let object = json::object(body).map_err(json_failure)?;
    let model = match object.get("model").map(RawValue::get) {
        None | Some("null") => return Err(Failure::invalid("model", "'model' is required.")),
        Some(raw) => serde_json::from_str::<String>(raw)
            .ok()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Failure::invalid("model", "'model' must be a non-empty string."))?,
    };
    check_input(endpoint, &object)?;
    for (name, least) in COUNTS {
        let Some(raw) = object.get(name).map(RawValue::get).filter(|raw| *raw != "null") else { continue };
        // 2^53: beyond it JSON numbers are not whole numbers for every reader (RFC 8259 section 6).
        if !raw.parse::<u64>().is_ok_and(|n| (*least..=1 << 53).contains(&n)) {
            return Err(Failure::invalid(*name, format!("'{name}' must be a whole number of at least {least}.")));
        }
    }
    let stream = endpoint != Endpoint::Embeddings && flag(&object, "stream")?;
    let mut include_usage = false;
    if let Some(raw) = object.get("stream_options").filter(|raw| raw.get() != "null") {
        let wrong = || Failure::invalid("stream_options", "'stream_options' must be an object.");
        let options = json::object(raw.get().as_bytes()).map_err(|_| wrong())?;
        if !stream {
            return Err(Failure::invalid("stream_options", "'stream_options' is only allowed when 'stream' is true."));
        }
        include_usage = flag(&options, "include_usage")
            .map_err(|_| Failure::invalid("stream_options.include_usage", "'include_usage' must be true or false."))?;
    }
    Ok(Call { endpoint, model, stream, include_usage, object, bytes: body.len(), estimate: Estimate::of_request(body) })
}

impl Call<'_> {
    /// How long the body is, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it has for text, if its tokens are not reported.
    pub(crate) const fn estimate(&self) -> Estimate {
        self.estimate
    }

    /// Whether it asks for no tier of service but the usual one, at the list price.
    pub(crate) fn standard(&self) -> bool {
        let tier = self.object.get("service_tier").map(RawValue::get);
        tier.is_none_or(|tier| matches!(tier, "null" | "\"auto\"" | "\"default\"" | "\"standard_only\""))
    }

    /// The members of the body.
    pub(crate) fn object(&self) -> &Object<'_> {
        &self.object
    }

    /// The body for an upstream of the same dialect: `model` replaced, the gateway's own members and documented
    /// ones that are `null` left out, and the usage of a stream asked for. `cache_key` becomes the `prompt_cache_key` of a
    /// client that names none. What the model is said
    /// not to take is dropped and noted; the limit on tokens gets the name that it is said to want.
    pub(crate) fn encode(
        &self,
        upstream_model: &str,
        cache_key: Option<u64>,
        can: &Capabilities,
        drops: &mut Drops,
    ) -> Bytes {
        let ask = self.stream && !self.include_usage;
        let model = serde_json::Value::from(upstream_model).to_string();
        let mut asked = false;
        let limit = self.renamed_limit(can);
        let edit = |name: &str, raw: &RawValue| match name {
            "model" => Edit::Set(model.clone()),
            _ if GATEWAY_MEMBERS.contains(&name) => Edit::Drop,
            _ if raw.get() == "null" && OPTIONAL_MEMBERS.contains(&name) => Edit::Drop,
            "max_tokens" | "max_completion_tokens" if limit.is_some() => Edit::Drop,
            _ if can.unsupported_parameters.iter().any(|refused| refused == name) => {
                drops.note(name.to_owned());
                Edit::Drop
            }
            "messages" | "tools" => match json::strip(raw, GATEWAY_MESSAGE_MEMBERS) {
                Some(stripped) => Edit::Set(stripped),
                None => Edit::Keep,
            },
            "stream_options" if ask => {
                asked = true;
                with_usage(raw).map_or(Edit::Keep, Edit::Set)
            }
            _ => Edit::Keep,
        };
        let has_options = self.object.get("stream_options").is_some_and(|raw| raw.get() != "null");
        let usage = (ask && !has_options).then_some(("stream_options", r#"{"include_usage":true}"#));
        let named = self.object.get("prompt_cache_key").is_some_and(|raw| raw.get() != "null");
        let cache_key = cache_key.filter(|_| !named).map(|key| format!("\"{key:016x}\""));
        let cache_key = cache_key.as_deref().map(|key| ("prompt_cache_key", key));
        let extra: Vec<(&str, &str)> = limit.into_iter().chain(usage).chain(cache_key).collect();
        let body = json::rewrite(&self.object, edit, &extra);
        debug_assert!(!asked || has_options);
        Bytes::from(body)
    }

    /// The limit on tokens under the name that the model takes, if the client used the other. If both are given, the
    /// newer name counts.
    fn renamed_limit(&self, can: &Capabilities) -> Option<(&'static str, &str)> {
        let given = |name: &str| self.object.get(name).map(RawValue::get).filter(|raw| *raw != "null");
        let (wanted, other) = match can.max_tokens_parameter? {
            MaxTokensParameter::MaxTokens => ("max_tokens", "max_completion_tokens"),
            MaxTokensParameter::MaxCompletionTokens => ("max_completion_tokens", "max_tokens"),
        };
        given(other)?;
        Some((wanted, given("max_completion_tokens").or_else(|| given("max_tokens"))?))
    }
}

fn with_usage(options: &RawValue) -> Option<String> {
    let object = json::object(options.get().as_bytes()).ok()?;
    let edit = |name: &str, _: &RawValue| if name == "include_usage" { Edit::Drop } else { Edit::Keep };
    String::from_utf8(json::rewrite(&object, edit, &[("include_usage", "true")])).ok()
}

fn check_input(endpoint: Endpoint, object: &Object<'_>) -> Outcome<()> {
    let name = endpoint.input();
    let raw = match object.get(name).map(RawValue::get) {
        None | Some("null") => return Err(Failure::invalid(name, format!("'{name}' is required."))),
        Some(raw) => raw,
    };
    let fault = match endpoint {
        Endpoint::Chat => match items(raw) {
            None => Some("must be an array of messages."),
            Some(items) if items.is_empty() => Some("must have at least one message."),
            Some(items) => items.iter().any(|i| !i.get().starts_with('{')).then_some("must be an array of objects."),
        },
        Endpoint::Completions => {
            (!raw.starts_with(['"', '['])).then_some("must be a string or an array of strings or tokens.")
        }
        Endpoint::Embeddings => match items(raw) {
            None if raw == "\"\"" => Some("must not be empty."),
            None => (!raw.starts_with('"')).then_some("must be a string or an array of strings or tokens."),
            Some(items) => items.is_empty().then_some("must not be empty."),
        },
    };
    fault.map_or(Ok(()), |text| Err(Failure::invalid(name, format!("'{name}' {text}"))))
}

fn items(raw: &str) -> Option<Vec<&RawValue>> {
    raw.starts_with('[').then(|| serde_json::from_str(raw).ok()).flatten()
}

fn flag(object: &Object<'_>, name: &'static str) -> Outcome<bool> {
    match object.get(name).map(RawValue::get) {
        None | Some("null" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Failure::invalid(name, format!("'{name}' must be true or false."))),
    }
}

/// The answer to a body that is no usable JSON. Never the parser's own text.
pub(crate) fn json_failure(error: JsonError) -> Failure {
    let (code, message) = match error {
        JsonError::Empty => (ErrorCode::InvalidJson, "The request body is empty; it must be a JSON object."),
        JsonError::Invalid => (ErrorCode::InvalidJson, "The request body is not valid JSON in UTF-8."),
        JsonError::Duplicate => (ErrorCode::InvalidJson, "The request body has an object with the same member twice."),
        JsonError::TooDeep => (ErrorCode::JsonTooDeep, "The request body is nested deeper than 128 levels."),
        JsonError::NotAnObject => (ErrorCode::InvalidRequest, "The request body must be a JSON object."),
    };
    Failure::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderKind;

    fn encode(endpoint: Endpoint, body: &str, cache_key: Option<u64>) -> String {
        let call = read_call(endpoint, body.as_bytes()).unwrap();
        let can = Capabilities::of(ProviderKind::OpenAi, "up", None);
        String::from_utf8(call.encode("up", cache_key, &can, &mut Drops::default()).to_vec()).unwrap()
    }

    #[test]
    fn only_named_members_are_edited() {
        for (body, want) in [
            (
                r#"{"model":"a", "messages":[{"role":"user","content":"h\u0069"}],"x_new":1.00,"seed":12345678901234567890}"#,
                r#"{"model":"up","messages":[{"role":"user","content":"h\u0069"}],"x_new":1.00,"seed":12345678901234567890}"#,
            ),
            (
                r#"{"cache":{"enabled":true},"router":{},"stop":null,"messages":[{"role":"assistant","content":"x","reasoning_content":"r","thinking_blocks":[]}],"model":"a"}"#,
                r#"{"messages":[{"role":"assistant","content":"x"}],"model":"up"}"#,
            ),
        ] {
            assert_eq!(encode(Endpoint::Chat, body, None), want);
        }
    }

    #[test]
    fn the_usage_of_a_stream_is_asked_for() {
        for (options, want) in [
            ("", r#","stream_options":{"include_usage":true}"#),
            (r#","stream_options":{"include_usage":true}"#, r#","stream_options":{"include_usage":true}"#),
            (
                r#","stream_options":{"include_usage":false,"include_obfuscation":false}"#,
                r#","stream_options":{"include_obfuscation":false,"include_usage":true}"#,
            ),
            (r#","stream_options":null"#, r#","stream_options":{"include_usage":true}"#),
        ] {
            let body = format!(r#"{{"model":"a","messages":[{{}}],"stream":true{options}}}"#);
            let want = format!(r#"{{"model":"up","messages":[{{}}],"stream":true{want}}}"#);
            assert_eq!(encode(Endpoint::Chat, &body, None), want, "{options}");
        }
    }

    #[test]
    fn a_key_of_prompt_caches_is_added_where_the_client_names_none() {
        for (given, want) in [
            ("", r#","prompt_cache_key":"00000000000000ff""#),
            (r#","prompt_cache_key":null"#, r#","prompt_cache_key":"00000000000000ff""#),
            (r#","prompt_cache_key":"mine""#, r#","prompt_cache_key":"mine""#),
        ] {
            let body = format!(r#"{{"model":"a","messages":[{{}}]{given}}}"#);
            let want = format!(r#"{{"model":"up","messages":[{{}}]{want}}}"#);
            assert_eq!(encode(Endpoint::Chat, &body, Some(255)), want, "{given}");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (endpoint, body, param) in [
            (Endpoint::Chat, r#"{"messages":[{}]}"#, "model"),
            (Endpoint::Chat, r#"{"model":"","messages":[{}]}"#, "model"),
            (Endpoint::Chat, r#"{"model":1,"messages":[{}]}"#, "model"),
            (Endpoint::Chat, r#"{"model":"a"}"#, "messages"),
            (Endpoint::Chat, r#"{"model":"a","messages":[]}"#, "messages"),
            (Endpoint::Chat, r#"{"model":"a","messages":[1]}"#, "messages"),
            (Endpoint::Chat, r#"{"model":"a","messages":"x"}"#, "messages"),
            (Endpoint::Chat, r#"{"model":"a","messages":[{}],"stream":"yes"}"#, "stream"),
            (Endpoint::Chat, r#"{"model":"a","messages":[{}],"stream_options":{}}"#, "stream_options"),
            (Endpoint::Chat, r#"{"model":"a","messages":[{}],"stream":true,"stream_options":[]}"#, "stream_options"),
            (Endpoint::Chat, r#"{"model":"a","messages":[{}],"max_tokens":-1}"#, "max_tokens"),
            (Endpoint::Chat, r#"{"model":"a","messages":[{}],"max_tokens":18446744073709551616}"#, "max_tokens"),
            (Endpoint::Chat, r#"{"model":"a","messages":[{}],"n":0}"#, "n"),
            (Endpoint::Chat, r#"{"model":"a","messages":[{}],"n":1.5}"#, "n"),
            (Endpoint::Completions, r#"{"model":"a"}"#, "prompt"),
            (Endpoint::Completions, r#"{"model":"a","prompt":{}}"#, "prompt"),
            (Endpoint::Embeddings, r#"{"model":"a","input":[]}"#, "input"),
            (Endpoint::Embeddings, r#"{"model":"a","input":""}"#, "input"),
            (Endpoint::Embeddings, r#"{"model":"a","input":3}"#, "input"),
            (Endpoint::Embeddings, r#"{"model":"a","input":"x","dimensions":0}"#, "dimensions"),
        ] {
            let failure = read_call(endpoint, body.as_bytes()).err().unwrap();
            assert_eq!((failure.code, failure.param.as_deref()), (ErrorCode::InvalidRequest, Some(param)), "{body}");
        }
    }
}
