//! The conversation: system texts, and turns of user and model that take turns.

use serde_json::value::RawValue;

use super::content_refused;
use super::documents::{self, Titles};
use super::names::{self, Names};
use crate::chat::{
    CacheControl, Content, DataUrl, Destination, Drops, ImageKind, Message, Part, PartKind, Request, Role, Thought,
    ToolCall, data_url,
};
use crate::dialect::bedrock_converse::wire::Json;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json;
use crate::limits;
use crate::model::{Family, ThinkingForm};

/// What the system is told where the client wants any JSON object.
const JSON_INSTRUCTION: &str = "Answer with one JSON object and nothing else: no text around it, no code fence.";

/// What the user says beside documents, which want a text: <https://github.com/BerriAI/litellm/issues/20426>
const BESIDE_DOCUMENTS: &str = "See attached.";

/// What the model says between results of tools and a text of the user, where it refuses the two in one turn.
const BETWEEN_RESULTS_AND_TEXT: &str = "Understood.";

/// Writes `system` and `messages`.
///
/// # Errors
/// A code of status 400 for content that the provider or the model cannot take.
pub(super) fn write(
    body: &mut Json,
    request: &Request<'_>,
    to: &Destination<'_>,
    names: &Names<'_>,
    json_instruction: bool,
    drops: &mut Drops,
) -> Outcome<()> {
    let mut system = Json::default();
    for message in request.messages.iter().filter(|message| is_system(message)) {
        system_texts(&mut system, message, to, drops)?;
    }
    if json_instruction {
        text_block(&mut system, JSON_INSTRUCTION);
    }
    let mut spoken = request.messages.iter().filter(|message| !is_system(message));
    match spoken.clone().next() {
        Some(Message { role: Role::User, .. }) => {}
        Some(message) => {
            let param = format!("messages[{}]", message.at);
            let text = format!("'{param}' must be a message of the user: provider type 'bedrock' begins with one.");
            return Err(Failure::invalid(param, text));
        }
        None => return Err(Failure::invalid("messages", "'messages' must have a message of the user.")),
    }
    if to.can.system_role && !system.is_empty() {
        body.name("system").raw("[").splice(&system).raw("]");
    }
    body.name("messages").raw("[");
    let mut turns = Turns { body, to, names, drops, titles: Titles::default(), turn: None };
    if !to.can.system_role && !system.is_empty() {
        turns.block(Side::User, What::Text).splice(&system);
    }
    let last = spoken.next_back().map(|message| message.at);
    for message in request.messages.iter().filter(|message| !is_system(message)) {
        turns.message(message, last == Some(message.at))?;
    }
    turns.close();
    body.raw("]");
    Ok(())
}

/// Whether the model's last turn calls tools and does not begin with its thinking: with a budget that is refused.
pub(super) fn lacks_thinking(request: &Request<'_>) -> bool {
    let last = request.messages.iter().rev().find(|message| message.role == Role::Assistant);
    last.is_some_and(|message| {
        !message.tool_calls.is_empty() && !message.thinking.iter().any(|raw| Thought::read(raw).is_some())
    })
}

/// Marks the end of what was just written, unless it is marked; noted if the model does not cache. Nova knows no times to live.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>
pub(super) fn cache_point(out: &mut Json, cache: CacheControl, to: &Destination<'_>, drops: &mut Drops) {
    const DEFAULT: &str = r#"{"cachePoint":{"type":"default"}}"#;
    const FIVE_MINUTES: &str = r#"{"cachePoint":{"type":"default","ttl":"5m"}}"#;
    const ONE_HOUR: &str = r#"{"cachePoint":{"type":"default","ttl":"1h"}}"#;
    if !to.can.prompt_caching {
        drops.note("cache_control");
        return;
    }
    out.cache_point(match cache {
        _ if to.can.family == Family::Nova => DEFAULT,
        CacheControl::Default => DEFAULT,
        CacheControl::FiveMinutes => FIVE_MINUTES,
        CacheControl::OneHour => ONE_HOUR,
    });
}

