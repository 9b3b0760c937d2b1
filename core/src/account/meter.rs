//! What a call used, settled exactly once however it ends: from what the provider reported, else from an estimate.

use super::Usage;
use crate::limits;

/// Whether anything is measured: always, but in a bench that wants to know what that costs.
#[cfg(not(any(test, feature = "test-support")))]
pub(crate) const fn on() -> bool {
    true
}

#[cfg(any(test, feature = "test-support"))]
pub(crate) use switch::on;

#[cfg(any(test, feature = "test-support"))]
pub(crate) mod switch {
    use std::sync::atomic::{AtomicBool, Ordering};

    static OFF: AtomicBool = AtomicBool::new(false);

    pub(crate) fn on() -> bool {
        !OFF.load(Ordering::Relaxed)
    }

    pub(crate) fn set(on: bool) {
        OFF.store(!on, Ordering::Relaxed);
    }
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    /// The tokens; `None` if nothing is known and nothing can be estimated.
    pub usage: Option<Usage>,
    /// They are an estimate of ours, wholly or in part.
    pub estimated: bool,
}

impl Measure {
    /// What was used by a call that was answered as a whole: as reported, else estimated from the text (fault matrix
    /// U39).
    pub(crate) fn of_whole(reported: Option<Usage>, asked: Estimate, answer: &[u8]) -> Self {
        match reported {
            Some(_) => Self { usage: reported, estimated: false },
            None => Self::guess(asked, Estimate::of_answer(answer)),
        }
    }

    /// What was used by a call of which nothing is known but what was said.
    pub(crate) fn guess(input: Estimate, output: Estimate) -> Self {
        let usage = Usage { input_tokens: input.tokens(), output_tokens: output.tokens(), ..Usage::default() };
        Self { usage: Some(usage), estimated: true }
    }
}

/// Text whose tokens were not reported: its length stands for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Bytes of JSON that hold text.
    bytes: u64,
}

/// Bytes of text for one token, as OpenAI's rule of thumb for English has it; other languages take fewer bytes a token
/// or more. <https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them>
const BYTES_OF_TOKEN: u64 = 4;

impl Estimate {
    /// Nothing was said.
    pub(crate) const NONE: Self = Self { bytes: 0 };

    /// Of so many bytes.
    pub(crate) const fn of_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// Of a request's body: all of its bytes, but for images and files that are written into it, which count as
    /// 4 KiB (some thousand tokens) each.
    pub(crate) fn of_request(bytes: &[u8]) -> Self {
        if !on() {
            return Self::NONE;
        }
        const EMBEDDED: &[u8] = b";base64,";
        const EMBEDDED_COUNTS: usize = 4096;
        let mut counted = bytes.len();
        let mut from = 0;
        while let Some(rest) = bytes.get(from..) {
            let Some(at) = memchr::memmem::find(rest, EMBEDDED) else { break };
            let begin = at + EMBEDDED.len();
            let length = rest.get(begin..).map_or(0, |data| memchr::memchr(b'"', data).unwrap_or(data.len()));
            counted = counted.saturating_sub(length).saturating_add(length.min(EMBEDDED_COUNTS));
            from += begin + length;
        }
        Self::of_bytes(counted as u64)
    }

    /// Of an answer in OpenAI's shape, whole or a stream: the text in it.
    pub(crate) fn of_answer(body: &[u8]) -> Self {
        Self::of_bytes(text_in(body))
    }

    /// The tokens it stands for.
    pub(crate) fn tokens(self) -> u64 {
        self.bytes.div_ceil(BYTES_OF_TOKEN).min(limits::TOKENS)
    }
}

/// Members that hold what a model wrote, in OpenAI's shapes.
const TEXTS: [&[u8]; 6] =
    [b"\"content\":", b"\"arguments\":", b"\"reasoning_content\":", b"\"reasoning\":", b"\"refusal\":", b"\"text\":"];

/// Bytes of the text in a piece of JSON of OpenAI's shape, as it is written.
pub(crate) fn text_in(json: &[u8]) -> u64 {
    if !on() {
        return 0;
    }
    let mut all = 0;
    for name in TEXTS {
        let mut rest = json;
        while let Some(at) = memchr::memmem::find(rest, name) {
            let value = rest.get(at + name.len()..).unwrap_or_default().trim_ascii_start();
            rest = value;
            if let Some(text) = value.strip_prefix(b"\"") {
                // Without its closing quote it was cut: all of it is text.
                let after = crate::json::after_string(text).unwrap_or_default();
                let quote = usize::from(after.len() < text.len());
                all += (text.len() - after.len()).saturating_sub(quote) as u64;
                rest = after;
            }
        }
    }
    all
}

/// Takes the reports of one stream and gives up what was used exactly once.
///
/// Every end of a call settles: a full answer, a cut stream, a client that left. What asks second gets nothing.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    usage: Option<Usage>,
    /// Bytes of text that passed.
    text: u64,
    /// The same when usage was last reported.
    reported_at: u64,
    settled: bool,
}

