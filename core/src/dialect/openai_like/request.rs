//! The neutral request, written in OpenAI's format as far as a server takes it.

mod messages;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::wire::Writer;
use super::{ChoiceForm, EffortForm, Limit, Profile, StreamForm};
use crate::chat::{Destination, Drops, Effort, Encoded, Expect, Fate, Format, Request, ToolChoice};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json;
use crate::model::{MaxTokensParameter, ThinkingForm};
use crate::provider::ProviderKind;

/// Writes a request for a server that is told the model in `model`.
///
/// # Errors
/// A code of status 400 for what the server cannot take.
pub(crate) fn encode_request(request: &Request<'_>, to: &Destination<'_>) -> Outcome<Encoded> {
    encode_with(request, to, &[("model", to.model)])
}

/// Writes a request that begins with the texts of `head`.
///
/// # Errors
/// As [`encode_request`].
pub(crate) fn encode_with(request: &Request<'_>, to: &Destination<'_>, head: &[(&str, &str)]) -> Outcome<Encoded> {
    let profile = Profile::of(to.kind).ok_or_else(|| Failure::internal("no profile of OpenAI's format"))?;
    let mut body = Body { profile, request, to, out: Writer::new(1024), drops: Drops::default() };
    body.drops.judge(request, |name| fate(profile, request, to, name))?;
    body.out.open(b'{');
    for (name, text) in head {
        body.out.text_member(name, text);
    }
    body.messages()?;
    body.sampling()?;
    body.tools()?;
    body.format()?;
    body.effort();
    body.rest();
    body.out.close(b'}');
    // A server that stops after calls means them; only the call of a named tool ends by `stop` at OpenAI too.
    let free = matches!(request.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::Required));
    let expect = Expect { free_calls: to.kind == ProviderKind::Nim && free, ..Expect::default() };
    Ok(Encoded { body: Bytes::from(body.out.finish()), headers: Vec::new(), drops: body.drops, expect })
}

/// What happens to a parameter.
fn fate(profile: &Profile, request: &Request<'_>, to: &Destination<'_>, name: &str) -> Fate {
    match name {
        // Never a matter of taste, or of the gateway's own.
        "model" | "messages" | "stream" => return Fate::Used,
        // Their absence can be seen in the answer.
        "audio" | "modalities" | "moderation" | "web_search_options" => return Fate::Refused,
        // One limit, whatever it is called; what counts is the name under which it is sent.
        "max_completion_tokens" | "max_tokens" if !denied(to, limit_name(profile, request, to)) => return Fate::Used,
        "max_completion_tokens" | "max_tokens" => return Fate::Dropped,
        _ if denied(to, name) => return Fate::Dropped,
        _ => {}
    }
    let used = match name {
        "frequency_penalty"
        | "function_call"
        | "functions"
        | "logprobs"
        | "max_completion_tokens"
        | "max_tokens"
        | "n"
        | "presence_penalty"
        | "response_format"
        | "seed"
        | "stop"
        | "stream_options"
        | "tool_choice"
        | "tools"
        | "top_logprobs" => true,
        "temperature" => to.can.sampling,
        "top_p" => to.can.sampling && (to.can.top_p_with_temperature || request.temperature.is_none()),
        "reasoning_effort" => effort(profile, request, to).is_some(),
        "service_tier" => request.service_tier.as_deref().is_some_and(|tier| profile.tiers.contains(&tier)),
        // It stands for the user where none is named.
        "safety_identifier" => profile.written.contains(&"user") && request.raw("user").is_none(),
        // Members of the gateway and hints without effect on the answer.
        "cache" | "cache_control" | "input_type" | "prompt_cache_breakpoint" | "router" => true,
        name => profile.written.contains(&name) || profile.copied.contains(&name),
    };
    if used { Fate::Used } else { Fate::Dropped }
}

/// Whether the tenant said that the model refuses a parameter.
fn denied(to: &Destination<'_>, name: &str) -> bool {
    to.can.unsupported_parameters.iter().any(|refused| refused == name)
}

/// What the limit on tokens is called.
fn limit_name(profile: &Profile, request: &Request<'_>, to: &Destination<'_>) -> &'static str {
    match (to.can.max_tokens_parameter, profile.limit) {
        (Some(MaxTokensParameter::MaxTokens), _) | (None, Limit::MaxTokens) => "max_tokens",
        (Some(MaxTokensParameter::MaxCompletionTokens), _) | (None, Limit::MaxCompletionTokens) => {
            "max_completion_tokens"
        }
        (None, Limit::AsGiven) if request.raw("max_completion_tokens").is_some() => "max_completion_tokens",
        (None, Limit::AsGiven) => "max_tokens",
    }
}