fn is_system(message: &Message<'_>) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn system_texts(out: &mut Json, message: &Message<'_>, to: &Destination<'_>, drops: &mut Drops) -> Outcome<()> {
    if message.name.is_some() {
        drops.note("messages.name");
    }
    let mut written = false;
    match &message.content {
        Content::None => {}
        Content::Text(text) => written = some_text(out, text),
        Content::Parts(parts) => {
            for part in parts {
                let (PartKind::Text(text) | PartKind::Refusal(text)) = &part.kind else {
                    let text = "System and developer messages must be text for provider type 'bedrock'.";
                    return Err(content_refused(place(message, part), text));
                };
                written = some_text(out, text);
                if let Some(cache) = part.cache.filter(|_| written) {
                    cache_point(out, cache, to, drops);
                }
            }
        }
    }
    if let Some(cache) = message.cache.filter(|_| written) {
        cache_point(out, cache, to, drops);
    }
    Ok(())
}

fn place(message: &Message<'_>, part: &Part<'_>) -> String {
    format!("messages[{}].content[{}]", message.at, part.at)
}

/// Whether there was a text to write: one of white space alone is refused, and says nothing.
fn some_text(out: &mut Json, text: &str) -> bool {
    let some = !text.trim().is_empty();
    if some {
        text_block(out, text);
    }
    some
}

fn text_block(out: &mut Json, text: &str) {
    out.raw("{").name("text").string(text).raw("}");
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    User,
    Model,
}

/// What a block is, as far as its neighbours depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Text,
    Document,
    Result,
    Other,
}

/// The turn that is being written.
struct Turn {
    side: Side,
    text: bool,
    document: bool,
    results: bool,
}

/// Writes turns. Neighbours of one side become one turn.
struct Turns<'w, 'r> {
    body: &'w mut Json,
    to: &'w Destination<'r>,
    names: &'w Names<'r>,
    drops: &'w mut Drops,
    titles: Titles,
    turn: Option<Turn>,
}

impl Turns<'_, '_> {
    /// Where to write the next block.
    fn block(&mut self, side: Side, what: What) -> &mut Json {
        if self.turn.as_ref().is_some_and(|turn| turn.side != side) {
            self.close();
        }
        // Some models refuse results beside anything else: https://github.com/BerriAI/litellm/issues/6053
        let mixed = |turn: &Turn| turn.results && what != What::Result && !self.to.can.text_beside_tool_results;
        if self.turn.as_ref().is_some_and(mixed) {
            self.close();
            self.begin(Side::Model);
            text_block(self.body, BETWEEN_RESULTS_AND_TEXT);
            self.close();
        }
        if self.turn.is_none() {
            self.begin(side);
        }
        if let Some(turn) = &mut self.turn {
            turn.text |= what == What::Text;
            turn.document |= what == What::Document;
            turn.results |= what == What::Result;
        }
        self.body
    }

    fn begin(&mut self, side: Side) {
        let role = match side {
            Side::User => "user",
            Side::Model => "assistant",
        };
        self.body.raw("{").name("role").plain(role).name("content").raw("[");
        self.turn = Some(Turn { side, text: false, document: false, results: false });
    }

    fn close(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        if turn.document && !turn.text {
            text_block(self.body, BESIDE_DOCUMENTS);
        }
        self.body.raw("]}");
    }

    /// Marks the end of what was just written, if the client and the model want it.
    fn mark(&mut self, cache: Option<CacheControl>) {
        let (Some(cache), Some(turn)) = (cache, &self.turn) else { return };
        // https://github.com/BerriAI/litellm/issues/17479
        if self.to.can.family == Family::Nova && turn.side == Side::User && turn.results {
            self.drops.note("cache_control");
            return;
        }
        cache_point(self.body, cache, self.to, self.drops);
    }

    fn message(&mut self, message: &Message<'_>, last: bool) -> Outcome<()> {
        if message.name.is_some() && message.role != Role::Tool {
            self.drops.note("messages.name");
        }
        match message.role {
            Role::User => self.user(message)?,
            Role::Assistant => self.model(message, last)?,
            Role::Tool => self.result(message)?,
            Role::System | Role::Developer => return Ok(()),
        }
        self.mark(message.cache);
        Ok(())
    }

