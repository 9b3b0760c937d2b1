//! The client's request, and what goes up of it.

use bytes::Bytes;
use serde_json::Number;
use serde_json::value::RawValue;

use crate::chat::{Destination, Drops, Encoded, Expect, Fate, says_nothing, unsupported};
use crate::embed::{Empty, Inputs};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::{self, Edit, Object};
use crate::provider::ProviderKind;

/// A request for text completions, read as far as a provider of another format needs it. Absent and `null` are the same.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The prompts.
    pub prompts: Inputs<'a>,
    /// Most tokens of each text.
    pub max_tokens: Option<u64>,
    /// 0 to 2.
    pub temperature: Option<Number>,
    /// 0 to 1.
    pub top_p: Option<Number>,
    /// A whole number.
    pub seed: Option<i64>,
    /// Stop sequences, JSON strings that are not empty.
    pub stop: Vec<&'a RawValue>,
    /// Whether the prompt is to be repeated before its text.
    pub echo: bool,
    /// Whether the answer is streamed.
    pub stream: bool,
    object: &'a Object<'a>,
}

/// Reads a body whose members were checked by `openai_chat::read_call`.
///
/// # Errors
/// `invalid_request`, with the path of what is wrong as `param`.
pub(crate) fn decode_request<'a>(object: &'a Object<'a>) -> Outcome<Request<'a>> {
    let raw = |name: &str| object.get(name).filter(|raw| raw.get() != "null");
    let flag = |name: &'static str| match raw(name).map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(wrong(name, "must be true or false.")),
    };
    let number = |name: &'static str, most: u8| {
        let Some(raw) = raw(name) else { return Ok(None) };
        let number: Option<Number> = serde_json::from_str(raw.get()).ok();
        let fits = |number: &Number| number.as_f64().is_some_and(|value| (0.0..=f64::from(most)).contains(&value));
        let what = || wrong(name, &format!("must be a number from 0 to {most}."));
        number.filter(fits).map(Some).ok_or_else(what)
    };
    let max_tokens = match raw("max_tokens") {
        None => None,
        Some(raw) => {
            let count = raw.get().parse().map_err(|_| wrong("max_tokens", "must be a whole number."))?;
            Some(count)
        }
    };
    let seed = match raw("seed") {
        None => None,
        Some(raw) => Some(raw.get().parse().map_err(|_| wrong("seed", "must be a whole number."))?),
    };
    let prompts = raw("prompt").ok_or_else(|| wrong("prompt", "is required."))?;
    Ok(Request {
        prompts: Inputs::read("prompt", prompts, Empty::Taken)?,
        max_tokens,
        temperature: number("temperature", 2)?,
        top_p: number("top_p", 1)?,
        seed,
        stop: stop(raw("stop"))?,
        echo: flag("echo")?,
        stream: flag("stream")?,
        object,
    })
}

fn stop(raw: Option<&RawValue>) -> Outcome<Vec<&RawValue>> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let is_text = |raw: &&RawValue| raw.get().starts_with('"');
    let all: Option<Vec<&RawValue>> =
        if is_text(&raw) { Some(vec![raw]) } else { serde_json::from_str(raw.get()).ok() };
    let all = all.filter(|all| all.iter().all(is_text));
    let mut all = all.ok_or_else(|| wrong("stop", "must be a string or an array of strings."))?;
    all.retain(|stop| stop.get() != "\"\"");
    Ok(all)
}

fn wrong(param: &'static str, what: &str) -> Failure {
    Failure::invalid(param, format!("'{param}' {what}"))
}

/// Members that Cerebras takes: those of its SDK 1.91. `suffix` is in it, too, and refused.
const CEREBRAS: &[&str] = &[
    "best_of",
    "echo",
    "frequency_penalty",
    "grammar_root",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "min_tokens",
    "n",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_format",
    "return_raw_tokens",
    "seed",
    "stop",
    "temperature",
    "top_p",
    "user",
];

/// Members that NIM's servers take in every configuration.
const NIM: &[&str] = &[
    "echo",
    "frequency_penalty",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "temperature",
    "top_p",
];

