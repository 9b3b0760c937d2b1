//! The conversation of a request.

use std::borrow::Cow;

use super::super::{Images, Profile};
use super::Body;
use crate::chat::{Content, Message, Part, PartKind, Role, data_url};
use crate::error::{ErrorCode, Failure, Outcome};

/// The roles whose words are the operator's.
fn is_system(role: Role) -> bool {
    matches!(role, Role::System | Role::Developer)
}

/// Whether a part is a text of no characters: it is left out, as some servers refuse it.
fn is_empty(part: &Part<'_>) -> bool {
    matches!(&part.kind, PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty())
}

impl<'r, 'a> Body<'r, 'a> {
    /// Writes `messages`.
    pub(super) fn messages(&mut self) -> Outcome<()> {
        let request: &'r _ = self.request;
        let mut preface = if self.to.can.system_role { None } else { self.preface()? };
        self.out.name("messages");
        self.out.open(b'[');
        // Nobody to say it to: then the instructions are what the user says.
        if !request.messages.iter().any(|message| message.role == Role::User)
            && let Some(text) = preface.take()
        {
            self.out.open(b'{');
            self.out.text_member("role", "user");
            self.out.text_member("content", &text);
            self.out.close(b'}');
        }
        for message in &request.messages {
            if is_system(message.role) && !self.to.can.system_role {
                continue;
            }
            let preface = if message.role == Role::User { preface.take() } else { None };
            self.message(message, preface)?;
        }
        self.out.close(b']');
        Ok(())
    }

    /// What system messages say, for models that take none.
    fn preface(&self) -> Outcome<Option<String>> {
        let mut all = String::new();
        for message in self.request.messages.iter().filter(|message| is_system(message.role)) {
            let text = self.joined(message)?.unwrap_or_default();
            if !text.is_empty() {
                if !all.is_empty() {
                    all.push_str("\n\n");
                }
                all.push_str(&text);
            }
        }
        Ok(Some(all).filter(|all| !all.is_empty()))
    }

    fn message(&mut self, message: &Message<'a>, preface: Option<String>) -> Outcome<()> {
        let profile = self.profile;
        self.out.open(b'{');
        self.out.text_member("role", role(profile, message.role));
        if message.role == Role::User {
            self.said_by_user(message, preface)?;
        } else if profile.flat || !matches!(message.content, Content::Parts(_)) {
            let text = self.with_refusal(message, self.joined(message)?);
            match text {
                Some(text) => self.out.text_member("content", &text),
                None if message.role == Role::Assistant && self.may_be_silent(message) => {}
                None => self.out.text_member("content", ""),
            }
        } else {
            self.parts(message, None)?;
        }
        if let Some(name) = &message.name
            && message.role != Role::Tool
        {
            if profile.names {
                self.out.text_member("name", name);
            } else {
                self.drops.note("messages.name");
            }
        }
        if let Some(refusal) = message.refusal.as_ref().filter(|_| profile.refusals) {
            self.out.text_member("refusal", refusal);
        }
        if let (Some(name), Some(reasoning)) = (profile.reasoning, &message.reasoning) {
            self.out.text_member(name, reasoning);
        }
        self.calls(message);
        if let Some(id) = &message.tool_call_id {
            self.out.text_member("tool_call_id", id);
        }
        self.out.close(b'}');
        Ok(())
    }

    /// Whether an assistant's message may go without a content.
    fn may_be_silent(&self, message: &Message<'_>) -> bool {
        let refused = message.refusal.is_some() && self.profile.refusals;
        !self.profile.empty_content && (refused || !message.tool_calls.is_empty())
    }

