//! Whether an answer is the one that the mock provider gave, and when its last text was sent.

use memchr::memmem;
use serde::Deserialize;

use crate::Outcome;
use crate::upstream::{TEXT, Wire};

/// The body of one answer as it comes in.
pub(crate) struct Check {
    wire: Wire,
    body: Vec<u8>,
    /// Text chunks that a stream must have.
    chunks: Option<u32>,
    /// How much of the body has been read as events.
    read: usize,
    texts: u32,
    sent: u64,
    stopped: bool,
    done: bool,
    fault: Option<&'static str>,
}

impl Check {
    pub(crate) fn new(wire: Wire, chunks: Option<u32>) -> Self {
        let body = Vec::with_capacity(1024);
        Self { wire, body, chunks, read: 0, texts: 0, sent: 0, stopped: false, done: false, fault: None }
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.body.extend_from_slice(piece);
        while self.chunks.is_some() {
            let Some(rest) = self.body.get(self.read..) else { return };
            let Some(length) = memmem::find(rest, b"\n\n") else { return };
            self.event(self.read, self.read + length);
            self.read += length + 2;
        }
    }

    fn event(&mut self, start: usize, end: usize) {
        let event = self.body.get(start..end).unwrap_or_default();
        let Marks { text, stop, done } = Marks::of(self.wire);
        let event = match self.wire {
            Wire::OpenAi => event,
            // What the name says, the data says too.
            Wire::Anthropic => memmem::find(event, b"\n").and_then(|at| event.get(at + 1..)).unwrap_or_default(),
        };
        let Some(data) = event.strip_prefix(b"data: ") else {
            // A comment keeps a stream alive; anything else is not ours.
            if event.first() != Some(&b':') {
                self.fault = Some("an event without data");
            }
            return;
        };
        if self.done {
            self.fault = Some("an event after the end");
        } else if data.starts_with(done) {
            self.done = true;
        } else if let Some(place) = memmem::find(data, text) {
            let stamp = data.get(place + text.len()..).unwrap_or_default();
            self.texts += 1;
            let (sent, rest) = leading_number(stamp);
            self.sent = sent;
            if leading_number(rest.strip_prefix(b"#").unwrap_or_default()).0 != u64::from(self.texts) {
                self.fault = Some("a chunk is missing or out of order");
            }
        } else if memmem::find(data, stop).is_some() {
            self.stopped = true;
        }
    }

    /// Whether a stream's first text has come.
    pub(crate) fn has_text(&self) -> bool {
        self.texts > 0
    }

    /// When the provider sent its last text, or what is wrong.
    pub(crate) fn finish(self) -> Outcome<u64> {
        let Some(chunks) = self.chunks else { return self.whole() };
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        if self.texts != chunks || !self.stopped || !self.done || self.read != self.body.len() {
            return Err(format!("a stream was cut after {} of {chunks} texts", self.texts).into());
        }
        Ok(self.sent)
    }

    fn whole(&self) -> Outcome<u64> {
        let (text, tokens, stamp) = match self.wire {
            Wire::OpenAi => {
                let Completion { choices: [choice], usage, system_fingerprint } = serde_json::from_slice(&self.body)?;
                (choice.message.content, usage.total_tokens, system_fingerprint)
            }
            Wire::Anthropic => {
                let Message { content: [block], usage } = serde_json::from_slice(&self.body)?;
                (block.text, usage.input_tokens + usage.output_tokens, String::new())
            }
        };
        let Some(rest) = text.strip_prefix(TEXT).filter(|_| tokens == 49) else {
            return Err(format!("not the provider's answer: {}", self.excerpt()).into());
        };
        // The stamp is where each wire format has a place for it; translated, behind the text.
        let stamp = stamp.strip_prefix("fp_").or_else(|| rest.strip_prefix('@')).unwrap_or_default();
        Ok(leading_number(stamp.as_bytes()).0)
    }

    /// The beginning of the body, to show.
    pub(crate) fn excerpt(&self) -> String {
        String::from_utf8_lossy(self.body.get(..self.body.len().min(300)).unwrap_or_default()).into_owned()
    }
}

