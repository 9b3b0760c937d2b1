//! Targets for streams: framings by themselves, and every dialect through the relay.

use bytes::Bytes;
use crc::{CRC_32_ISO_HDLC, Crc};

use super::exchange::{Origin, Reading};
use super::play::{Pieces, Played, play};
use super::shape::{Rigour, judge};
use super::{Dice, Material, Target, none};
use crate::chat::{Expect, JSON_TOOL};
use crate::dialect::openai_chat::{Envelope, Shape};
use crate::frame::{eventstream, sse};
use crate::ports::HttpError;
use crate::provider::ProviderKind;

pub(super) const SSE: Target = target("sse", &[Material::Events(ALL)], framing);
pub(super) const EVENTSTREAM: Target = target("eventstream", &[Material::Frames], frames);
pub(super) const ANTHROPIC: Target = target("stream_anthropic", &[Material::Events(&["anthropic"])], |input| {
    let mut dice = Dice::of(input);
    let origin = Origin::Anthropic(expect(&mut dice));
    chat(origin, input, &mut dice);
});
pub(super) const CONVERSE: Target = target("stream_converse", &[Material::Lines], |input| {
    let mut dice = Dice::of(input);
    let origin = Origin::Converse(expect(&mut dice));
    chat(origin, &encode_lines(input), &mut dice);
});
pub(super) const WATSONX: Target = target("stream_watsonxai", &[Material::Events(&["watsonxai", "nim"])], |input| {
    like(ProviderKind::WatsonxAi, input);
});
pub(super) const CEREBRAS: Target = target("stream_cerebras", &[Material::Events(LIKE)], |input| {
    like(ProviderKind::Cerebras, input);
});
pub(super) const NIM: Target = target("stream_nim", &[Material::Events(LIKE)], |input| like(ProviderKind::Nim, input));
pub(super) const AZURE: Target =
    target("stream_azure_strict", &[Material::Events(&["azure-openai", "openai"])], |input| {
        like(ProviderKind::AzureOpenAi, input);
    });
pub(super) const GENERATION: Target = target("stream_generation", &[Material::Events(&["watsonxai"])], |input| {
    let mut dice = Dice::of(input);
    let echo = serde_json::value::to_raw_value("Say \"this\":").ok().filter(|_| dice.once_in(2));
    translated(Origin::Generation(echo), Shape::Completion, input, &mut dice);
});
pub(super) const COMPLETIONS: Target =
    target("stream_completions", &[Material::Events(&["cerebras", "nim", "openai"])], |input| {
        let mut dice = Dice::of(input);
        let kind = if dice.once_in(2) { ProviderKind::Nim } else { ProviderKind::Cerebras };
        translated(Origin::Completions(kind), Shape::Completion, input, &mut dice);
    });
pub(super) const PASS: Target =
    target("stream_pass", &[Material::Events(&["openai", "azure-openai", "cerebras"])], |input| {
        let mut dice = Dice::of(input);
        let origin = Origin::Pass { hide_usage: dice.once_in(2), skip_filters: dice.once_in(2) };
        let reading = Reading { origin, shape: Shape::Chat, envelope: envelope(&mut dice) };
        relayed(&reading, Rigour::Theirs, input, &mut dice);
    });

const ALL: &[&str] = &["openai", "azure-openai", "anthropic", "watsonxai", "cerebras", "nim"];
const LIKE: &[&str] = &["cerebras", "nim", "watsonxai", "openai"];

const fn target(name: &'static str, material: &'static [Material], run: fn(&[u8])) -> Target {
    Target { name, material, examples: none, run }
}

fn like(kind: ProviderKind, input: &[u8]) {
    let mut dice = Dice::of(input);
    let origin = Origin::Like(kind, expect(&mut dice));
    chat(origin, input, &mut dice);
}

fn chat(origin: Origin, input: &[u8], dice: &mut Dice) {
    translated(origin, Shape::Chat, input, dice);
}

fn translated(origin: Origin, shape: Shape, input: &[u8], dice: &mut Dice) {
    let reading = Reading { origin, shape, envelope: envelope(dice) };
    relayed(&reading, Rigour::Ours(shape), input, dice);
}

fn expect(dice: &mut Dice) -> Expect {
    Expect {
        json_tool: dice.once_in(4).then_some(JSON_TOOL),
        no_tools: dice.once_in(8),
        free_calls: dice.once_in(2),
        renamed: if dice.once_in(4) { vec![("get_weather".to_owned(), "weather \"now\"".to_owned())] } else { vec![] },
    }
}

fn envelope(dice: &mut Dice) -> Envelope {
    Envelope {
        id: "chatcmpl-1".to_owned(),
        created: 1_760_000_000,
        model: (!dice.once_in(4)).then(|| "a \"model\"".to_owned()),
        legacy_functions: dice.once_in(4),
        include_usage: dice.once_in(2),
    }
}

