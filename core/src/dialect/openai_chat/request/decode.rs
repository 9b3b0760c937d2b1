//! A chat request of our front door, read into the neutral form.
//!
//! Wrong values are refused here, with the member that is wrong; what only some providers take is left to their
//! dialects. <https://platform.openai.com/docs/api-reference/chat/create>

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::super::wire::{CacheWire, ContentWire, FunctionWire, MessageWire, PartWire, Text, ToolCallWire, ToolWire};
use crate::chat::{
    CacheControl, Content, Effort, Format, Message, Part, PartKind, Request, Role, Tool, ToolCall, ToolChoice,
};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::Object;

/// Reads a body whose members were checked by [`super::read_call`].
///
/// # Errors
/// A code of status 400, with the path of what is wrong as `param`.
pub(crate) fn decode_request<'a>(object: &'a Object<'a>) -> Outcome<Request<'a>> {
    let fields = Fields(object);
    let mut request = Request::new(object, messages(fields.raw("messages"))?);
    request.max_tokens = fields.get("max_completion_tokens", COUNT)?;
    if request.max_tokens.is_none() {
        request.max_tokens = fields.get("max_tokens", COUNT)?;
    }
    request.temperature = fields.number("temperature", 0, 2)?;
    request.top_p = fields.number("top_p", 0, 1)?;
    request.frequency_penalty = fields.number("frequency_penalty", -2, 2)?;
    request.presence_penalty = fields.number("presence_penalty", -2, 2)?;
    request.seed = fields.get::<i64>("seed", "must be a whole number.")?.map(Number::from);
    request.stop = stop(fields.raw("stop"))?;
    request.n = fields.get("n", COUNT)?.unwrap_or(1);
    request.logprobs = fields.get("logprobs", FLAG)?.unwrap_or(false);
    request.top_logprobs = fields.get("top_logprobs", COUNT)?;
    request.parallel_tool_calls = fields.get("parallel_tool_calls", FLAG)?;
    request.stream = fields.get("stream", FLAG)?.unwrap_or(false);
    request.effort = effort(fields.raw("reasoning_effort"))?;
    request.format = format(fields.raw("response_format"))?;
    request.user = match fields.text("user")? {
        None => fields.text("safety_identifier")?,
        user => user,
    };
    request.service_tier = fields.text("service_tier")?.filter(|tier| tier != "auto");
    tools(&fields, &mut request)?;
    Ok(request)
}

const COUNT: &str = "must be a whole number that is not negative.";
const FLAG: &str = "must be true or false.";
const STRING: &str = "must be a string.";

fn wrong(param: impl Into<Cow<'static, str>>, what: &str) -> Failure {
    let param = param.into();
    Failure::invalid(param.clone(), format!("'{param}' {what}"))
}

struct Fields<'a>(&'a Object<'a>);

impl<'a> Fields<'a> {
    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).filter(|raw| raw.get() != "null")
    }

    fn get<T: DeserializeOwned>(&self, name: &'static str, what: &str) -> Outcome<Option<T>> {
        self.raw(name).map(|raw| serde_json::from_str(raw.get()).map_err(|_| wrong(name, what))).transpose()
    }

    fn text(&self, name: &'static str) -> Outcome<Option<Cow<'a, str>>> {
        self.raw(name).map(|raw| text(raw).ok_or_else(|| wrong(name, STRING))).transpose()
    }

    fn number(&self, name: &'static str, least: i8, most: i8) -> Outcome<Option<Number>> {
        let what = || format!("must be a number from {least} to {most}.");
        let number: Option<Number> = self.get(name, &what())?;
        match number.as_ref().and_then(Number::as_f64) {
            Some(value) if !(f64::from(least)..=f64::from(most)).contains(&value) => Err(wrong(name, &what())),
            _ => Ok(number),
        }
    }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

fn array(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// Reads a struct from an object; serde would take an array too.
fn object_of<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    is_object(raw).then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

fn stop(raw: Option<&RawValue>) -> Outcome<Vec<Cow<'_, str>>> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if let Some(one) = text(raw) {
        return Ok(vec![one]);
    }
    let all: Option<Vec<Text<'_>>> = serde_json::from_str(raw.get()).ok();
    let all = all.ok_or_else(|| wrong("stop", "must be a string or an array of strings."))?;
    Ok(all.into_iter().map(|text| text.0).collect())
}