impl Meter {
    /// Takes a report; the last one counts (fault matrix U39).
    pub(crate) const fn report(&mut self, usage: Usage) {
        self.usage = Some(usage);
        self.reported_at = self.text;
    }

    /// Text of the answer passed, `bytes` long.
    pub(crate) const fn pass(&mut self, bytes: u64) {
        self.text = self.text.saturating_add(bytes);
    }

    /// What was used, the first time. `input` is for the case that the provider did not tell. A stream that is not
    /// `complete` has used what passed, at least: a report from before its text is no more than a beginning (fault
    /// matrix U18, U20).
    pub(crate) fn settle(&mut self, complete: bool, input: Estimate) -> Option<Measure> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        let output = Estimate::of_bytes(self.text);
        Some(match self.usage {
            None => Measure::guess(input, output),
            Some(_) if complete || (self.reported_at == self.text && self.text > 0) => {
                Measure { usage: self.usage, estimated: false }
            }
            Some(mut usage) => {
                usage.output_tokens = usage.output_tokens.max(output.tokens());
                Measure { usage: Some(usage), estimated: true }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    const ASKED: Estimate = Estimate::of_bytes(41);

    #[test]
    fn a_meter_settles_once_and_the_last_report_counts() {
        let mut meter = Meter::default();
        meter.report(usage(1, 1));
        meter.pass(3);
        meter.report(usage(2, 1));
        assert_eq!(meter.settle(true, ASKED), Some(Measure { usage: Some(usage(2, 1)), estimated: false }));
        assert_eq!(meter.settle(true, ASKED), None);
    }

    #[test]
    fn without_a_report_the_text_stands_for_tokens() {
        for (text, tokens) in [(0, 0), (1, 1), (4, 1), (5, 2)] {
            for complete in [true, false] {
                let mut meter = Meter::default();
                meter.pass(text);
                let want = Measure { usage: Some(usage(11, tokens)), estimated: true };
                assert_eq!(meter.settle(complete, ASKED), Some(want), "{text}");
            }
        }
    }

    #[test]
    fn a_cut_stream_used_what_passed_at_least() {
        // The beginning was reported, then text came: Anthropic's message_start.
        let cut = |reported: u64, text: u64| {
            let mut meter = Meter::default();
            meter.report(usage(7, reported));
            meter.pass(text);
            meter.settle(false, ASKED)
        };
        assert_eq!(cut(1, 400), Some(Measure { usage: Some(usage(7, 100)), estimated: true }));
        assert_eq!(cut(200, 400), Some(Measure { usage: Some(usage(7, 200)), estimated: true }));
        assert_eq!(cut(1, 0), Some(Measure { usage: Some(usage(7, 1)), estimated: true }));
        // All was reported, then the end was missing.
        let mut meter = Meter::default();
        meter.pass(400);
        meter.report(usage(7, 5));
        assert_eq!(meter.settle(false, ASKED), Some(Measure { usage: Some(usage(7, 5)), estimated: false }));
    }

    #[test]
    fn the_text_of_an_answer_is_what_the_model_wrote() {
        for (answer, bytes) in [
            (r#"{"choices":[{"message":{"role":"assistant","content":"Hello"}}]}"#, 5),
            (
                r#"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}"#,
                2,
            ),
            (r#"{"choices":[{"text":"one"},{"text": "two"}]}"#, 6),
            (r#"{"choices":[{"message":{"content":"\"text\":\"x\""}}]}"#, 14),
            (r#"{"data":[{"embedding":"AAAA"}],"object":"list"}"#, 0),
            ("data: {\"delta\":{\"content\":\"a\"}}\n\ndata: {\"delta\":{\"content\":\"b\"}}\n\n", 2),
            ("", 0),
        ] {
            assert_eq!(Estimate::of_answer(answer.as_bytes()), Estimate::of_bytes(bytes), "{answer}");
        }
    }

    #[test]
    fn embedded_images_count_as_little_as_they_cost() {
        let image = |bytes: usize| format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "A".repeat(bytes));
        let frame = image(0).len() as u64;
        for (bytes, counted) in [(0, 0), (4096, 4096), (4097, 4096), (9_000_000, 4096)] {
            let request = format!("[{},{}]", image(bytes), image(8));
            assert_eq!(
                Estimate::of_request(request.as_bytes()),
                Estimate::of_bytes(2 * frame + counted + 8 + 3),
                "{bytes}"
            );
        }
        assert_eq!(Estimate::of_request(b";base64,"), Estimate::of_bytes(8));
        assert_eq!(Estimate::of_request(b""), Estimate::NONE);
        assert_eq!(Estimate::of_bytes(u64::MAX).tokens(), limits::TOKENS);
    }
}
