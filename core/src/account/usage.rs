//! Tokens of one call: totals as providers report them, and the disjoint classes they are billed by.

use serde_json::value::RawValue;

use crate::limits;

/// Tokens of one call, as the provider reported them. The totals include everything else, which may overlap;
/// [`Usage::classes`] are disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// All input tokens.
    pub input_tokens: u64,
    /// All output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the provider's prompt cache, part of `input_tokens`.
    pub cache_read_tokens: Option<u64>,
    /// Input tokens written into the provider's prompt cache, part of `input_tokens`.
    pub cache_write_tokens: Option<u64>,
    /// Those of them that stay there for an hour, part of `cache_write_tokens`; the others stay for 5 minutes.
    pub cache_write_1h_tokens: Option<u64>,
    /// Input tokens of sound, part of `input_tokens`.
    pub input_audio_tokens: Option<u64>,
    /// Input tokens of images, part of `input_tokens`.
    pub input_image_tokens: Option<u64>,
    /// Output tokens spent on reasoning, part of `output_tokens`.
    pub reasoning_tokens: Option<u64>,
    /// Output tokens of sound, part of `output_tokens`.
    pub output_audio_tokens: Option<u64>,
    /// Predicted tokens that were right, part of `output_tokens`: told to the client, billed as any output.
    pub accepted_prediction_tokens: Option<u64>,
    /// Predicted tokens that were wrong, part of `output_tokens`: told to the client, billed as any output.
    pub rejected_prediction_tokens: Option<u64>,
}

/// What a dialect's number of input tokens counts. Each dialect says it once, as a constant beside its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputTotal {
    /// All of them.
    WithCache,
    /// All but those that were read from the prompt cache or written into it.
    WithoutCache,
}

impl InputTotal {
    /// The usage whose `input_tokens` a dialect reported in its own way of counting.
    pub(crate) fn settle(self, mut usage: Usage) -> Usage {
        if self == Self::WithoutCache {
            let cached = usage.cache_read_tokens.unwrap_or(0).saturating_add(usage.cache_write_tokens.unwrap_or(0));
            usage.input_tokens = usage.input_tokens.saturating_add(cached);
        }
        usage.bounded()
    }
}

impl Usage {
    /// The sum of two calls. A class is known if either call reported it.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: sum(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: sum(self.cache_write_tokens, other.cache_write_tokens),
            cache_write_1h_tokens: sum(self.cache_write_1h_tokens, other.cache_write_1h_tokens),
            input_audio_tokens: sum(self.input_audio_tokens, other.input_audio_tokens),
            input_image_tokens: sum(self.input_image_tokens, other.input_image_tokens),
            reasoning_tokens: sum(self.reasoning_tokens, other.reasoning_tokens),
            output_audio_tokens: sum(self.output_audio_tokens, other.output_audio_tokens),
            accepted_prediction_tokens: sum(self.accepted_prediction_tokens, other.accepted_prediction_tokens),
            rejected_prediction_tokens: sum(self.rejected_prediction_tokens, other.rejected_prediction_tokens),
        }
        .bounded()
    }

    /// Totals no call can exceed, so that no sum of costs overflows.
    const fn bounded(mut self) -> Self {
        if self.input_tokens > limits::TOKENS {
            self.input_tokens = limits::TOKENS;
        }
        if self.output_tokens > limits::TOKENS {
            self.output_tokens = limits::TOKENS;
        }
        self
    }

    /// The disjoint classes, whose sums are the totals. What providers count twice (a cached image) goes to the class
    /// that is named first; what exceeds its total is cut (fault matrix U39).
    pub(crate) fn classes(&self) -> Classes {
        let mut classes = Classes::default();
        let mut left = self.input_tokens.min(limits::TOKENS);
        let write = self.cache_write_tokens.unwrap_or(0);
        let hour = self.cache_write_1h_tokens.unwrap_or(0).min(write);
        for (class, count) in [
            (TokenClass::CacheRead, self.cache_read_tokens.unwrap_or(0)),
            (TokenClass::CacheWrite1h, hour),
            (TokenClass::CacheWrite5m, write - hour),
            (TokenClass::InputAudio, self.input_audio_tokens.unwrap_or(0)),
            (TokenClass::InputImage, self.input_image_tokens.unwrap_or(0)),
            (TokenClass::Input, u64::MAX),
        ] {
            classes.take(class, count, &mut left);
        }
        let mut left = self.output_tokens.min(limits::TOKENS);
        for (class, count) in [
            (TokenClass::Reasoning, self.reasoning_tokens.unwrap_or(0)),
            (TokenClass::OutputAudio, self.output_audio_tokens.unwrap_or(0)),
            (TokenClass::Output, u64::MAX),
        ] {
            classes.take(class, count, &mut left);
        }
        classes
    }
}