fn effort(raw: Option<&RawValue>) -> Outcome<Option<Effort>> {
    let Some(raw) = raw else { return Ok(None) };
    let word = text(raw);
    let found = Effort::ALL.into_iter().find(|effort| word.as_deref() == Some(effort.as_str()));
    let what = "must be one of none, minimal, low, medium, high, xhigh and max.";
    found.map(Some).ok_or_else(|| wrong("reasoning_effort", what))
}

fn format(raw: Option<&RawValue>) -> Outcome<Option<Format<'_>>> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(borrow)]
        json_schema: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        name: Option<Text<'a>>,
        #[serde(borrow)]
        description: Option<Text<'a>>,
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
        strict: Option<bool>,
    }
    let Some(raw) = raw else { return Ok(None) };
    let what = "must be an object with a 'type' of text, json_object or json_schema.";
    let wire: Wire<'_> = object_of(raw).ok_or_else(|| wrong("response_format", what))?;
    match &*wire.kind.0 {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => {
            let what = "must be an object with a 'name' and a 'schema'.";
            let bad = || wrong("response_format.json_schema", what);
            let schema: Schema<'_> = wire.json_schema.and_then(object_of).ok_or_else(bad)?;
            if schema.schema.is_some_and(|schema| !is_object(schema)) {
                return Err(wrong("response_format.json_schema.schema", "must be an object."));
            }
            Ok(Some(Format::JsonSchema {
                name: schema.name.ok_or_else(bad)?.0,
                description: schema.description.map(|text| text.0),
                schema: schema.schema,
                strict: schema.strict,
            }))
        }
        _ => Err(wrong("response_format", what)),
    }
}

fn cache(control: Option<&CacheWire<'_>>, breakpoint: Option<&CacheWire<'_>>) -> Option<CacheControl> {
    if let Some(control) = control {
        return Some(match control.ttl.as_ref().map(|ttl| &*ttl.0) {
            Some("1h") => CacheControl::OneHour,
            Some("5m") => CacheControl::FiveMinutes,
            _ => CacheControl::Default,
        });
    }
    breakpoint.map(|breakpoint| match breakpoint.ttl.as_ref().map(|ttl| &*ttl.0) {
        Some("12h" | "24h" | "1h") => CacheControl::OneHour,
        _ => CacheControl::FiveMinutes,
    })
}

fn messages(raw: Option<&RawValue>) -> Outcome<Vec<Message<'_>>> {
    let raw = raw.ok_or_else(|| wrong("messages", "is required."))?;
    let all = array(raw).ok_or_else(|| wrong("messages", "must be an array of messages."))?;
    if all.is_empty() {
        return Err(wrong("messages", "must have at least one message."));
    }
    let mut messages: Vec<Message<'_>> = Vec::with_capacity(all.len());
    for (at, raw) in all.into_iter().enumerate() {
        let message = message(at, raw, &messages)?;
        if message.role == Role::Tool {
            let earlier = answers(&messages, message.tool_call_id.as_deref().unwrap_or_default());
            // Of two results of one call the last counts.
            if let Some(twin) = earlier {
                messages.remove(twin);
            }
        }
        messages.push(message);
    }
    Ok(messages)
}