/// How much to reason, in the server's words. `None` inside leaves the word out, without loss.
fn effort(profile: &Profile, request: &Request<'_>, to: &Destination<'_>) -> Option<Option<&'static str>> {
    let effort = request.effort?;
    if profile.effort == EffortForm::ByModel && to.can.thinking != ThinkingForm::Effort {
        return None;
    }
    match (effort, profile.effort) {
        (Effort::None, EffortForm::WithNone) => Some(Some("none")),
        (Effort::None, EffortForm::WithInclude) => Some(None),
        (Effort::None, EffortForm::ByModel) => None,
        (Effort::Minimal | Effort::Low, _) => Some(Some("low")),
        (Effort::Medium, _) => Some(Some("medium")),
        (Effort::High | Effort::XHigh | Effort::Max, _) => Some(Some("high")),
    }
}

/// A value that the provider type, or this model of it, cannot take.
fn unsupported(to: &Destination<'_>, param: &'static str, what: &str) -> Failure {
    let message = format!("{what} is not supported by provider type '{}'.", to.kind.as_str());
    Failure::new(ErrorCode::UnsupportedValue, message).with_param(param)
}

/// A body that is being written.
struct Body<'r, 'a> {
    profile: &'static Profile,
    request: &'r Request<'a>,
    to: &'r Destination<'r>,
    out: Writer,
    drops: Drops,
}

impl Body<'_, '_> {
    /// Whether a parameter is to be written, if it is given.
    fn takes(&self, name: &str) -> bool {
        fate(self.profile, self.request, self.to, name) == Fate::Used
    }

    /// Copies a member as the client wrote it, unless it says nothing: a model that refuses a parameter would refuse
    /// its default too.
    fn copy(&mut self, name: &str) {
        let says = self.request.given().any(|given| given == name);
        if let Some(raw) = self.request.raw(name).filter(|_| says && self.takes(name)) {
            self.out.raw_member(name, raw.get());
        }
    }

    fn sampling(&mut self) -> Outcome<()> {
        let request = self.request;
        if let Some((name, tokens)) = self.limit() {
            self.out.raw_member(name, &tokens.to_string());
        }
        for name in ["temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"] {
            self.copy(name);
        }
        if self.profile.stop_array && self.takes("stop") {
            self.stops();
        } else {
            self.copy("stop");
        }
        if request.n > 1 {
            if !self.to.can.multiple_choices || denied(self.to, "n") {
                return Err(unsupported(self.to, "n", "Parameter 'n' greater than 1"));
            }
            self.copy("n");
        }
        if request.logprobs {
            self.copy("logprobs");
            self.copy("top_logprobs");
        }
        Ok(())
    }

    /// The limit on tokens and its name.
    fn limit(&self) -> Option<(&'static str, u64)> {
        let tokens = self.request.max_tokens.or(self.to.can.default_max_tokens)?;
        let name = limit_name(self.profile, self.request, self.to);
        Some((name, tokens)).filter(|_| !denied(self.to, name))
    }

    /// Stop sequences as an array, also a single one.
    fn stops(&mut self) {
        if self.request.stop.is_empty() {
            return;
        }
        self.out.name("stop");
        self.out.open(b'[');
        for stop in &self.request.stop {
            self.out.string(stop);
        }
        self.out.close(b']');
    }

    fn tools(&mut self) -> Outcome<()> {
        let request = self.request;
        if request.tools.is_empty() || denied(self.to, "tools") {
            return Ok(());
        }
        self.out.name("tools");
        self.out.open(b'[');
        for tool in &request.tools {
            self.out.open(b'{');
            self.out.text_member("type", "function");
            self.out.name("function");
            self.out.open(b'{');
            self.out.text_member("name", &tool.name);
            if let Some(description) = &tool.description {
                self.out.text_member("description", description);
            }
            if let Some(parameters) = tool.parameters {
                self.out.raw_member("parameters", parameters.get());
            }
            match tool.strict {
                Some(strict) if self.profile.strict => {
                    self.out.raw_member("strict", if strict { "true" } else { "false" });
                }
                Some(true) => self.drops.note("tools.strict"),
                Some(false) | None => {}
            }
            self.out.close(b'}');
            self.out.close(b'}');
        }
        self.out.close(b']');
        if self.profile.written.contains(&"parallel_tool_calls") {
            self.copy("parallel_tool_calls");
        }
        self.choice()
    }