/// What watsonx.ai can express, or the gateway itself does.
const WATSONX: &[&str] = &["echo", "max_tokens", "seed", "stop", "temperature", "top_p"];

impl<'a> Request<'a> {
    /// What is left out for a provider.
    ///
    /// # Errors
    /// `unsupported_parameter` or `unsupported_value` for what the client could miss in its answer.
    pub(crate) fn judge(&self, to: &Destination<'_>) -> Outcome<Drops> {
        let mut drops = Drops::default();
        for (name, _) in self.object.iter().filter(|(name, raw)| !is_nothing(name, raw.get())) {
            match fate(name, to) {
                Fate::Used => {}
                Fate::Dropped => drops.note(name.to_owned()),
                // Both stand for a number of texts, and 1 is nothing.
                Fate::Refused if matches!(name, "n" | "best_of") => {
                    let message = format!(
                        "Parameter '{name}' greater than 1 is not supported by provider type '{}'.",
                        to.kind.as_str()
                    );
                    return Err(Failure::new(ErrorCode::UnsupportedValue, message).with_param(name.to_owned()));
                }
                Fate::Refused => return Err(unsupported(name.to_owned())),
            }
        }
        Ok(drops)
    }
}

fn is_nothing(name: &str, raw: &str) -> bool {
    match name {
        "best_of" => raw == "1" || raw == "null",
        "echo" => raw == "false" || raw == "null",
        "suffix" => raw == "\"\"" || raw == "null",
        _ => says_nothing(name, raw),
    }
}

fn fate(name: &str, to: &Destination<'_>) -> Fate {
    let denied = to.can.unsupported_parameters.iter().any(|denied| denied == name);
    let taken = match to.kind {
        ProviderKind::Cerebras => CEREBRAS,
        ProviderKind::Nim => NIM,
        _ => WATSONX,
    };
    match name {
        // `cache` and `router` are the gateway's own.
        "model" | "prompt" | "stream" | "stream_options" | "cache" | "router" => Fate::Used,
        "suffix" => Fate::Refused,
        "n" if denied || !to.can.multiple_choices || !taken.contains(&"n") => Fate::Refused,
        "best_of" if denied || !taken.contains(&"best_of") => Fate::Refused,
        "logit_bias" if to.kind == ProviderKind::WatsonxAi => Fate::Refused,
        "temperature" | "top_p" if !to.can.sampling => Fate::Dropped,
        _ if denied || !taken.contains(&name) => Fate::Dropped,
        _ => Fate::Used,
    }
}

/// The request for Cerebras or NIM: the client's own members, as far as they are taken there.
///
/// # Errors
/// As [`Request::judge`]; token ids go to Cerebras only.
pub(crate) fn encode_request(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Encoded> {
    if to.kind != ProviderKind::Cerebras {
        request.prompts.texts("prompt", to.kind)?;
    }
    let drops = request.judge(to)?;
    let model = serde_json::Value::from(to.model).to_string();
    let edit = |name: &str, raw: &RawValue| match name {
        "model" => Edit::Set(model.clone()),
        "stream_options" | "cache" | "router" => Edit::Drop,
        // A server that does not know a parameter would stumble over its default, too.
        _ if is_nothing(name, raw.get()) || fate(name, to) != Fate::Used => Edit::Drop,
        _ => Edit::Keep,
    };
    let denied = to.can.unsupported_parameters.iter().any(|denied| denied == "stream_options");
    // Calls are metered. Cerebras counts in the last chunk, asked or not.
    let ask = request.stream && !denied && (to.kind == ProviderKind::Nim || request.wants_usage());
    let extra: &[(&str, &str)] = if ask { &[("stream_options", r#"{"include_usage":true}"#)] } else { &[] };
    let body = json::rewrite(request.object, edit, extra);
    Ok(Encoded { body: Bytes::from(body), headers: Vec::new(), drops, expect: Expect::default() })
}

impl Request<'_> {
    fn wants_usage(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Options {
            include_usage: Option<bool>,
        }
        let raw = self.object.get("stream_options").filter(|raw| raw.get().starts_with('{'));
        let options: Option<Options> = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        options.is_some_and(|options| options.include_usage == Some(true))
    }
}