/// The result for call `id` among those right at the end of the conversation.
fn answers(messages: &[Message<'_>], id: &str) -> Option<usize> {
    let run = messages.iter().rev().take_while(|message| message.role == Role::Tool).count();
    let start = messages.len() - run;
    let twin = messages.iter().skip(start).position(|message| message.tool_call_id.as_deref() == Some(id))?;
    Some(start + twin)
}

fn message<'a>(at: usize, raw: &'a RawValue, before: &[Message<'a>]) -> Outcome<Message<'a>> {
    let place = || format!("messages[{at}]");
    let what = "must be an object with a 'role' and a 'content' of OpenAI's API.";
    let wire: MessageWire<'_> = object_of(raw).ok_or_else(|| wrong(place(), what))?;
    let role = match wire.role.as_ref().map(|role| &*role.0) {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => {
            let what = "must be one of system, developer, user, assistant, tool and function.";
            return Err(wrong(format!("{}.role", place()), what));
        }
    };
    let mut message = Message {
        at,
        role,
        content: content(at, wire.content)?,
        name: wire.name.map(|text| text.0),
        tool_calls: Vec::new(),
        tool_call_id: None,
        refusal: wire.refusal.map(|text| text.0).filter(|text| !text.is_empty()),
        reasoning: wire.reasoning_content.map(|text| text.0).filter(|text| !text.is_empty()),
        thinking: wire.thinking_blocks.unwrap_or_default(),
        cache: cache(wire.cache_control.as_ref(), wire.prompt_cache_breakpoint.as_ref()),
    };
    if let Some(block) = message.thinking.iter().position(|block| !is_object(block)) {
        return Err(wrong(format!("{}.thinking_blocks[{block}]", place()), "must be an object."));
    }
    if wire.audio.is_some() {
        let text = "Audio of earlier answers is not supported by this model's provider.";
        return Err(Failure::new(ErrorCode::UnsupportedContent, text).with_param(format!("{}.audio", place())));
    }
    for (index, call) in wire.tool_calls.unwrap_or_default().into_iter().enumerate() {
        message.tool_calls.push(tool_call(at, index, call)?);
    }
    if let Some(call) = wire.function_call {
        let calls = before.iter().flat_map(|message| &message.tool_calls).count();
        message.tool_calls.push(ToolCall {
            at: 0,
            id: Cow::Owned(format!("call_legacy_{calls}")),
            name: call.name.0,
            arguments: call.arguments.map(|text| text.0).unwrap_or_default(),
        });
    }
    let nothing = matches!(message.content, Content::None);
    match role {
        Role::Tool => message.tool_call_id = Some(call_of(&message, wire.tool_call_id.as_ref(), before)?),
        Role::Assistant => {}
        _ if nothing => return Err(wrong(format!("{}.content", place()), "is required.")),
        _ => {}
    }
    Ok(message)
}

/// The id of the call that a tool's message answers.
fn call_of<'a>(message: &Message<'a>, id: Option<&Text<'a>>, before: &[Message<'a>]) -> Outcome<Cow<'a, str>> {
    let calls = before.iter().rev().find(|message| message.role != Role::Tool).filter(|m| m.role == Role::Assistant);
    let calls = calls.map(|message| message.tool_calls.as_slice()).unwrap_or_default();
    let found = match (id, &message.name) {
        (Some(id), _) => calls.iter().find(|call| call.id == id.0),
        // Legacy functions are matched by name.
        (None, Some(name)) => calls.iter().rev().find(|call| call.name == *name),
        (None, None) => None,
    };
    found.map(|call| call.id.clone()).ok_or_else(|| {
        let text = "Message with role 'tool' must follow an assistant message with a matching tool call.";
        Failure::new(ErrorCode::InvalidToolMessage, text).with_param(format!("messages[{}]", message.at))
    })
}

fn tool_call<'a>(message: usize, at: usize, call: ToolCallWire<'a>) -> Outcome<ToolCall<'a>> {
    let place = format!("messages[{message}].tool_calls[{at}]");
    if call.kind.as_ref().is_some_and(|kind| kind.0 != "function") {
        let text = "Only calls of functions are supported by this model's provider.";
        return Err(Failure::new(ErrorCode::UnsupportedContent, text).with_param(place));
    }
    let function = call.function.ok_or_else(|| wrong(format!("{place}.function"), "is required."))?;
    let id = call.id.map(|id| id.0).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| wrong(format!("{place}.id"), "must be a string that is not empty."))?;
    if function.name.0.is_empty() {
        return Err(wrong(format!("{place}.function.name"), "must be a string that is not empty."));
    }
    Ok(ToolCall { at, id, name: function.name.0, arguments: function.arguments.map(|text| text.0).unwrap_or_default() })
}

fn content<'a>(message: usize, wire: ContentWire<'a>) -> Outcome<Content<'a>> {
    let parts = match wire {
        ContentWire::None => return Ok(Content::None),
        ContentWire::Text(text) => return Ok(Content::Text(text)),
        ContentWire::Parts(parts) => parts,
        ContentWire::Wrong => {
            let place = format!("messages[{message}].content");
            return Err(wrong(place, "must be a string or an array of content parts."));
        }
    };
    let part = |(at, raw): (usize, &'a RawValue)| {
        let place = || format!("messages[{message}].content[{at}]");
        let what = "must be a content part of OpenAI's API: an object with a 'type' and the member that it names.";
        let wire: PartWire<'a> = object_of(raw).ok_or_else(|| wrong(place(), what))?;
        let cache = cache(wire.cache_control.as_ref(), wire.prompt_cache_breakpoint.as_ref());
        let kind = part_kind(wire).ok_or_else(|| wrong(place(), what))?;
        Ok(Part { at, kind, cache })
    };
    parts.into_iter().enumerate().map(part).collect::<Outcome<_>>().map(Content::Parts)
}