    /// The text, with a refusal that has no member of its own.
    fn with_refusal<'m>(&self, message: &'m Message<'a>, text: Option<Cow<'m, str>>) -> Option<Cow<'m, str>> {
        match message.refusal.as_deref().filter(|_| !self.profile.refusals) {
            None => text,
            Some(refusal) => Some(match text.filter(|text| !text.is_empty()) {
                None => Cow::Borrowed(refusal),
                Some(text) => Cow::Owned(format!("{text}\n{refusal}")),
            }),
        }
    }

    fn said_by_user(&mut self, message: &Message<'a>, preface: Option<String>) -> Outcome<()> {
        match (&message.content, preface) {
            (Content::None, preface) => self.out.text_member("content", &preface.unwrap_or_default()),
            (Content::Text(text), None) => self.out.text_member("content", text),
            (Content::Text(text), Some(preface)) => self.out.text_member("content", &format!("{preface}\n\n{text}")),
            (Content::Parts(_), preface) => self.parts(message, preface)?,
        }
        Ok(())
    }

    /// All text of a message that may hold nothing else, in one piece: parts are joined by line feeds.
    fn joined<'m>(&self, message: &'m Message<'a>) -> Outcome<Option<Cow<'m, str>>> {
        let parts = match &message.content {
            Content::None => return Ok(None),
            Content::Text(text) => return Ok(Some(Cow::Borrowed(text))),
            Content::Parts(parts) => parts,
        };
        let mut texts = Vec::with_capacity(parts.len());
        for part in parts.iter().filter(|part| !is_empty(part)) {
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) => texts.push(&**text),
                _ => return Err(self.unsupported(message, part)),
            }
        }
        Ok(match texts.as_slice() {
            [] => None,
            [one] => Some(Cow::Borrowed(one)),
            many => Some(Cow::Owned(many.join("\n"))),
        })
    }

    /// Writes a content of parts.
    fn parts(&mut self, message: &Message<'a>, preface: Option<String>) -> Outcome<()> {
        let Content::Parts(parts) = &message.content else { return Ok(()) };
        let refusal = message.refusal.as_deref().filter(|_| !self.profile.refusals);
        let empty = parts.iter().all(is_empty);
        if message.role == Role::User && empty && !parts.is_empty() {
            let param = format!("messages[{}]", message.at);
            let text = format!("'{param}' must have content that is not empty.");
            return Err(Failure::invalid(param, text));
        }
        if empty && preface.is_none() && refusal.is_none() {
            if message.role != Role::Assistant || !self.may_be_silent(message) {
                self.out.text_member("content", "");
            }
            return Ok(());
        }
        self.out.name("content");
        self.out.open(b'[');
        if let Some(preface) = preface {
            self.text_part(&preface);
        }
        for part in parts.iter().filter(|part| !is_empty(part)) {
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) => self.text_part(text),
                PartKind::Image { url, detail } if message.role == Role::User && self.to.can.images => {
                    let param = format!("messages[{}].content[{}].image_url.url", message.at, part.at);
                    self.image(url, detail.as_deref(), &param)?;
                }
                PartKind::Audio { data, format }
                    if message.role == Role::User && self.profile.audio && self.to.can.audio =>
                {
                    self.out.open(b'{');
                    self.out.text_member("type", "input_audio");
                    self.out.name("input_audio");
                    self.out.open(b'{');
                    self.out.text_member("data", data);
                    self.out.text_member("format", format);
                    self.out.close(b'}');
                    self.out.close(b'}');
                }
                _ => return Err(self.unsupported(message, part)),
            }
        }
        if let Some(refusal) = refusal {
            self.text_part(refusal);
        }
        self.out.close(b']');
        Ok(())
    }

    fn text_part(&mut self, text: &str) {
        self.out.open(b'{');
        self.out.text_member("type", "text");
        self.out.text_member("text", text);
        self.out.close(b'}');
    }

    fn image(&mut self, url: &str, detail: Option<&str>, param: &str) -> Outcome<()> {
        let form = self.profile.images;
        let url = match form {
            Images::Inline => {
                let (kind, base64) = self.to.inlined.image(url, param)?;
                Cow::Owned(format!("data:{};base64,{base64}", kind.media_type()))
            }
            Images::Detailed | Images::Plain => {
                if url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
                    data_url(url, param)?;
                }
                Cow::Borrowed(url)
            }
        };
        let detail = match (form, detail) {
            // watsonx.ai knows low, high and auto.
            (Images::Inline, Some("original")) => Some("high"),
            (Images::Plain, Some(detail)) => {
                // The default needs no mention.
                if detail != "auto" {
                    self.drops.note("image_url.detail");
                }
                None
            }
            (_, detail) => detail,
        };
        self.out.open(b'{');
        self.out.text_member("type", "image_url");
        self.out.name("image_url");
        self.out.open(b'{');
        self.out.text_member("url", &url);
        if let Some(detail) = detail {
            self.out.text_member("detail", detail);
        }
        self.out.close(b'}');
        self.out.close(b'}');
        Ok(())
    }

    fn calls(&mut self, message: &Message<'_>) {
        if message.tool_calls.is_empty() {
            return;
        }
        self.out.name("tool_calls");
        self.out.open(b'[');
        for call in &message.tool_calls {
            self.out.open(b'{');
            self.out.text_member("id", &call.id);
            self.out.text_member("type", "function");
            self.out.name("function");
            self.out.open(b'{');
            self.out.text_member("name", &call.name);
            self.out.text_member("arguments", &call.arguments);
            self.out.close(b'}');
            self.out.close(b'}');
        }
        self.out.close(b']');
    }

    fn unsupported(&self, message: &Message<'_>, part: &Part<'_>) -> Failure {
        let kind = match &part.kind {
            PartKind::Text(_) => Some("text"),
            PartKind::Refusal(_) => Some("refusal"),
            PartKind::Image { .. } => Some("image_url"),
            PartKind::Audio { .. } => Some("input_audio"),
            PartKind::File { .. } => Some("file"),
            PartKind::Other => None,
        };
        let provider = self.to.kind.as_str();
        let text = match kind {
            Some(kind @ ("image_url" | "input_audio")) if message.role != Role::User => {
                format!("Content part type '{kind}' is only supported in messages with role 'user'.")
            }
            Some(kind) => format!("Content part type '{kind}' is not supported by provider type '{provider}'."),
            None => format!("This type of content part is not supported by provider type '{provider}'."),
        };
        Failure::new(ErrorCode::UnsupportedContent, text)
            .with_param(format!("messages[{}].content[{}]", message.at, part.at))
    }
}

fn role(profile: &Profile, role: Role) -> &'static str {
    match role {
        Role::Developer if profile.developer => "developer",
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}
