//! A stream between two dialects: frames become neutral events, events become the client's chunks.

use bytes::Bytes;

use super::Note;
use crate::chat::Event;
use crate::dialect::failure::constant;
use crate::dialect::openai_chat::Encoder;
use crate::error::ErrorCode;

/// Translates a stream.
pub(crate) struct Translate {
    source: Source,
    encoder: Encoder,
}

/// A provider's bytes on their way to events: a framing and a dialect.
pub(crate) enum Source {}

/// Why a framing cannot be read on.
pub(crate) enum Broken {
    /// Something is larger than its limit.
    TooLarge,
    /// The framing is broken.
    Protocol,
}

impl Source {
    fn push(&mut self, _chunk: &Bytes, _emit: &mut impl FnMut(Event<'_>)) -> Result<(), Broken> {
        match *self {}
    }

    fn finish(&mut self, _whole: bool, _emit: &mut impl FnMut(Event<'_>)) {
        match *self {}
    }
}

impl Translate {
    /// Translates what `source` reads into what `encoder` writes.
    pub(crate) fn new(source: Source, encoder: Encoder) -> Self {
        Self { source, encoder }
    }

    /// Takes bytes of the provider; what the client sees of them.
    pub(super) fn push(&mut self, chunk: &Bytes, note: &mut Note) -> Bytes {
        let mut out = Vec::new();
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
            Event::Start(_) => {}
            Event::Delta(delta) => {
                note.content = note.content || delta.has_content();
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
