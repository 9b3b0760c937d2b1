//! The conversation as Anthropic wants it: instructions apart, turns in alternation, results of tools first.
//! <https://platform.claude.com/docs/en/api/messages/create#body-messages>

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::wire::{Block, Cache, Content, Side, Source, Turn};
use crate::chat::{self, CacheControl, DataUrl, Destination, Drops, Message, Part, PartKind, Request, Role, Thought};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::{self, Edit};
use crate::limits;
use crate::model::ThinkingForm;

/// A conversation that is being put together.
pub(super) struct Conversation<'r> {
    system: Vec<Block<'r>>,
    turns: Vec<Speech<'r>>,
}

/// One turn: what the messages of one side in a row say.
struct Speech<'r> {
    side: Side,
    /// Results of tools. They answer the turn before and must come first.
    results: Vec<Block<'r>>,
    /// Texts, images, documents and thinking in their order.
    blocks: Vec<Block<'r>>,
    /// Calls of tools. Nothing may stand between them and their results.
    calls: Vec<Block<'r>>,
}

impl<'r> Conversation<'r> {
    /// Reads the messages of a request.
    ///
    /// # Errors
    /// A code of status 400, naming the part that cannot be expressed.
    pub(super) fn read(request: &'r Request<'r>, to: &Destination<'r>, drops: &mut Drops) -> Outcome<Self> {
        let mut conversation = Self { system: Vec::new(), turns: Vec::new() };
        for message in &request.messages {
            conversation.message(message, to, drops)?;
        }
        if conversation.turns.is_empty() {
            return Err(Failure::invalid("messages", "'messages' must have a message of the user."));
        }
        // What is left at the end of an assistant's turn is a beginning to go on from; it may not end in white space.
        if let Some(Speech { side: Side::Assistant, blocks, calls, .. }) = conversation.turns.last_mut()
            && let (Some(Block::Text { text, .. }), true) = (blocks.last_mut(), calls.is_empty())
        {
            let end = text.trim_end().len();
            match text {
                Cow::Borrowed(all) => *all = all.trim_end(),
                Cow::Owned(all) => all.truncate(end),
            }
        }
        Ok(conversation)
    }

    /// Adds an instruction of the gateway.
    pub(super) fn instruct(&mut self, text: &'static str) {
        self.system.push(Block::Text { text: text.into(), cache_control: None });
    }

    /// The names of tools that were called, once each.
    pub(super) fn called(&self) -> Vec<Cow<'r, str>> {
        let mut names: Vec<Cow<'r, str>> = Vec::new();
        for call in self.turns.iter().flat_map(|turn| &turn.calls) {
            let Block::ToolUse { name, .. } = call else { continue };
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Whether the model's last turn called a tool and does not begin with its thinking.
    pub(super) fn unthinking_call(&self) -> bool {
        let last = self.turns.iter().rev().find(|turn| turn.side == Side::Assistant);
        last.is_some_and(|turn| !turn.calls.is_empty() && !matches!(turn.blocks.first(), Some(Block::Thinking(_))))
    }

    /// The system's blocks and the turns.
    pub(super) fn finish(self) -> (Vec<Block<'r>>, Vec<Turn<'r>>) {
        let turn = |speech: Speech<'r>| {
            let mut blocks = speech.results;
            blocks.extend(speech.blocks);
            blocks.extend(speech.calls);
            Turn { role: speech.side, content: Content::of(blocks) }
        };
        (self.system, self.turns.into_iter().map(turn).collect())
    }

    fn message(&mut self, message: &'r Message<'r>, to: &Destination<'r>, drops: &mut Drops) -> Outcome<()> {
        if message.name.is_some() && message.role != Role::Tool {
            drops.note("messages.name");
        }
        match message.role {
            Role::System | Role::Developer => {
                let mut blocks = texts(message)?;
                mark(&mut blocks, message.cache);
                self.system.append(&mut blocks);
            }
            Role::User => {
                let mut blocks = user(message, to, drops)?;
                if blocks.is_empty() {
                    let place = format!("messages[{}]", message.at);
                    let text = format!("'{place}' must have content that is not blank.");
                    return Err(Failure::invalid(place, text));
                }
                mark(&mut blocks, message.cache);
                self.speech(Side::User, message)?.blocks.append(&mut blocks);
            }
            Role::Tool => {
                let mut result = [result(message, to, drops)?];
                mark(&mut result, message.cache);
                self.speech(Side::User, message)?.results.extend(result);
            }
            Role::Assistant => {
                let mut blocks = thinking(message, to, drops);
                blocks.append(&mut texts(message)?);
                if let Some(refusal) = message.refusal.as_deref().filter(|text| !blank(text)) {
                    blocks.push(Block::Text { text: refusal.into(), cache_control: None });
                }
                let mut calls = calls(message)?;
                mark(if calls.is_empty() { &mut blocks } else { &mut calls }, message.cache);
                // An empty answer that the client sends back says nothing.
                if !blocks.is_empty() || !calls.is_empty() {
                    let speech = self.speech(Side::Assistant, message)?;
                    speech.blocks.append(&mut blocks);
                    speech.calls.append(&mut calls);
                }
            }
        }
        Ok(())
    }