fn part_kind(wire: PartWire<'_>) -> Option<PartKind<'_>> {
    Some(match &*wire.kind?.0 {
        "text" => PartKind::Text(wire.text?.0),
        "refusal" => PartKind::Refusal(wire.refusal?.0),
        "image_url" => {
            let image = wire.image_url?;
            PartKind::Image { url: image.url.0, detail: image.detail.map(|text| text.0) }
        }
        "input_audio" => {
            let audio = wire.input_audio?;
            PartKind::Audio { data: audio.data.0, format: audio.format.0 }
        }
        "file" => {
            let file = wire.file?;
            PartKind::File { data: file.file_data.map(|text| text.0), name: file.filename.map(|text| text.0) }
        }
        _ => PartKind::Other,
    })
}

fn tools<'a>(fields: &Fields<'a>, request: &mut Request<'a>) -> Outcome<()> {
    if let Some(raw) = fields.raw("tools") {
        let all = array(raw).ok_or_else(|| wrong("tools", "must be an array of tools."))?;
        for (at, raw) in all.into_iter().enumerate() {
            let what = "must be an object with the type 'function' and a 'function'.";
            let wire: ToolWire<'a> = object_of(raw).ok_or_else(|| wrong(format!("tools[{at}]"), what))?;
            if wire.kind.as_ref().is_some_and(|kind| kind.0 != "function") {
                let text = "Only tools of type 'function' are supported by this model's provider.";
                return Err(Failure::new(ErrorCode::UnsupportedValue, text).with_param(format!("tools[{at}].type")));
            }
            let cache = cache(wire.cache_control.as_ref(), None);
            let function = wire.function.ok_or_else(|| wrong(format!("tools[{at}].function"), "is required."))?;
            request.tools.push(tool(&format!("tools[{at}].function"), function, cache)?);
        }
    }
    if let Some(raw) = fields.raw("functions") {
        request.legacy_functions = true;
        let all = array(raw).ok_or_else(|| wrong("functions", "must be an array of functions."))?;
        for (at, raw) in all.into_iter().enumerate() {
            let what = "must be an object with a 'name'.";
            let wire: FunctionWire<'a> = object_of(raw).ok_or_else(|| wrong(format!("functions[{at}]"), what))?;
            request.tools.push(tool(&format!("functions[{at}]"), wire, None)?);
        }
    }
    let choice = match fields.raw("tool_choice") {
        Some(raw) => Some(tool_choice("tool_choice", raw, request)?),
        None => match fields.raw("function_call") {
            Some(raw) => Some(tool_choice("function_call", raw, request)?),
            None => None,
        },
    };
    // Clients send a choice also where there is nothing to choose from.
    request.tool_choice = choice.filter(|_| !request.tools.is_empty());
    Ok(())
}

fn tool<'a>(place: &str, wire: FunctionWire<'a>, cache: Option<CacheControl>) -> Outcome<Tool<'a>> {
    let name = wire.name.map(|name| name.0).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| wrong(format!("{place}.name"), "must be a string that is not empty."))?;
    let parameters = wire.parameters.filter(|raw| raw.get() != "null");
    if parameters.is_some_and(|raw| !is_object(raw)) {
        return Err(wrong(format!("{place}.parameters"), "must be a JSON Schema, which is an object."));
    }
    let description = wire.description.map(|text| text.0).filter(|text| !text.is_empty());
    Ok(Tool { name, description, parameters, strict: wire.strict, cache })
}

