//! Event streams (`text/event-stream`), read as they come in.
//!
//! Follows the [WHATWG rules](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream)
//! over bytes: UTF-8 is not judged here, and nothing is copied that lies in one chunk. Buffers are bounded by
//! [`limits::SSE_LINE_BYTES`] and [`limits::SSE_EVENT_BYTES`].

use std::ops::Range;

use bytes::Bytes;

use crate::limits;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Value of the `event` field, if there was one that is not empty.
    pub name: Option<Bytes>,
    /// Values of the `data` fields, joined by line feeds. A slice of the chunk where one line makes the event.
    pub data: Bytes,
    /// Where in the chunk the event is written, if it is there as a whole and as exactly `data: `, the data and two
    /// line feeds: a stream that is passed through may forward these very bytes.
    pub span: Option<Range<usize>>,
}

/// A line or event is beyond its limit. The stream cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event stream has a line or event that is too large")]
pub(crate) struct TooLarge;

/// Turns chunks of bytes into events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bom: Bom,
    /// The last chunk ended in a carriage return; a line feed right behind it belongs to it.
    after_return: bool,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    name: Option<Bytes>,
    data: Data,
    form: Form,
    failed: bool,
}

impl Decoder {
    /// Takes the next chunk and emits the events that end in it.
    ///
    /// After [`TooLarge`] the decoder takes nothing more and keeps answering so.
    pub(crate) fn push(&mut self, chunk: &Bytes, mut emit: impl FnMut(Event)) -> Result<(), TooLarge> {
        if self.failed {
            return Err(TooLarge);
        }
        let read = self.read(chunk, &mut emit);
        if read.is_err() {
            *self = Self { failed: true, ..Self::default() };
        }
        read
    }

    /// Whether something unfinished is left: lines of an event without the blank line that ends it, or a line
    /// without its end.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> bool {
        !self.line.is_empty() || self.name.is_some() || self.data != Data::None
    }

    /// Ends the stream and emits a last event that lacks nothing but its blank line.
    ///
    /// The standard discards such an event. Some servers end their stream right behind the last data line, so it
    /// counts here; an event whose last line is cut does not, and stays [`Decoder::pending`].
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Event)) {
        if self.line.is_empty() {
            self.dispatch(None, &mut emit);
        }
    }

    /// One copy for every receiver.
    fn read(&mut self, chunk: &Bytes, emit: &mut dyn FnMut(Event)) -> Result<(), TooLarge> {
        let mut at = self.skip_bom(chunk);
        if !self.line.is_empty() || self.form != Form::Nothing {
            self.form = Form::Other;
        }
        let mut event_at = at;
        loop {
            let rest = chunk.get(at..).unwrap_or_default();
            let Some(first) = rest.first() else { return Ok(()) };
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                if event_at == at {
                    event_at += 1;
                }
                at += 1;
                continue;
            }
            let Some(length) = memchr::memchr2(b'\n', b'\r', rest) else { return self.hold(rest) };
            let line = self.line_of(chunk, at..at + length)?;
            at += length + 1;
            let by_feed = rest.get(length) == Some(&b'\n');
            self.after_return = !by_feed;
            if line.is_empty() {
                let whole = by_feed && self.form == Form::OneDataLine;
                self.dispatch(whole.then_some(event_at..at), emit);
                event_at = at;
                continue;
            }
            let plain = by_feed && self.form == Form::Nothing && line.starts_with(b"data: ");
            self.form = if plain { Form::OneDataLine } else { Form::Other };
            self.field(&line)?;
        }
    }

    /// Skips a byte order mark at the start of the stream, and gives the place of what follows.
    fn skip_bom(&mut self, chunk: &Bytes) -> usize {
        const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
        let Bom::Seen(seen) = &mut self.bom else { return 0 };
        let before = *seen;
        for byte in chunk {
            if MARK.get(*seen) != Some(byte) {
                break;
            }
            *seen += 1;
        }
        let (seen, taken) = (*seen, *seen - before);
        if seen < MARK.len() && taken < chunk.len() {
            // No mark after all: its beginning is text.
            self.line.extend_from_slice(MARK.get(..seen).unwrap_or_default());
            self.bom = Bom::Past;
        } else if seen == MARK.len() {
            self.bom = Bom::Past;
        }
        taken
    }

    /// Keeps the beginning of a line for the next chunk.
    fn hold(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + part.len() > limits::SSE_LINE_BYTES {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// The line that ends in this chunk, with what was held of it.
    fn line_of(&mut self, chunk: &Bytes, part: Range<usize>) -> Result<Bytes, TooLarge> {
        if self.line.is_empty() {
            return if part.len() > limits::SSE_LINE_BYTES { Err(TooLarge) } else { Ok(chunk.slice(part)) };
        }
        self.hold(chunk.get(part).unwrap_or_default())?;
        Ok(std::mem::take(&mut self.line).into())
    }

    fn field(&mut self, line: &Bytes) -> Result<(), TooLarge> {
        let colon = memchr::memchr(b':', line);
        let name = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
        let value_at = colon.map_or(line.len(), |colon| colon + 1);
        let space = usize::from(line.get(value_at) == Some(&b' '));
        let value = || line.slice(value_at + space..);
        match name {
            b"data" => self.data.push(value()),
            b"event" => {
                self.name = Some(value()).filter(|name| !name.is_empty());
                Ok(())
            }
            // Comments (an empty name), `id`, `retry` and what nobody knows.
            _ => Ok(()),
        }
    }

    fn dispatch(&mut self, span: Option<Range<usize>>, emit: &mut dyn FnMut(Event)) {
        let name = self.name.take();
        self.form = Form::Nothing;
        if let Some(data) = std::mem::take(&mut self.data).whole() {
            emit(Event { name, data, span });
        }
    }
}

/// How much of a byte order mark was seen.
#[derive(Debug)]
enum Bom {
    Seen(usize),
    Past,
}

impl Default for Bom {
    fn default() -> Self {
        Self::Seen(0)
    }
}

/// What was read of the current event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Nothing,
    /// One line `data: …`, ended by a line feed, all in the current chunk.
    OneDataLine,
    Other,
}

/// The data of the current event.
#[derive(Debug, Default, PartialEq, Eq)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Many(Vec<u8>),
}

impl Data {
    fn push(&mut self, value: Bytes) -> Result<(), TooLarge> {
        let length = match self {
            Self::None => 0,
            Self::One(first) => first.len() + 1,
            Self::Many(joined) => joined.len() + 1,
        };
        if length + value.len() > limits::SSE_EVENT_BYTES {
            return Err(TooLarge);
        }
        *self = match std::mem::take(self) {
            Self::None => Self::One(value),
            Self::One(first) => Self::Many([&first, &b"\n"[..], &value].concat()),
            Self::Many(mut joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(&value);
                Self::Many(joined)
            }
        };
        Ok(())
    }

    fn whole(self) -> Option<Bytes> {
        match self {
            Self::None => None,
            Self::One(data) => Some(data),
            Self::Many(joined) => Some(joined.into()),
        }
    }
}

#[cfg(test)]
mod tests;
