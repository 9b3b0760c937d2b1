//! The neutral form of a chat: what a request asks and what an answer says, free of any provider's wire format.
//!
//! A dialect reads its own wire format into these types, and writes them into it. Front doors and upstreams meet
//! here and nowhere else, except where both speak the same dialect: then bytes are passed on and named members edited.
//! Text that only travels stays what it was, a JSON string literal ([`Literal`]) or a raw value: it is neither
//! unescaped nor escaped again.

mod drops;
mod media;
mod request;
mod response;
mod stream;
mod turn;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::model::Capabilities;
use crate::provider::{ProviderKind, Settings};

pub(crate) use drops::{Drops, Fate, unsupported};
pub(crate) use media::{DataUrl, ImageKind, Inlined, data_url};
pub(crate) use request::{
    CacheControl, Content, Effort, Format, Message, Part, PartKind, Request, Role, Thought, Tool, ToolCall, ToolChoice,
    says_nothing,
};
pub(crate) use response::{Answer, Choice, Expect, Finish, FinishReason, Identity, JSON_TOOL, Thinking, ToolUse};
pub(crate) use stream::{Delta, Event, Literal, ToolDelta};
pub(crate) use turn::{Gather, events};

/// Where a request goes: all that an encoder knows of its upstream.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// The provider's type.
    pub kind: ProviderKind,
    /// The provider's own id of the model.
    pub model: &'a str,
    /// What the model can do.
    pub can: &'a Capabilities,
    /// The provider's settings.
    pub settings: &'a Settings,
    /// Images that were fetched for this request.
    pub inlined: &'a Inlined,
}

/// A request in a provider's wire format.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The JSON body.
    pub body: Bytes,
    /// Headers that belong to the wire format.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What was left out.
    pub drops: Drops,
    /// What the answer must undo.
    pub expect: Expect,
}