    /// The turn that a message belongs to.
    fn speech(&mut self, side: Side, message: &Message<'_>) -> Outcome<&mut Speech<'r>> {
        if self.turns.is_empty() && side == Side::Assistant {
            let place = format!("messages[{}]", message.at);
            let text = format!("'{place}' must be a message of the user: provider type 'anthropic' begins with one.");
            return Err(Failure::invalid(place, text));
        }
        if self.turns.last().is_none_or(|turn| turn.side != side) {
            self.turns.push(Speech { side, results: Vec::new(), blocks: Vec::new(), calls: Vec::new() });
        }
        self.turns.last_mut().ok_or_else(|| Failure::internal("a turn is missing"))
    }
}

/// Whether a text says nothing: such blocks are refused upstream.
pub(super) fn blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Asks to cache up to the last of `blocks` that can be asked so.
fn mark(blocks: &mut [Block<'_>], cache: Option<CacheControl>) {
    let Some(cache) = cache else { return };
    if let Some(place) = blocks.iter_mut().rev().find_map(Block::cache) {
        *place = Some(Cache::from(cache));
    }
}

/// A content part at its place among the client's.
struct At<'r> {
    message: usize,
    part: &'r Part<'r>,
}

impl At<'_> {
    fn place(&self) -> String {
        format!("messages[{}].content[{}]", self.message, self.part.at)
    }

    fn unsupported(&self) -> Failure {
        let what = match &self.part.kind {
            PartKind::Text(_) => "Content part type 'text'",
            PartKind::Refusal(_) => "Content part type 'refusal'",
            PartKind::Image { .. } => "Content part type 'image_url'",
            PartKind::Audio { .. } => "Content part type 'input_audio'",
            PartKind::File { .. } => "Content part type 'file'",
            PartKind::Other => "This content part type",
        };
        self.refused(what, "is not supported by provider type 'anthropic'.")
    }

    fn refused(&self, what: &str, why: &str) -> Failure {
        Failure::new(ErrorCode::UnsupportedContent, format!("{what} {why}")).with_param(self.place())
    }
}

/// The blocks of a message, each part read by `read`. What is blank is left out, but not its mark for caching.
fn blocks<'r>(
    message: &'r Message<'r>,
    mut read: impl FnMut(&At<'r>) -> Outcome<Option<Block<'r>>>,
) -> Outcome<Vec<Block<'r>>> {
    match &message.content {
        chat::Content::None => Ok(Vec::new()),
        chat::Content::Text(text) => Ok(text_block(text).into_iter().collect()),
        chat::Content::Parts(parts) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for part in parts {
                blocks.extend(read(&At { message: message.at, part })?);
                mark(&mut blocks, part.cache);
            }
            Ok(blocks)
        }
    }
}

fn text_block(text: &str) -> Option<Block<'_>> {
    (!blank(text)).then_some(Block::Text { text: text.into(), cache_control: None })
}

/// A message that holds nothing but text.
fn texts<'r>(message: &'r Message<'r>) -> Outcome<Vec<Block<'r>>> {
    blocks(message, |at| match &at.part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => Ok(text_block(text)),
        PartKind::Image { .. } | PartKind::Audio { .. } | PartKind::File { .. } | PartKind::Other => {
            Err(at.unsupported())
        }
    })
}

/// A message that may hold images and documents.
fn user<'r>(message: &'r Message<'r>, to: &Destination<'r>, drops: &mut Drops) -> Outcome<Vec<Block<'r>>> {
    blocks(message, |at| match &at.part.kind {
        PartKind::Text(text) => Ok(text_block(text)),
        PartKind::Image { url, detail } => {
            if !to.can.images {
                return Err(at.refused("Images", "are not supported by this model."));
            }
            if detail.as_ref().is_some_and(|detail| detail != "auto") {
                drops.note("image_url.detail");
            }
            image(at, url, to).map(Some)
        }
        PartKind::File { data: Some(data), name, .. } => file(at, data, name.as_deref()).map(Some),
        PartKind::File { data: None, .. } => {
            Err(at.refused("A file by its id", "is not supported by provider type 'anthropic'."))
        }
        PartKind::Refusal(_) | PartKind::Audio { .. } | PartKind::Other => Err(at.unsupported()),
    })
}

/// An image. Anthropic fetches addresses itself, of `https` only.
fn image<'r>(at: &At<'_>, url: &'r str, to: &Destination<'r>) -> Outcome<Block<'r>> {
    let source = if url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        Source::Url { url }
    } else {
        let (kind, data) = to.inlined.image(url, &format!("{}.image_url.url", at.place()))?;
        Source::Base64 { media_type: kind.media_type(), data }
    };
    Ok(Block::Image { source, cache_control: None })
}