fn tool_choice<'a>(param: &'static str, raw: &'a RawValue, request: &mut Request<'a>) -> Outcome<ToolChoice<'a>> {
    let what = "must be none, auto, required, or an object that names a function or allowed tools.";
    let bad = || wrong(param, what);
    if let Some(word) = text(raw) {
        return match &*word {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            _ => Err(bad()),
        };
    }
    let object: Map<String, Value> = object_of(raw).ok_or_else(bad)?;
    let name_in = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    let known = |name: &str| request.tools.iter().any(|tool| tool.name == name);
    match object.get("type").and_then(Value::as_str) {
        Some("function") | None => {
            let name = object.get("function").and_then(name_in).or_else(|| name_in(&Value::Object(object.clone())));
            let name = name.ok_or_else(bad)?;
            if !request.tools.is_empty() && !known(&name) {
                return Err(wrong(param, "names a function that is not among the tools."));
            }
            Ok(ToolChoice::Named(Cow::Owned(name)))
        }
        Some("allowed_tools") => {
            let allowed = object.get("allowed_tools").unwrap_or(&Value::Null);
            let names = allowed.get("tools").and_then(Value::as_array).ok_or_else(bad)?;
            let names: Option<Vec<String>> =
                names.iter().map(|tool| tool.get("function").and_then(name_in).or_else(|| name_in(tool))).collect();
            let names = names.ok_or_else(bad)?;
            request.tools.retain(|tool| names.iter().any(|name| tool.name == *name));
            match allowed.get("mode").and_then(Value::as_str) {
                Some("auto") | None => Ok(ToolChoice::Auto),
                Some("required") => Ok(ToolChoice::Required),
                Some(_) => Err(bad()),
            }
        }
        Some(_) => {
            let text = "Only a choice of functions is supported by this model's provider.";
            Err(Failure::new(ErrorCode::UnsupportedValue, text).with_param(param))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn check(body: &str, look: impl FnOnce(Outcome<Request<'_>>)) {
        let object = json::object(body.as_bytes()).unwrap();
        look(decode_request(&object));
    }

    #[test]
    fn wrong_values_are_named() {
        for (rest, param) in [
            (r#""messages":[{"role":"user"}]"#, "messages[0].content"),
            (r#""messages":[{"role":"robot","content":"x"}]"#, "messages[0].role"),
            (r#""messages":[{"role":"user","content":1}]"#, "messages[0].content"),
            (r#""messages":[{"role":"user","content":[1]}]"#, "messages[0].content[0]"),
            (r#""messages":[{"role":"user","content":[{"type":"text"}]}]"#, "messages[0].content[0]"),
            (r#""messages":[{"role":"user","content":"x"}],"temperature":3"#, "temperature"),
            (r#""messages":[{"role":"user","content":"x"}],"temperature":"warm""#, "temperature"),
            (r#""messages":[{"role":"user","content":"x"}],"stop":[1]"#, "stop"),
            (r#""messages":[{"role":"user","content":"x"}],"reasoning_effort":"some""#, "reasoning_effort"),
            (r#""messages":[{"role":"user","content":"x"}],"response_format":{"type":"xml"}"#, "response_format"),
            (
                r#""messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":""}}]"#,
                "tools[0].function.name",
            ),
            (
                r#""messages":[{"role":"user","content":"x"}],"tools":[{"type":"custom","custom":{"name":"a"}}]"#,
                "tools[0].type",
            ),
            (r#""messages":[{"role":"tool","tool_call_id":"a","content":"x"}]"#, "messages[0]"),
            (
                r#""messages":[{"role":"assistant","tool_calls":[{"id":"","type":"function","function":{"name":"f","arguments":""}}]}]"#,
                "messages[0].tool_calls[0].id",
            ),
        ] {
            check(&format!(r#"{{"model":"m",{rest}}}"#), |request| {
                assert_eq!(request.err().unwrap().param.as_deref(), Some(param), "{rest}");
            });
        }
    }

    #[test]
    fn tools_of_all_times_are_tools() {
        let body = r#"{"messages":[{"role":"user","content":"x"},
            {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
            {"role":"function","name":"f","content":"1"}],
            "functions":[{"name":"f"},{"name":"g"}],"function_call":{"name":"f"}}"#;
        check(body, |request| {
            let request = request.unwrap();
            assert!(request.legacy_functions);
            assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
            assert_eq!(request.messages[2].tool_call_id, Some("call_legacy_0".into()));
        });
        let body = r#"{"messages":[{"role":"user","content":"x"}],
            "tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],
            "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}}}"#;
        check(body, |request| {
            let request = request.unwrap();
            assert_eq!(request.tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["g"]);
            assert_eq!(request.tool_choice, Some(ToolChoice::Required));
        });
        check(r#"{"messages":[{"role":"user","content":"x"}],"tool_choice":"auto"}"#, |request| {
            assert_eq!(request.unwrap().tool_choice, None);
        });
    }

    #[test]
    fn of_two_results_the_last_counts() {
        let body = r#"{"messages":[{"role":"user","content":"x"},
            {"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}}]},
            {"role":"tool","tool_call_id":"a","content":"1"},{"role":"tool","tool_call_id":"a","content":"2"}]}"#;
        check(body, |request| {
            let request = request.unwrap();
            assert_eq!(request.messages.len(), 3);
            assert!(matches!(&request.messages[2].content, Content::Text(text) if text == "2"));
        });
    }

    #[test]
    fn what_says_nothing_is_not_given() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"n":1,"store":false,"stop":null,
            "modalities": [ "text" ],"response_format":{"type":"text"},"seed":7,"x":1}"#;
        check(body, |request| {
            assert_eq!(request.unwrap().given().collect::<Vec<_>>(), ["model", "messages", "seed", "x"]);
        });
    }
}
