//! Tools, the choice among them, and the forms of answers that a tool stands for.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::names::Names;
use super::{takes, value_refused};
use crate::chat::{Destination, Drops, Format, JSON_TOOL, Request, Tool, ToolChoice};
use crate::dialect::bedrock_converse::wire::Json;
use crate::error::Outcome;
use crate::json::{self, Edit};
use crate::model::Family;

/// What is sent of tools and formats.
pub(super) struct Plan<'r> {
    /// The client's tools are sent.
    tools: bool,
    /// Tools are made up of the history, which Converse refuses without any.
    made_up: bool,
    choice: Choice<'r>,
    /// The tool that stands for a response format is sent.
    json: Option<&'r Format<'r>>,
    /// The format goes to the model itself.
    pub(super) native_format: Option<&'r Format<'r>>,
    /// The system is told to answer with JSON.
    pub(super) json_instruction: bool,
    /// Calls must be withheld from the client.
    pub(super) no_tools: bool,
}

/// `toolChoice`.
enum Choice<'r> {
    Unsaid,
    Auto,
    Any,
    Tool(&'r str),
}

impl Plan<'_> {
    /// Whether the model must call a tool.
    pub(super) fn forces(&self) -> bool {
        matches!(self.choice, Choice::Any | Choice::Tool(_))
    }

    /// The tool whose arguments are the answer.
    pub(super) fn json_tool(&self) -> Option<&'static str> {
        self.json.map(|_| JSON_TOOL)
    }
}

/// Decides it.
///
/// # Errors
/// `unsupported_value` where a tool or a form must be forced and the model cannot be.
pub(super) fn plan<'r>(request: &'r Request<'r>, to: &Destination<'_>) -> Outcome<Plan<'r>> {
    let history = request.has_tool_history();
    let tools = !request.tools.is_empty() && takes(to, "tools");
    let forbidden = request.tool_choice == Some(ToolChoice::None);
    let mut plan = Plan {
        // There is no choice `none`; https://github.com/boto/boto3/issues/4687
        tools: tools && (!forbidden || history),
        made_up: !tools && history,
        choice: Choice::Unsaid,
        json: None,
        native_format: None,
        json_instruction: false,
        no_tools: history && (forbidden || !tools),
    };
    if tools {
        plan.choice = match &request.tool_choice {
            None | Some(ToolChoice::None) => Choice::Unsaid,
            Some(ToolChoice::Auto) => Choice::Auto,
            Some(ToolChoice::Required) => Choice::Any,
            Some(ToolChoice::Named(name)) => Choice::Tool(name),
        };
    }
    if plan.forces() && !to.can.forced_tool_choice {
        let param = if request.raw("tool_choice").is_some() { "tool_choice" } else { "function_call" };
        return Err(value_refused(param, "This model does not support a forced tool."));
    }
    let format = request.format.as_ref().filter(|_| takes(to, "response_format"));
    match format {
        None => {}
        Some(Format::JsonObject | Format::JsonSchema { schema: None, .. }) => plan.json_instruction = true,
        Some(format) if to.can.structured_output => plan.native_format = Some(format),
        Some(_) if !to.can.forced_tool_choice => {
            return Err(value_refused(
                "response_format",
                "This model does not support a response format with a JSON schema.",
            ));
        }
        // A call that the client demands comes before the form of an answer.
        Some(_) if plan.forces() => {}
        Some(format) => {
            let taken = |tool: &Tool<'_>| tool.name == JSON_TOOL;
            if request.tools.iter().any(taken) {
                let text =
                    "The tool name 'json_output' is taken by the response format with this model; rename the tool.";
                return Err(value_refused("response_format", text));
            }
            plan.choice = if plan.tools && !plan.no_tools { Choice::Any } else { Choice::Tool(JSON_TOOL) };
            plan.json = Some(format);
        }
    }
    Ok(plan)
}

/// Writes `toolConfig`, if there are tools to send.
pub(super) fn write(
    body: &mut Json,
    request: &Request<'_>,
    to: &Destination<'_>,
    names: &Names<'_>,
    plan: &Plan<'_>,
    drops: &mut Drops,
) {
    let mut list = Json::default();
    if plan.tools {
        for tool in &request.tools {
            let name = names.theirs(&tool.name);
            let strict = tool.strict == Some(true) && to.can.structured_output;
            if tool.strict == Some(true) && !strict {
                drops.note("tools.strict");
            }
            spec(&mut list, name, tool.description.as_deref(), tool.parameters, strict);
            // Nova caches messages and system texts only:
            // https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
            match tool.cache {
                None => {}
                Some(_) if to.can.family == Family::Nova => drops.note("cache_control"),
                Some(cache) => super::messages::cache_point(&mut list, cache, to, drops),
            }
        }
    }
    if plan.made_up {
        let calls = request.messages.iter().flat_map(|message| &message.tool_calls);
        let mut seen = BTreeSet::new();
        for call in calls.filter(|call| seen.insert(&*call.name)) {
            spec(&mut list, names.theirs(&call.name), None, None, false);
        }
    }
    if let Some(Format::JsonSchema { description, schema, .. }) = plan.json {
        let description = description.as_deref().filter(|text| !text.is_empty());
        let description = description.unwrap_or("Gives the answer. Always call this tool to answer.");
        spec(&mut list, JSON_TOOL, Some(description), *schema, false);
    }
    if list.is_empty() {
        return;
    }
    body.name("toolConfig").raw("{").name("tools").raw("[").splice(&list).raw("]");
    match plan.choice {
        Choice::Unsaid => {}
        Choice::Auto => {
            body.name("toolChoice").raw(r#"{"auto":{}}"#);
        }
        Choice::Any => {
            body.name("toolChoice").raw(r#"{"any":{}}"#);
        }
        Choice::Tool(name) => {
            body.name("toolChoice").raw("{").name("tool").raw("{").name("name").string(names.theirs(name)).raw("}}");
        }
    }
    body.raw("}");
}

/// Writes one tool. A description of no characters is refused, so there is none then.
fn spec(list: &mut Json, name: &str, description: Option<&str>, schema: Option<&RawValue>, strict: bool) {
    list.raw("{").name("toolSpec").raw("{").name("name").string(name);
    if let Some(description) = description {
        list.name("description").string(description);
    }
    list.name("inputSchema").raw("{").name("json").raw(&root_object(schema)).raw("}");
    if strict {
        list.name("strict").raw("true");
    }
    list.raw("}}");
}

/// A schema that says `type: object` at its root, as Converse wants, and not which draft it follows.
fn root_object(schema: Option<&RawValue>) -> Cow<'_, str> {
    let Some(schema) = schema else { return Cow::Borrowed(r#"{"type":"object","properties":{}}"#) };
    let Ok(object) = json::object(schema.get().as_bytes()) else { return Cow::Borrowed(schema.get()) };
    let typed = object.get("type").is_some_and(|raw| raw.get() != "null");
    if typed && object.get("$schema").is_none() {
        return Cow::Borrowed(schema.get());
    }
    let unwanted = |name: &str| name == "$schema" || (name == "type" && !typed);
    let edit = |name: &str, _: &RawValue| if unwanted(name) { Edit::Drop } else { Edit::Keep };
    let append: &[(&str, &str)] = if typed { &[] } else { &[("type", "\"object\"")] };
    match String::from_utf8(json::rewrite(&object, edit, append)) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(schema.get()),
    }
}
