//! A stream of watsonx.ai: numbered and named events without an end mark, the usage in a last one.

use crate::chat::{Event, Expect};
use crate::dialect::openai_like;
use crate::frame::sse;
use crate::provider::ProviderKind;

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct Decoder(openai_like::Decoder);

impl Decoder {
    /// A decoder that has read nothing.
    pub(crate) fn new(expect: Expect) -> Self {
        Self(openai_like::Decoder::new(ProviderKind::WatsonxAi, expect))
    }

    /// Reads an event of the stream.
    pub(crate) fn push(&mut self, frame: &sse::Event, emit: &mut impl FnMut(Event<'_>)) {
        self.0.push(frame, emit);
    }

    /// The stream's bytes are over: it was whole if every choice has ended.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        self.0.finish(emit);
    }
}
