//! AWS event streams (`application/vnd.amazon.eventstream`), read as they come in.
//!
//! A frame is a prelude with its checksum, headers, a payload and a checksum over all of it
//! (<https://smithy.io/2.0/aws/amazon-eventstream.html>). Both checksums are verified; a stream that fails one cannot
//! be read further. Buffers are bounded by [`limits::EVENT_STREAM_HEADER_BYTES`] and
//! [`limits::EVENT_STREAM_PAYLOAD_BYTES`]; nothing is copied of a frame that lies in one chunk.

use bytes::{Bytes, BytesMut};
use crc::{CRC_32_ISO_HDLC, Crc, Table};

use crate::limits;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What kind of message it is.
    pub message: Message,
    /// What it carries; JSON at Bedrock. A slice of the chunk where one chunk has the whole frame.
    pub payload: Bytes,
}

/// The value of `:message-type`, with the headers that belong to it. Names are bytes as sent, not judged here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// An event of the operation.
    Event {
        /// `:event-type`.
        kind: Bytes,
    },
    /// A failure that the operation declares.
    Exception {
        /// `:exception-type`.
        kind: Bytes,
    },
    /// A failure that it does not declare; its payload may be empty.
    Error {
        /// `:error-code`.
        code: Bytes,
        /// `:error-message`.
        text: Bytes,
    },
    /// A type that this version does not know.
    Other,
}

/// Why a stream cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// A checksum does not fit.
    #[error("a frame of the event stream fails its checksum")]
    Checksum,
    /// Headers or payload are beyond their limit.
    #[error("the event stream has a frame that is too large")]
    TooLarge,
    /// Lengths or headers that contradict each other.
    #[error("a frame of the event stream is malformed")]
    Malformed,
}

/// Turns chunks of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a frame whose end has not come.
    held: BytesMut,
    broken: Option<Broken>,
}

impl Decoder {
    /// Takes the next chunk and emits the frames that end in it.
    ///
    /// # Errors
    /// [`Broken`]; then the decoder takes nothing more and keeps answering so.
    pub(crate) fn push(&mut self, chunk: &Bytes, emit: impl FnMut(Frame)) -> Result<(), Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let read = self.read(chunk.clone(), emit);
        if let Err(broken) = read {
            *self = Self { broken: Some(broken), ..Self::default() };
        }
        read
    }

    /// Whether the beginning of a frame is left: at the end of the stream, a frame that was cut.
    #[cfg(any(test, feature = "test-support"))]
    pub(crate) fn pending(&self) -> bool {
        !self.held.is_empty()
    }

    fn read(&mut self, mut chunk: Bytes, mut emit: impl FnMut(Frame)) -> Result<(), Broken> {
        while !self.held.is_empty() && !chunk.is_empty() {
            let lengths = Lengths::read(&self.held)?;
            let whole = lengths.map_or(PRELUDE, |lengths| lengths.total);
            let missing = whole.saturating_sub(self.held.len()).min(chunk.len());
            self.held.extend_from_slice(&chunk.split_to(missing));
            if let Some(lengths) = Lengths::read(&self.held)?
                && self.held.len() == lengths.total
            {
                emit(frame(&self.held.split().freeze(), lengths)?);
            }
        }
        while let Some(lengths) = Lengths::read(&chunk)? {
            if chunk.len() < lengths.total {
                break;
            }
            emit(frame(&chunk.split_to(lengths.total), lengths)?);
        }
        self.held.extend_from_slice(&chunk);
        Ok(())
    }
}

/// Bytes of the two lengths and their checksum.
const PRELUDE: usize = 12;
/// Bytes of a checksum.
const CHECKSUM: usize = 4;

/// CRC-32 of zlib: natively sixteen bytes at a time; on wasm by one table of 1 KiB, since the Worker's size counts.
static CRC32: Crc<u32, Table<LANES>> = Crc::<u32, Table<LANES>>::new(&CRC_32_ISO_HDLC);
const LANES: usize = if cfg!(target_arch = "wasm32") { 1 } else { 16 };

/// The lengths of a frame, judged.
#[derive(Clone, Copy)]
struct Lengths {
    total: usize,
    headers: usize,
}