/// What a stream's events are known by.
struct Marks {
    /// What precedes a stamp.
    text: &'static [u8],
    /// Stands in the reason of the end.
    stop: &'static [u8],
    /// Begins the last event.
    done: &'static [u8],
}

impl Marks {
    fn of(wire: Wire) -> Self {
        match wire {
            Wire::OpenAi => Self { text: b"\"content\":\"@", stop: b"\"finish_reason\":\"stop\"", done: b"[DONE]" },
            Wire::Anthropic => Self {
                text: b"\"text\":\"@",
                stop: b"\"stop_reason\":\"end_turn\"",
                done: b"{\"type\":\"message_stop\"",
            },
        }
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: [Choice; 1],
    usage: Usage,
    #[serde(default)]
    system_fingerprint: String,
}

#[derive(Deserialize)]
struct Choice {
    message: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: u64,
}

#[derive(Deserialize)]
struct Message {
    content: [Block; 1],
    usage: Counts,
}

#[derive(Deserialize)]
struct Block {
    text: String,
}

#[derive(Deserialize)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
}

fn leading_number(text: &[u8]) -> (u64, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    let number = number.iter().fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    (number, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
                          : keep-alive\n\n\
                          data: {\"choices\":[{\"delta\":{\"content\":\"@7#1\"}}]}\n\n\
                          data: {\"choices\":[{\"delta\":{\"content\":\"@9#2\"}}]}\n\n\
                          data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                          data: [DONE]\n\n";

    fn check(wire: Wire, chunks: Option<u32>, body: &str, pieces: usize) -> Result<u64, String> {
        let mut check = Check::new(wire, chunks);
        body.as_bytes().chunks(pieces).for_each(|piece| check.push(piece));
        check.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        for pieces in [1, 2, 7, 4096] {
            assert_eq!(check(Wire::OpenAi, Some(2), STREAM, pieces), Ok(9));
        }
    }

    #[test]
    fn a_stream_that_differs_is_refused() {
        let wrong = [
            STREAM.replace("data: [DONE]\n\n", ""),
            STREAM.replace("[DONE]\n\n", "[DONE]\n"),
            STREAM.replace("#2", "#3"),
            STREAM.replace("stop", "length"),
            STREAM.replace(": keep", "event: keep"),
            format!("{STREAM}data: {{}}\n\n"),
        ];
        for body in wrong {
            assert!(check(Wire::OpenAi, Some(2), &body, 64).is_err(), "{body}");
        }
        assert!(check(Wire::OpenAi, Some(3), STREAM, 64).is_err());
    }

    #[test]
    fn a_whole_answer_is_the_providers() {
        let body = format!(
            "{{\"choices\":[{{\"message\":{{\"content\":\"{TEXT}\"}}}}],\"usage\":{{\"total_tokens\":49}},\
             \"system_fingerprint\":\"fp_12\"}}"
        );
        assert_eq!(check(Wire::OpenAi, None, &body, 10), Ok(12));
        assert!(check(Wire::OpenAi, None, &body.replace("49", "48"), 10).is_err());
        assert!(check(Wire::OpenAi, None, &body.replace(TEXT, "other"), 10).is_err());
    }

    #[test]
    fn anthropics_answers_are_read_and_checked() {
        let body = "event: message_start\ndata: {\"type\":\"message_start\"}\n\n\
                    event: content_block_delta\ndata: {\"delta\":{\"text\":\"@7#1\"}}\n\n\
                    event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n\
                    event: message_stop\ndata: {\"type\":\"message_stop\" }\n\n";
        assert_eq!(check(Wire::Anthropic, Some(1), body, 7), Ok(7));
        assert!(check(Wire::Anthropic, Some(2), body, 7).is_err());
        assert!(check(Wire::Anthropic, Some(1), &body.replace("end_turn", "max_tokens"), 7).is_err());
        let body = format!(
            "{{\"content\":[{{\"text\":\"{TEXT}@5\"}}],\"usage\":{{\"input_tokens\":19,\"output_tokens\":30}}}}"
        );
        assert_eq!(check(Wire::Anthropic, None, &body, 10), Ok(5));
        assert!(check(Wire::Anthropic, None, &body.replace("19", "20"), 10).is_err());
    }
}