/// A class of tokens: every token of a call is of exactly one. The order is that of [`TokenClass::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenClass {
    /// Text of the input, not cached.
    Input,
    /// Input read from the provider's prompt cache.
    CacheRead,
    /// Input written into it for 5 minutes, or for a time that the provider does not tell.
    CacheWrite5m,
    /// Input written into it for an hour.
    CacheWrite1h,
    /// Sound in the input, not cached.
    InputAudio,
    /// Images in the input, not cached, where they are counted apart.
    InputImage,
    /// Text of the output.
    Output,
    /// Reasoning, counted as output.
    Reasoning,
    /// Sound in the output.
    OutputAudio,
}

impl TokenClass {
    /// All classes; those of the input first.
    pub(crate) const ALL: [Self; 9] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::InputAudio,
        Self::InputImage,
        Self::Output,
        Self::Reasoning,
        Self::OutputAudio,
    ];

    /// Its name in price books, prices of models and usage rows.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::InputAudio => "input_audio",
            Self::InputImage => "input_image",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::OutputAudio => "output_audio",
        }
    }

    /// The class of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// Tokens by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Classes([u64; TokenClass::ALL.len()]);

impl Classes {
    /// Every class with its tokens.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TokenClass, u64)> {
        TokenClass::ALL.into_iter().zip(self.0)
    }

    /// Gives a class `count` of what is left, or all of it.
    fn take(&mut self, class: TokenClass, count: u64, left: &mut u64) {
        let count = count.min(*left);
        *left -= count;
        if let Some(place) = self.0.get_mut(class as usize) {
            *place = count;
        }
    }
}

/// A count of tokens as providers write it; `None` if it is no whole number, or more than any call can have.
pub(crate) fn tokens(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|count| *count <= limits::TOKENS)
}

/// The same for a member that may be missing.
pub(crate) fn count(raw: Option<&RawValue>) -> Option<u64> {
    tokens(raw?.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(usage: Usage) -> Vec<(&'static str, u64)> {
        usage.classes().iter().filter(|(_, n)| *n > 0).map(|(class, n)| (class.as_str(), n)).collect()
    }

    #[test]
    fn classes_are_disjoint_and_their_sums_are_the_totals() {
        let used = Usage { input_tokens: 100, output_tokens: 50, ..Usage::default() };
        assert_eq!(classes(used), [("input", 100), ("output", 50)]);
        let some = Usage {
            cache_read_tokens: Some(10),
            cache_write_tokens: Some(20),
            cache_write_1h_tokens: Some(5),
            input_audio_tokens: Some(7),
            input_image_tokens: Some(8),
            reasoning_tokens: Some(30),
            output_audio_tokens: Some(1),
            accepted_prediction_tokens: Some(4),
            ..used
        };
        let want = [
            ("input", 55),
            ("cache_read", 10),
            ("cache_write_5m", 15),
            ("cache_write_1h", 5),
            ("input_audio", 7),
            ("input_image", 8),
            ("output", 19),
            ("reasoning", 30),
            ("output_audio", 1),
        ];
        assert_eq!(classes(some), want);
        // Cached sound is counted twice by its provider: here it is cached. What exceeds its total is cut.
        let double = Usage { cache_read_tokens: Some(90), input_audio_tokens: Some(40), ..used };
        assert_eq!(classes(double), [("cache_read", 90), ("input_audio", 10), ("output", 50)]);
        let absurd = Usage { reasoning_tokens: Some(u64::MAX), cache_write_1h_tokens: Some(9), ..used };
        assert_eq!(classes(absurd), [("input", 100), ("reasoning", 50)]);
    }

    #[test]
    fn a_dialect_says_once_what_its_total_counts() {
        let usage = Usage {
            input_tokens: 10,
            cache_read_tokens: Some(100),
            cache_write_tokens: Some(1_000),
            cache_write_1h_tokens: Some(999),
            ..Usage::default()
        };
        assert_eq!(InputTotal::WithCache.settle(usage), usage);
        assert_eq!(InputTotal::WithoutCache.settle(usage).input_tokens, 1_110);
        let most = Usage { cache_read_tokens: Some(limits::TOKENS), ..usage };
        assert_eq!(InputTotal::WithoutCache.settle(most).input_tokens, limits::TOKENS);
    }

    /// Fault matrix: U39.
    #[test]
    fn counts_end_at_the_limit() {
        assert_eq!(tokens(&limits::TOKENS.to_string()), Some(limits::TOKENS));
        assert_eq!(tokens(&(limits::TOKENS + 1).to_string()), None);
        for odd in ["-1", "1.0", "1e3", "\"1\"", "", "null"] {
            assert_eq!(tokens(odd), None, "{odd}");
        }
        let most = Usage { input_tokens: limits::TOKENS, output_tokens: limits::TOKENS, ..Usage::default() };
        assert_eq!(most.plus(&most), most);
    }

    #[test]
    fn classes_stand_in_the_order_of_their_list() {
        for (at, class) in TokenClass::ALL.into_iter().enumerate() {
            assert_eq!((class as usize, TokenClass::named(class.as_str())), (at, Some(class)));
        }
    }
}