/// A file: a PDF, or text.
/// <https://platform.claude.com/docs/en/build-with-claude/files#file-types-and-content-blocks>
fn file<'r>(at: &At<'_>, data: &'r str, name: Option<&'r str>) -> Outcome<Block<'r>> {
    let place = format!("{}.file.file_data", at.place());
    let data: DataUrl<'r> = chat::data_url(data, &place)?;
    // The first bytes of a PDF are `%PDF-`, whatever its label says.
    let source = if data.base64.starts_with("JVBERi") || data.media_type == "application/pdf" {
        Source::Base64 { media_type: "application/pdf", data: data.base64 }
    } else if let Some(kind) = data.image() {
        let source = Source::Base64 { media_type: kind.media_type(), data: data.base64 };
        return Ok(Block::Image { source, cache_control: None });
    } else if data.media_type.starts_with("text/") {
        let text = String::from_utf8(data.decode()).ok().filter(|text| !blank(text));
        let text = text.ok_or_else(|| Failure::invalid(place, "A file of text must be UTF-8 and not blank."))?;
        Source::Text { media_type: "text/plain", data: text }
    } else {
        return Err(at.refused("This type of file", "is not supported by provider type 'anthropic'."));
    };
    Ok(Block::Document { source, title: name.filter(|name| !blank(name)), cache_control: None })
}

/// The result of a tool.
fn result<'r>(message: &'r Message<'r>, to: &Destination<'r>, drops: &mut Drops) -> Outcome<Block<'r>> {
    let mut inside = user(message, to, drops)?;
    // The mark belongs to the result as a whole.
    let cache_control = inside.iter_mut().filter_map(Block::cache).fold(None, |last, place| place.take().or(last));
    let plain = matches!(message.content, chat::Content::Text(_));
    let content = if plain { Content::of(inside) } else { Content::Blocks(inside) };
    let nothing = matches!(&content, Content::Blocks(blocks) if blocks.is_empty());
    Ok(Block::ToolResult {
        tool_use_id: call_id(message.tool_call_id.as_deref().unwrap_or_default()),
        content: (!nothing).then_some(content),
        cache_control,
    })
}

/// The calls of a message.
fn calls<'r>(message: &'r Message<'r>) -> Outcome<Vec<Block<'r>>> {
    let call = |call: &'r chat::ToolCall<'r>| {
        let input = arguments(&call.arguments).ok_or_else(|| {
            let place = format!("messages[{}].tool_calls[{}].function.arguments", message.at, call.at);
            Failure::new(ErrorCode::InvalidToolArguments, "Tool call arguments are not a JSON object.")
                .with_param(place)
        })?;
        Ok(Block::ToolUse { id: call_id(&call.id), name: tool_name(&call.name), input, cache_control: None })
    };
    message.tool_calls.iter().map(call).collect()
}

/// The arguments' text as the object that it must be.
fn arguments(text: &str) -> Option<&RawValue> {
    let text = if blank(text) { "{}" } else { text };
    json::within(text.as_bytes(), limits::JSON_DEPTH).ok()?;
    serde_json::from_str::<&RawValue>(text).ok().filter(|raw| raw.get().starts_with('{'))
}

/// Thinking blocks of an earlier answer, in the bytes in which they were given out but for the `index` of a stream.
fn thinking<'r>(message: &'r Message<'r>, to: &Destination<'r>, drops: &mut Drops) -> Vec<Block<'r>> {
    if message.thinking.is_empty() {
        if message.reasoning.is_some() {
            drops.note("messages.reasoning_content");
        }
        return Vec::new();
    }
    if to.can.thinking == ThinkingForm::None {
        drops.note("messages.thinking_blocks");
        return Vec::new();
    }
    let made = message.thinking.iter().filter(|raw| Thought::read(raw).is_some());
    let blocks: Vec<Block<'r>> = made.map(|raw| Block::Thinking(without_index(raw))).collect();
    if blocks.len() < message.thinking.len() {
        drops.note("messages.thinking_blocks");
    }
    blocks
}

fn without_index(raw: &RawValue) -> Cow<'_, RawValue> {
    let Ok(object) = json::object(raw.get().as_bytes()) else { return Cow::Borrowed(raw) };
    if object.get("index").is_none() {
        return Cow::Borrowed(raw);
    }
    let edit = |name: &str, _: &RawValue| if name == "index" { Edit::Drop } else { Edit::Keep };
    let written = String::from_utf8(json::rewrite(&object, edit, &[])).ok();
    written.and_then(|json| RawValue::from_string(json).ok()).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// Longest name of a tool.
const NAME_CHARS: usize = 128;

/// A call's id in the alphabet that Anthropic takes.
fn call_id(id: &str) -> Cow<'_, str> {
    in_alphabet(id, usize::MAX)
}

/// A tool's name in the alphabet that Anthropic takes.
pub(super) fn tool_name(name: &str) -> Cow<'_, str> {
    in_alphabet(name, NAME_CHARS)
}

fn in_alphabet(text: &str, most: usize) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.len() <= most && text.chars().all(fits) {
        return Cow::Borrowed(text);
    }
    text.chars().take(most).map(|c| if fits(c) { c } else { '_' }).collect()
}
