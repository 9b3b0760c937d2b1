//! A stream between two ends of OpenAI's dialect: bytes pass, and only what the client must not see is taken out.

use bytes::Bytes;

use super::{DONE, Note};
use crate::dialect::failure::constant;
use crate::dialect::openai_chat::{self, Event};
use crate::error::ErrorCode;
use crate::frame::sse;

/// Passes a stream on.
pub(crate) struct Pass {
    decoder: sse::Decoder,
    seen: u128,
    finished: u128,
    hide_usage: bool,
    skip_filters: bool,
}

impl Pass {
    /// `hide_usage` leaves out the usage that we asked for and the client did not; `skip_filters` the events in which
    /// Azure tells of its filters only, at which typed clients stumble.
    pub(crate) fn new(hide_usage: bool, skip_filters: bool) -> Self {
        Self { decoder: sse::Decoder::default(), seen: 0, finished: 0, hide_usage, skip_filters }
    }

    /// Takes bytes of the provider; what of them the client sees.
    pub(super) fn push(&mut self, chunk: &Bytes, note: &mut Note) -> Bytes {
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut out = Output::new(chunk);
        let pushed = decoder.push(chunk, |event| self.event(&event, note, &mut out));
        self.decoder = decoder;
        if pushed.is_err() {
            note.fail(constant(ErrorCode::UpstreamTooLarge));
        }
        out.finish()
    }

    /// The provider's body ended; `whole` if it ended as HTTP wants.
    pub(super) fn finish(&mut self, whole: bool, note: &mut Note) -> Bytes {
        let mut decoder = std::mem::take(&mut self.decoder);
        let none = Bytes::new();
        let mut out = Output::new(&none);
        if whole {
            decoder.finish(|event| self.event(&event, note, &mut out));
        }
        if note.open() && self.finished != 0 && self.finished == self.seen {
            // The provider showed its end and forgot the mark (U22), or broke off after it (U24).
            note.done = true;
            out.copy(DONE);
        }
        out.finish()
    }

    fn event(&mut self, event: &sse::Event, note: &mut Note, out: &mut Output<'_>) {
        if !note.open() {
            return;
        }
        match openai_chat::read_event(&event.data, !note.content) {
            Event::Done => {
                note.done = true;
                out.copy(DONE);
            }
            Event::Skip => {}
            Event::Malformed => note.fail(constant(ErrorCode::UpstreamProtocol)),
            Event::Error(failure) => note.fail(*failure),
            Event::Chunk(reading) => {
                if self.skip_filters && reading.no_delta && reading.usage.is_none() {
                    return;
                }
                self.seen |= reading.seen;
                self.finished |= reading.finished;
                note.usage = reading.usage.map(|usage| *usage).or(note.usage);
                note.content |= reading.content;
                note.text += reading.text;
                if let Some(usage_at) = reading.usage_at.filter(|_| self.hide_usage) {
                    if !reading.no_choices {
                        out.edited(|out| openai_chat::without_usage(&event.data, &usage_at, out));
                    }
                } else if let Some(span) = &event.span {
                    out.verbatim(span.start, span.end);
                } else {
                    out.edited(|out| out.extend_from_slice(&event.data));
                }
            }
        }
    }
}

/// Collects what leaves for one chunk; when that is the chunk itself, its bytes are passed on uncopied.
struct Output<'a> {
    chunk: &'a Bytes,
    /// Up to where the output equals the chunk's beginning; `None` once it does not.
    same: Option<usize>,
    copied: Vec<u8>,
}

impl<'a> Output<'a> {
    fn new(chunk: &'a Bytes) -> Self {
        Self { chunk, same: Some(0), copied: Vec::new() }
    }

    fn verbatim(&mut self, start: usize, end: usize) {
        if self.same == Some(start) {
            self.same = Some(end);
            return;
        }
        let piece = self.chunk.slice(start..end);
        self.copy(&piece);
    }

    /// An event of one line: several lines of data are joined by spaces, which between JSON's tokens are the same.
    fn edited(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.diverge();
        self.copied.extend_from_slice(b"data: ");
        let start = self.copied.len();
        write(&mut self.copied);
        for byte in self.copied.iter_mut().skip(start).filter(|byte| **byte == b'\n') {
            *byte = b' ';
        }
        self.copied.extend_from_slice(b"\n\n");
    }

    fn copy(&mut self, bytes: &[u8]) {
        // The end mark usually stands in the chunk just as we would write it.
        if let Some(at) = self.same
            && self.chunk.get(at..).is_some_and(|rest| rest.starts_with(bytes))
        {
            self.same = Some(at + bytes.len());
            return;
        }
        self.diverge();
        self.copied.extend_from_slice(bytes);
    }

    fn diverge(&mut self) {
        if let Some(end) = self.same.take() {
            self.copied.reserve(self.chunk.len());
            self.copied.extend_from_slice(self.chunk.get(..end).unwrap_or_default());
        }
    }

    fn finish(self) -> Bytes {
        match self.same {
            Some(end) => self.chunk.slice(..end),
            None => Bytes::from(self.copied),
        }
    }
}
