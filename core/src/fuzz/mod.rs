//! Fuzz targets: functions of bytes that must neither panic nor break what core promises of its output.
//!
//! All choices beside the input (options, where a stream is cut) are drawn from a hash of the input, so that the input
//! alone repeats a run. `tests/fuzz` makes inputs and calls these; tests of core use the parts. Never part of a build
//! that serves.

mod answers;
mod exchange;
mod play;
mod requests;
mod shape;
mod streams;
mod values;

#[cfg(test)]
pub(crate) use self::exchange::{Exchange, Origin, Reading};
#[cfg(test)]
pub(crate) use self::play::{Pieces, Played, play};
#[cfg(test)]
pub(crate) use self::shape::{Rigour, judge};

/// One fuzz target.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What its inputs are made of.
    pub material: &'static [Material],
    /// Inputs that no golden file has, as they need keys of the target's own.
    pub examples: fn() -> Vec<Vec<u8>>,
    /// Takes an input.
    ///
    /// # Panics
    /// When core breaks a promise.
    pub run: fn(&[u8]),
}

/// Golden data that a target begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Material {
    /// Bodies of clients' requests.
    Requests,
    /// Bodies of whole answers, errors included, from providers of one of these types.
    Answers(&'static [&'static str]),
    /// Event streams of providers of one of these types.
    Events(&'static [&'static str]),
    /// AWS event streams as they are.
    Frames,
    /// AWS event streams as text: a line for each frame with its message type, event type and payload, so that a change
    /// of a line still gives a frame with correct checksums.
    Lines,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    streams::SSE,
    streams::EVENTSTREAM,
    streams::ANTHROPIC,
    streams::CONVERSE,
    streams::WATSONX,
    streams::CEREBRAS,
    streams::NIM,
    streams::AZURE,
    streams::GENERATION,
    streams::COMPLETIONS,
    streams::PASS,
    requests::OPENAI,
    requests::AZURE,
    requests::ANTHROPIC,
    requests::BEDROCK,
    requests::WATSONX,
    requests::CEREBRAS,
    requests::NIM,
    answers::OPENAI,
    answers::ANTHROPIC,
    answers::CONVERSE,
    answers::LIKE,
    answers::COMPLETIONS,
    answers::EMBEDDINGS,
    answers::IAM,
    values::JSON,
    values::URL,
    values::BEARER,
    values::SEALED,
    values::RECORDS,
];

/// A sequence of numbers that a seed determines: SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The sequence of some bytes (FNV-1a).
    pub fn of(bytes: &[u8]) -> Self {
        Self(
            bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            }),
        )
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// Yes once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// What a promise of core says is there.
///
/// # Panics
/// When it is not, with what is wrong then.
#[track_caller]
#[expect(clippy::expect_used, reason = "a fuzz target tells by a panic that a promise is broken")]
fn must<T>(found: Option<T>, wrong: &str) -> T {
    found.expect(wrong)
}

/// No inputs beside the golden ones.
fn none() -> Vec<Vec<u8>> {
    Vec::new()
}