    fn user(&mut self, message: &Message<'_>) -> Outcome<()> {
        let mut written = false;
        match &message.content {
            Content::None => {}
            Content::Text(text) => written = self.text(Side::User, text),
            Content::Parts(parts) => {
                for part in parts {
                    if self.part(message, part)? {
                        written = true;
                        self.mark(part.cache);
                    }
                }
            }
        }
        if written {
            return Ok(());
        }
        let param = format!("messages[{}]", message.at);
        let text = format!("'{param}' must have content that is not blank.");
        Err(Failure::invalid(param, text))
    }

    /// Whether there was a text to write.
    fn text(&mut self, side: Side, text: &str) -> bool {
        let some = !text.trim().is_empty();
        if some {
            text_block(self.block(side, What::Text), text);
        }
        some
    }

    /// Writes a part of the user's content; whether there was anything to write.
    fn part(&mut self, message: &Message<'_>, part: &Part<'_>) -> Outcome<bool> {
        let refused = |what| Err(content_refused(place(message, part), what));
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => return Ok(self.text(Side::User, text)),
            PartKind::Image { url, detail } => {
                let json = self.image(message, part, url, detail.as_deref())?;
                self.block(Side::User, What::Other).splice(&json);
            }
            PartKind::Audio { .. } if !self.to.can.audio => {
                return refused("Content part type 'input_audio' is not supported by provider type 'bedrock'.");
            }
            PartKind::Audio { data, format } => {
                let place = format!("{}.input_audio", place(message, part));
                if DataUrl::read(&format!("data:;base64,{data}")).is_none() {
                    return Err(Failure::invalid(format!("{place}.data"), "The audio must be valid base64."));
                }
                if !matches!(&**format, "wav" | "mp3") {
                    return Err(Failure::invalid(format!("{place}.format"), "The audio must be wav or mp3."));
                }
                let block = self.block(Side::User, What::Other);
                block.raw("{").name("audio").raw("{").name("format").plain(format);
                block.name("source").raw("{").name("bytes").plain(data).raw("}}}");
            }
            PartKind::File { data: Some(data), name, .. } => {
                let place = format!("{}.file.file_data", place(message, part));
                let file = data_url(data, &place)?;
                let Some(format) = documents::format(&file, name.as_deref()) else {
                    let text =
                        "Files must be PDF, CSV, Word, Excel, HTML, text or Markdown for provider type 'bedrock'.";
                    return Err(content_refused(place, text));
                };
                let title = self.titles.next(name.as_deref());
                let block = self.block(Side::User, What::Document);
                block.raw("{").name("document").raw("{").name("format").plain(format).name("name").string(&title);
                block.name("source").raw("{").name("bytes").plain(&file.base64).raw("}}}");
            }
            PartKind::File { data: None, .. } => {
                return refused("Files by 'file_id' are not supported by provider type 'bedrock'; send 'file_data'.");
            }
            PartKind::Other => {
                return refused("This type of content part is not supported by provider type 'bedrock'.");
            }
        }
        Ok(true)
    }

    fn image(&mut self, message: &Message<'_>, part: &Part<'_>, url: &str, detail: Option<&str>) -> Outcome<Json> {
        let place = place(message, part);
        if !self.to.can.images {
            return Err(content_refused(place, "Content part type 'image_url' is not supported by this model."));
        }
        if detail.is_some_and(|detail| detail != "auto") {
            self.drops.note("image_url.detail");
        }
        let (kind, base64) = self.to.inlined.image(url, &format!("{place}.image_url.url"))?;
        // The recorded exchange converse_images_documents takes this misspelt label at its word.
        let labelled = url.get(..15).is_some_and(|head| head.eq_ignore_ascii_case("data:image/jpg;"));
        let kind = if labelled { ImageKind::Jpeg } else { kind };
        let mut json = Json::default();
        json.raw("{").name("image").raw("{").name("format").plain(kind.as_str());
        json.name("source").raw("{").name("bytes").plain(&base64).raw("}}}");
        Ok(json)
    }

    fn model(&mut self, message: &Message<'_>, last: bool) -> Outcome<()> {
        self.thoughts(message);
        // A turn that the model is to go on with must not end in white space:
        // https://github.com/langchain-ai/langchain/issues/35071
        let prefill = last && message.tool_calls.is_empty();
        let trimmed = |text: &str, last: bool| if prefill && last { text.trim_end().len() } else { text.len() };
        match &message.content {
            Content::None => {}
            Content::Text(text) => {
                let end = trimmed(text, message.refusal.is_none());
                self.text(Side::Model, text.get(..end).unwrap_or_default());
            }
            Content::Parts(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    let (PartKind::Text(text) | PartKind::Refusal(text)) = &part.kind else {
                        let text = "Messages of the assistant must be text for provider type 'bedrock'.";
                        return Err(content_refused(place(message, part), text));
                    };
                    let end = trimmed(text, index + 1 == parts.len() && message.refusal.is_none());
                    if self.text(Side::Model, text.get(..end).unwrap_or_default()) {
                        self.mark(part.cache);
                    }
                }
            }
        }
        if let Some(refusal) = &message.refusal {
            let end = trimmed(refusal, true);
            self.text(Side::Model, refusal.get(..end).unwrap_or_default());
        }
        for call in &message.tool_calls {
            self.call(message, call)?;
        }
        Ok(())
    }

    /// The thinking of an earlier answer, as it was given out: Claude wants it back unchanged.
    fn thoughts(&mut self, message: &Message<'_>) {
        if message.thinking.is_empty() {
            if message.reasoning.is_some() {
                self.drops.note("messages.reasoning_content");
            }
            return;
        }
        let thinks = matches!(self.to.can.thinking, ThinkingForm::Budget | ThinkingForm::Adaptive);
        if !thinks && self.to.can.family != Family::Claude {
            self.drops.note("messages.thinking_blocks");
            return;
        }
        for raw in &message.thinking {
            let Some(thought) = Thought::read(raw) else {
                self.drops.note("messages.thinking_blocks");
                continue;
            };
            let json = self.block(Side::Model, What::Other).raw("{").name("reasoningContent").raw("{");
            match thought {
                Thought::Redacted(data) => json.name("redactedContent").raw(data.get()).raw("}}"),
                Thought::Shown { text, signature } => {
                    json.name("reasoningText").raw("{").name("text").raw(text.get());
                    json.name("signature").raw(signature.get()).raw("}}}")
                }
            };
        }
    }

    fn call(&mut self, message: &Message<'_>, call: &ToolCall<'_>) -> Outcome<()> {
        let input = match call.arguments.trim() {
            "" | "null" => Some("{}"),
            text => object(text),
        };
        let input = input.ok_or_else(|| {
            let param = format!("messages[{}].tool_calls[{}].function.arguments", message.at, call.at);
            Failure::new(ErrorCode::InvalidToolArguments, "Tool call arguments are not a JSON object.")
                .with_param(param)
        })?;
        let name = self.names.theirs(&call.name);
        let block = self.block(Side::Model, What::Other);
        block.raw("{").name("toolUse").raw("{").name("toolUseId").string(&names::call_id(&call.id));
        block.name("name").string(name).name("input").raw(input).raw("}}");
        Ok(())
    }

    fn result(&mut self, message: &Message<'_>) -> Outcome<()> {
        let mut content = Json::default();
        let mut cache = None;
        match &message.content {
            Content::None => {}
            Content::Text(text) => _ = some_text(&mut content, text),
            Content::Parts(parts) => {
                for part in parts {
                    match &part.kind {
                        PartKind::Text(text) | PartKind::Refusal(text) => _ = some_text(&mut content, text),
                        PartKind::Image { url, detail } => {
                            let image = self.image(message, part, url, detail.as_deref())?;
                            content.splice(&image);
                        }
                        PartKind::Audio { .. } | PartKind::File { .. } | PartKind::Other => {
                            let text = "Results of tools must be text or images for provider type 'bedrock'.";
                            return Err(content_refused(place(message, part), text));
                        }
                    }
                    cache = part.cache.or(cache);
                }
            }
        }
        let id = names::call_id(message.tool_call_id.as_deref().unwrap_or_default());
        let block = self.block(Side::User, What::Result);
        block.raw("{").name("toolResult").raw("{").name("toolUseId").string(&id);
        block.name("content").raw("[").splice(&content).raw("]}}");
        // There are no marks within a result.
        self.mark(cache);
        Ok(())
    }
}

/// A text that is a JSON object, nested no deeper than bodies may be.
fn object(text: &str) -> Option<&str> {
    json::within(text.as_bytes(), limits::JSON_DEPTH).ok()?;
    serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get).filter(|raw| raw.starts_with('{'))
}