impl Lengths {
    /// Reads and judges the prelude; `None` while it is not whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Broken> {
        let (Some(lengths), Some(sum)) = (bytes.get(..8), number(bytes, 8)) else { return Ok(None) };
        if CRC32.checksum(lengths) != sum {
            return Err(Broken::Checksum);
        }
        let (Some(total), Some(headers)) = (number(bytes, 0), number(bytes, 4)) else { return Ok(None) };
        // 32 bits fit where the gateway runs: wasm32 and 64-bit machines.
        let (total, headers) = (total as usize, headers as usize);
        let Some(payload) = total.checked_sub(PRELUDE + CHECKSUM).and_then(|rest| rest.checked_sub(headers)) else {
            return Err(Broken::Malformed);
        };
        if headers > limits::EVENT_STREAM_HEADER_BYTES || payload > limits::EVENT_STREAM_PAYLOAD_BYTES {
            return Err(Broken::TooLarge);
        }
        Ok(Some(Self { total, headers }))
    }
}

/// The big-endian number of four bytes at `at`.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// Reads a whole frame whose prelude was judged.
fn frame(bytes: &Bytes, lengths: Lengths) -> Result<Frame, Broken> {
    let end = bytes.len().saturating_sub(CHECKSUM);
    let body = bytes.get(..end).unwrap_or_default();
    if number(bytes, end) != Some(CRC32.checksum(body)) {
        return Err(Broken::Checksum);
    }
    let payload_at = PRELUDE + lengths.headers;
    let message = message(bytes.slice(PRELUDE..payload_at)).ok_or(Broken::Malformed)?;
    Ok(Frame { message, payload: bytes.slice(payload_at..end) })
}

/// Reads the headers; `None` if they are cut, or of a type that nobody knows the length of.
fn message(mut rest: Bytes) -> Option<Message> {
    let mut kind = None;
    let (mut event, mut exception) = (Bytes::new(), Bytes::new());
    let (mut code, mut text) = (Bytes::new(), Bytes::new());
    while !rest.is_empty() {
        let (name, value) = header(&mut rest)?;
        let Some(value) = value else { continue };
        match &*name {
            b":message-type" => kind = Some(value),
            b":event-type" => event = value,
            b":exception-type" => exception = value,
            b":error-code" => code = value,
            b":error-message" => text = value,
            _ => {}
        }
    }
    Some(match kind.as_deref() {
        Some(b"event") => Message::Event { kind: event },
        Some(b"exception") => Message::Exception { kind: exception },
        Some(b"error") => Message::Error { code, text },
        _ => Message::Other,
    })
}

/// Takes one header off: its name, and its value if that is a string.
fn header(rest: &mut Bytes) -> Option<(Bytes, Option<Bytes>)> {
    let length = take(rest, 1)?.first().copied()?;
    let name = take(rest, usize::from(length))?;
    let kind = take(rest, 1)?.first().copied()?;
    let length = match kind {
        // True and false.
        0 | 1 => 0,
        // Whole numbers of one, two, four and eight bytes; a time is of eight.
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        // Bytes and strings tell their length.
        6 | 7 => usize::from(u16::from_be_bytes(take(rest, 2)?.first_chunk().copied()?)),
        // A UUID.
        9 => 16,
        _ => return None,
    };
    let value = take(rest, length)?;
    Some((name, (kind == 7).then_some(value)))
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

/// Writes frames, for tests.
#[cfg(test)]
pub(crate) mod write {
    use super::{CHECKSUM, CRC32, PRELUDE};

    /// A frame with string headers.
    pub(crate) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(u8::try_from(name.len()).unwrap());
            block.extend_from_slice(name.as_bytes());
            block.push(7);
            block.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            block.extend_from_slice(value.as_bytes());
        }
        raw(&block, payload)
    }

    /// A frame with a block of headers as it is.
    pub(crate) fn raw(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let total = PRELUDE + headers.len() + payload.len() + CHECKSUM;
        let mut out = u32::try_from(total).unwrap().to_be_bytes().to_vec();
        out.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&CRC32.checksum(&out).to_be_bytes());
        out.extend_from_slice(headers);
        out.extend_from_slice(payload);
        out.extend_from_slice(&CRC32.checksum(&out).to_be_bytes());
        out
    }

    /// An event of JSON, as Bedrock sends it.
    pub(crate) fn event(kind: &str, payload: &str) -> Vec<u8> {
        let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
        frame(&headers, payload.as_bytes())
    }

    /// An exception with a message.
    pub(crate) fn exception(kind: &str, message: &str) -> Vec<u8> {
        let payload = serde_json::json!({"message": message}).to_string();
        frame(&[(":exception-type", kind), (":message-type", "exception")], payload.as_bytes())
    }
}

#[cfg(test)]
mod tests;