/// Plays a body whole, cut at random and byte by byte; all must be the same, and what OpenAI's clients take.
fn relayed(reading: &Reading, rigour: Rigour, input: &[u8], dice: &mut Dice) {
    let body = Bytes::copy_from_slice(input);
    let end = if dice.once_in(3) { Err(HttpError::Disconnected) } else { Ok(()) };
    let whole = play(reading.codec(), &body, Pieces::One, end);
    judge(&whole, rigour);
    // Each event leaves at most once, in an envelope of ours; the events of a body are at least some bytes apart.
    let most = 4096 + input.len() * 64;
    assert!(whole.bytes.len() <= most, "{} bytes became {}", input.len(), whole.bytes.len());
    same(&whole, &play(reading.codec(), &body, Pieces::Random(Dice::new(dice.roll())), end));
    same(&whole, &play(reading.codec(), &body, Pieces::Two(dice.below(body.len())), end));
    if input.len() <= 2048 {
        same(&whole, &play(reading.codec(), &body, Pieces::Bytes, end));
    }
}

fn same(whole: &Played, pieces: &Played) {
    assert_eq!(
        String::from_utf8_lossy(&whole.bytes),
        String::from_utf8_lossy(&pieces.bytes),
        "the output depends on where the body is cut"
    );
    assert_eq!(whole, pieces, "the end depends on where the body is cut");
}

/// What a framing gave: events, and whether it failed.
type Read<T> = (Vec<T>, bool);

fn framing(input: &[u8]) {
    let read = |mut pieces: Dice, most: usize| -> Read<(Option<Bytes>, Bytes)> {
        let mut decoder = sse::Decoder::default();
        let (mut events, mut failed, mut rest) = (Vec::new(), false, input);
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((1 + pieces.below(most)).min(rest.len()));
            rest = tail;
            let chunk = Bytes::copy_from_slice(piece);
            let pushed = decoder.push(&chunk, |event| {
                if let Some(span) = event.span {
                    let written = [b"data: ", &event.data[..], b"\n\n"].concat();
                    assert_eq!(chunk.get(span), Some(&written[..]), "the span is not the event");
                }
                events.push((event.name, event.data));
            });
            assert!(!failed || pushed.is_err(), "a failed decoder goes on");
            failed |= pushed.is_err();
        }
        decoder.finish(|event| events.push((event.name, event.data)));
        (events, failed)
    };
    let whole = read(Dice::new(0), usize::MAX);
    let size: usize = whole.0.iter().map(|(name, data)| name.as_ref().map_or(0, Bytes::len) + data.len()).sum();
    assert!(size <= input.len(), "{} bytes became {size}", input.len());
    assert_eq!(whole, read(Dice::of(input), 16), "the events depend on where the body is cut");
    assert_eq!(whole, read(Dice::new(0), 1), "the events depend on where the body is cut");
}

fn frames(input: &[u8]) {
    let mut dice = Dice::of(input);
    let mut input = input.to_vec();
    if !dice.once_in(4) {
        mend(&mut input);
    }
    let read = |mut pieces: Dice, most: usize| -> (Vec<eventstream::Frame>, Option<eventstream::Broken>, bool) {
        let mut decoder = eventstream::Decoder::default();
        let (mut frames, mut broken, mut rest) = (Vec::new(), None, &input[..]);
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((1 + pieces.below(most)).min(rest.len()));
            rest = tail;
            let pushed = decoder.push(&Bytes::copy_from_slice(piece), |frame| frames.push(frame));
            assert!(broken.is_none() || pushed.err() == broken, "a broken decoder goes on");
            broken = pushed.err();
        }
        (frames, broken, decoder.pending())
    };
    let whole = read(Dice::new(0), usize::MAX);
    let size: usize = whole.0.iter().map(|frame| frame.payload.len() + 16).sum();
    assert!(size <= input.len(), "{} bytes became {size}", input.len());
    assert_eq!(whole, read(dice, 32), "the frames depend on where the body is cut");
    assert_eq!(whole, read(Dice::new(0), 1), "the frames depend on where the body is cut");
}

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Makes the checksums of all frames right, so that changes behind them are looked at.
fn mend(bytes: &mut [u8]) {
    let mut rest = bytes;
    while let Some(total) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
        if total < 16 || total > rest.len() {
            return;
        }
        let (frame, tail) = rest.split_at_mut(total);
        sum(frame, 8);
        sum(frame, total - 4);
        rest = tail;
    }
}

/// Writes the checksum of what stands before `at` there.
fn sum(frame: &mut [u8], at: usize) {
    let sum = CRC32.checksum(frame.get(..at).unwrap_or_default()).to_be_bytes();
    if let Some(place) = frame.get_mut(at..at + 4) {
        place.copy_from_slice(&sum);
    }
}

/// Frames from lines of message type, event type and payload.
fn encode_lines(lines: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let mut part = || parts.next().unwrap_or_default();
        let (message, kind, payload) = (part(), part(), part());
        let about = match message {
            b"exception" => ":exception-type",
            b"error" => ":error-code",
            _ => ":event-type",
        };
        let mut headers = Vec::new();
        for (name, value) in [(":message-type", message), (about, kind)] {
            let value = value.get(..value.len().min(1000)).unwrap_or_default();
            headers.push(u8::try_from(name.len()).unwrap_or_default());
            headers.extend_from_slice(name.as_bytes());
            headers.push(7);
            headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
            headers.extend_from_slice(value);
        }
        let length = |length: usize| u32::try_from(length).unwrap_or_default().to_be_bytes();
        let total = 16 + headers.len() + payload.len();
        let mut frame = [&length(total)[..], &length(headers.len()), &[0; 4], &headers, payload, &[0; 4]].concat();
        mend(&mut frame);
        body.extend_from_slice(&frame);
    }
    body
}