    fn choice(&mut self) -> Outcome<()> {
        let Some(choice) = &self.request.tool_choice else { return Ok(()) };
        let forced = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
        if forced && (!self.to.can.forced_tool_choice || denied(self.to, "tool_choice")) {
            return Err(unsupported(self.to, "tool_choice", "A tool choice that forces a call"));
        }
        if denied(self.to, "tool_choice") {
            return Ok(());
        }
        let word = match choice {
            ToolChoice::None => "none",
            ToolChoice::Auto => "auto",
            ToolChoice::Required => "required",
            ToolChoice::Named(name) => {
                self.out.name("tool_choice");
                self.out.open(b'{');
                self.out.text_member("type", "function");
                self.out.name("function");
                self.out.open(b'{');
                self.out.text_member("name", name);
                self.out.close(b'}');
                self.out.close(b'}');
                return Ok(());
            }
        };
        // The name is singular, whatever some clients of watsonx.ai believe.
        let name = match self.profile.choice {
            ChoiceForm::One => "tool_choice",
            ChoiceForm::Split => "tool_choice_option",
        };
        self.out.text_member(name, word);
        Ok(())
    }

    fn format(&mut self) -> Outcome<()> {
        let Some(format) = &self.request.format else { return Ok(()) };
        if denied(self.to, "response_format") {
            return Err(unsupported(self.to, "response_format", "A response format other than text"));
        }
        match format {
            Format::JsonObject => self.out.raw_member("response_format", r#"{"type":"json_object"}"#),
            Format::JsonSchema { .. } if !self.to.can.structured_output => {
                return Err(unsupported(self.to, "response_format", "A response format of type 'json_schema'"));
            }
            Format::JsonSchema { name, description, schema, strict } => {
                self.out.name("response_format");
                self.out.open(b'{');
                self.out.text_member("type", "json_schema");
                self.out.name("json_schema");
                self.out.open(b'{');
                self.out.text_member("name", name);
                if let Some(description) = description {
                    self.out.text_member("description", description);
                }
                if let Some(schema) = schema {
                    self.out.raw_member("schema", schema.get());
                }
                if let Some(strict) = strict {
                    self.out.raw_member("strict", if *strict { "true" } else { "false" });
                }
                self.out.close(b'}');
                self.out.close(b'}');
            }
        }
        Ok(())
    }

    fn effort(&mut self) {
        let Some(word) = effort(self.profile, self.request, self.to).filter(|_| self.takes("reasoning_effort")) else {
            return;
        };
        if let Some(word) = word {
            self.out.text_member("reasoning_effort", word);
        }
        // What the client says itself is copied with its other members.
        if self.profile.effort == EffortForm::WithInclude && self.request.raw("include_reasoning").is_none() {
            self.out.raw_member("include_reasoning", if word.is_some() { "true" } else { "false" });
        }
    }

    fn rest(&mut self) {
        let profile = self.profile;
        let names_user = profile.written.contains(&"user") && !denied(self.to, "user");
        if let Some(user) = self.request.user.as_ref().filter(|_| names_user) {
            self.out.text_member("user", user);
        }
        if let Some(tier) = self.request.service_tier.as_ref().filter(|_| self.takes("service_tier")) {
            self.out.text_member("service_tier", tier);
        }
        for name in profile.copied {
            self.copy(name);
        }
        self.stream();
    }

    fn stream(&mut self) {
        if !self.request.stream {
            return;
        }
        let options = self.request.raw("stream_options").and_then(|raw| json::object(raw.get().as_bytes()).ok());
        let option = |name: &str| options.as_ref().and_then(|options| options.get(name)).map(RawValue::get);
        if option("include_obfuscation").is_some_and(|raw| raw != "null") {
            self.drops.note("stream_options.include_obfuscation");
        }
        let asked = match self.profile.stream {
            StreamForm::Path => return,
            StreamForm::Flag => option("include_usage") == Some("true"),
            StreamForm::FlagAndUsage => true,
        };
        self.out.raw_member("stream", "true");
        if asked && !denied(self.to, "stream_options") {
            self.out.raw_member("stream_options", r#"{"include_usage":true}"#);
        }
    }
}

#[cfg(test)]
mod tests;
