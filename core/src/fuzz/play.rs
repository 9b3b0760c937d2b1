//! One stream through a relay, in pieces.

use bytes::Bytes;

use super::{Dice, must};
use crate::account::{Estimate, Usage};
use crate::deployment::Timeouts;
use crate::error::ErrorCode;
use crate::ports::HttpError;
use crate::relay::{Codec, End, Hold, Relay, Setup};

/// Where a body is cut.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    /// Nowhere.
    One,
    /// Once, at that byte.
    Two(usize),
    /// After every byte.
    Bytes,
    /// Anywhere.
    Random(Dice),
}

/// What became of a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Played {
    /// The failure that was answered instead, before any content: its code and body.
    pub refused: Option<(ErrorCode, Bytes)>,
    /// What the client got.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: End,
    /// Whether it ended before the body did.
    pub early: bool,
    /// The usage.
    pub usage: Option<Usage>,
    /// The provider's own word for the end.
    pub native_finish: Option<String>,
}

impl Pieces {
    /// The length of the next piece of `left` bytes, of which `done` came before.
    fn next(&mut self, done: usize, left: usize) -> usize {
        match self {
            Self::One => left,
            Self::Two(at) => at.checked_sub(done).filter(|length| *length > 0).map_or(left, |length| length.min(left)),
            Self::Bytes => 1,
            Self::Random(dice) => {
                let most = if dice.once_in(4) { left } else { 24 };
                (1 + dice.below(most)).min(left)
            }
        }
    }
}

/// Plays a body that ends as `end` says.
///
/// # Panics
/// When the relay says different things of its end, or anything leaves after it.
pub(crate) fn play(codec: Codec, body: &Bytes, mut pieces: Pieces, end: Result<(), HttpError>) -> Played {
    let mut relay = Relay::new(Setup {
        codec,
        secrets: Vec::new(),
        now_ms: 0,
        deadline_ms: 600_000,
        timeouts: Timeouts::default(),
    });
    let mut bytes = Vec::new();
    let mut refused = None;
    let mut committed = false;
    let mut done = 0;
    while done < body.len() {
        let length = pieces.next(done, body.len() - done);
        let chunk = body.slice(done..done + length);
        done += length;
        if committed {
            let over = relay.ended().is_some();
            let step = relay.push(&chunk, 1);
            assert_eq!(step.done, relay.ended().is_some(), "the step and the relay disagree on the end");
            assert!(!over || step.bytes.is_empty(), "output after the end");
            bytes.extend_from_slice(&step.bytes);
            continue;
        }
        match relay.hold(&chunk, 1) {
            Hold::More => {}
            Hold::Commit => {
                committed = true;
                bytes.extend_from_slice(&relay.begin(1).bytes);
            }
            Hold::Fail(failure) => {
                refused = Some((failure.code, failure.body()));
                break;
            }
        }
    }
    let early = relay.ended().is_some();
    if committed {
        let step = relay.end(end, 1);
        assert!(step.done, "the body is over and the stream is not");
        assert!(!early || step.bytes.is_empty(), "output after the end");
        bytes.extend_from_slice(&step.bytes);
    } else if refused.is_none() {
        match relay.hold_end(end) {
            Hold::Fail(failure) => refused = Some((failure.code, failure.body())),
            Hold::Commit => bytes.extend_from_slice(&relay.begin(1).bytes),
            Hold::More => assert!(committed, "the body is over and the relay waits for more"),
        }
    }
    assert!(relay.push(&Bytes::from_static(b"data: {}\n\n"), 2).bytes.is_empty(), "output after the end");
    assert!(relay.wake(3_000_000).bytes.is_empty(), "output after the end");
    let end = must(relay.ended(), "no end");
    // Of a cut stream the usage is estimated, from text that may have come in the same bytes as the break.
    let whole = relay.ended() == Some(End::Complete);
    let usage = relay.settle(Estimate::NONE).filter(|_| whole).and_then(|measure| measure.usage);
    assert_eq!(relay.settle(Estimate::NONE), None, "usage is settled twice");
    Played { refused, bytes, end, early, usage, native_finish: relay.native_finish().map(str::to_owned) }
}
