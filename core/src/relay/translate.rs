//! A stream between two dialects: frames become neutral events, events become the client's chunks.

use bytes::Bytes;

use super::Note;
use crate::chat::Event;
use crate::dialect::failure::constant;
use crate::dialect::openai_chat::Encoder;
use crate::dialect::{anthropic, bedrock_converse, openai_completions, openai_like, watsonx};
use crate::error::ErrorCode;
use crate::frame::{eventstream, sse};

/// Translates a stream.
pub(crate) struct Translate {
    source: Source,
    encoder: Encoder,
}

/// A provider's bytes on their way to events: a framing and a dialect.
pub(crate) enum Source {
    /// Anthropic's Messages.
    Anthropic(sse::Decoder, anthropic::Decoder),
    /// Bedrock's ConverseStream.
    Converse(eventstream::Decoder, Box<bedrock_converse::stream::Decoder>),
    /// Chats in OpenAI's shape, more or less.
    Like(sse::Decoder, openai_like::Decoder),
    /// Text generation of watsonx.ai.
    Generation(sse::Decoder, watsonx::generation::Decoder),
    /// Legacy completions in OpenAI's shape.
    Completions(sse::Decoder, openai_completions::Decoder),
}

/// Why a framing cannot be read on.
enum Broken {
    /// Something is larger than its limit.
    TooLarge,
    /// The framing is broken.
    Protocol,
}

impl From<sse::TooLarge> for Broken {
    fn from(_: sse::TooLarge) -> Self {
        Self::TooLarge
    }
}

impl From<eventstream::Broken> for Broken {
    fn from(broken: eventstream::Broken) -> Self {
        match broken {
            eventstream::Broken::TooLarge => Self::TooLarge,
            eventstream::Broken::Checksum | eventstream::Broken::Malformed => Self::Protocol,
        }
    }
}

impl Source {
    fn push(&mut self, chunk: &Bytes, emit: &mut impl FnMut(Event<'_>)) -> Result<(), Broken> {
        match self {
            Self::Anthropic(frames, decoder) => frames.push(chunk, |frame| decoder.push(&frame, emit))?,
            Self::Converse(frames, decoder) => frames.push(chunk, |frame| decoder.push(&frame, emit))?,
            Self::Like(frames, decoder) => frames.push(chunk, |frame| decoder.push(&frame, emit))?,
            Self::Generation(frames, decoder) => frames.push(chunk, |frame| decoder.push(&frame, emit))?,
            Self::Completions(frames, decoder) => frames.push(chunk, |frame| decoder.push(&frame, emit))?,
        }
        Ok(())
    }

    /// Reads a whole body. A break in its framing is a failure.
    pub(crate) fn read_whole(mut self, body: &Bytes, emit: &mut impl FnMut(Event<'_>)) {
        match self.push(body, emit) {
            Ok(()) => self.finish(true, emit),
            Err(Broken::TooLarge) => emit(Event::Failed(Box::new(constant(ErrorCode::UpstreamTooLarge)))),
            Err(Broken::Protocol) => emit(Event::Failed(Box::new(constant(ErrorCode::UpstreamProtocol)))),
        }
    }

    /// The body ended. What a broken connection leaves in the framing is not read: it may be cut.
    fn finish(&mut self, whole: bool, emit: &mut impl FnMut(Event<'_>)) {
        match self {
            Self::Anthropic(frames, decoder) => {
                if whole {
                    frames.finish(|frame| decoder.push(&frame, emit));
                }
                decoder.finish(emit);
            }
            Self::Converse(frames, decoder) => {
                // A cut frame is a cut stream, whatever came before it.
                if !frames.pending() {
                    decoder.finish(emit);
                }
            }
            Self::Like(frames, decoder) => {
                if whole {
                    frames.finish(|frame| decoder.push(&frame, emit));
                }
                decoder.finish(emit);
            }
            Self::Generation(frames, decoder) => {
                if whole {
                    frames.finish(|frame| decoder.push(&frame, emit));
                }
                decoder.finish(emit);
            }
            Self::Completions(frames, decoder) => {
                if whole {
                    frames.finish(|frame| decoder.push(&frame, emit));
                }
                decoder.finish(emit);
            }
        }
    }
}

impl Translate {
    /// Translates what `source` reads into what `encoder` writes.
    pub(crate) fn new(source: Source, encoder: Encoder) -> Self {
        Self { source, encoder }
    }

    /// Takes bytes of the provider; what the client sees of them.
    pub(super) fn push(&mut self, chunk: &Bytes, note: &mut Note) -> Bytes {
        let mut out = Vec::with_capacity(self.encoder.room(chunk.len()));
        let pushed = self.source.push(chunk, &mut sink(&mut self.encoder, note, &mut out));
        match pushed {
            Ok(()) => {}
            Err(Broken::TooLarge) => note.fail(constant(ErrorCode::UpstreamTooLarge)),
            Err(Broken::Protocol) => note.fail(constant(ErrorCode::UpstreamProtocol)),
        }
        Bytes::from(out)
    }

    /// The provider's body ended; `whole` if it ended as HTTP wants.
    pub(super) fn finish(&mut self, whole: bool, note: &mut Note) -> Bytes {
        let mut out = Vec::new();
        self.source.finish(whole, &mut sink(&mut self.encoder, note, &mut out));
        Bytes::from(out)
    }
}

/// Writes events, and notes what the relay must know of them. Nothing is written after an end.
fn sink<'s>(encoder: &'s mut Encoder, note: &'s mut Note, out: &'s mut Vec<u8>) -> impl FnMut(Event<'_>) + use<'s> {
    move |event| {
        if !note.open() {
            return;
        }
        match &event {
            Event::Start(identity) => note.model = identity.model.as_deref().map(str::to_owned),
            Event::Delta(delta) => {
                note.content = note.content || delta.has_content();
                note.text += delta.text_bytes();
                if let Some(native) = delta.finish.as_ref().and_then(|finish| finish.native.as_ref()) {
                    note.native_finish = Some(native.clone());
                }
            }
            Event::Usage(usage) => note.usage = Some(*usage),
            Event::Done => note.done = true,
            Event::Failed(failure) => {
                note.failure = Some(failure.clone());
                return;
            }
        }
        encoder.event(&event, out);
    }
}
