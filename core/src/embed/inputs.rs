//! The texts of a request, in the four kinds that OpenAI takes: for embeddings and for legacy completions.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::error::{ErrorCode, Failure, Outcome};
use crate::limits;
use crate::provider::ProviderKind;

/// What is to be worked on: one entry for each vector or text of the answer, never none.
#[derive(Debug)]
pub(crate) enum Inputs<'a> {
    /// JSON strings as they are written.
    Texts(Vec<&'a RawValue>),
    /// JSON arrays of token ids; none is empty.
    Tokens(Vec<&'a RawValue>),
}

/// Whether a text may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It may.
    Taken,
    /// It may not.
    Refused,
}

impl<'a> Inputs<'a> {
    /// Reads the member `name`.
    ///
    /// # Errors
    /// `invalid_request`, with the path of what is wrong as `param`.
    pub(crate) fn read(name: &'static str, raw: &'a RawValue, empty: Empty) -> Outcome<Self> {
        let reader = Reader { name, empty };
        if raw.get().starts_with('"') {
            reader.text(raw, || name.to_owned())?;
            return Ok(Self::Texts(vec![raw]));
        }
        let all = items(raw).ok_or_else(|| wrong(name, KINDS))?;
        let first = all.first().ok_or_else(|| wrong(name, "must not be empty."))?;
        let place = |at: usize| move || format!("{name}[{at}]");
        match first.get().as_bytes().first() {
            Some(b'"') => {
                reader.count(all.len())?;
                all.iter().enumerate().try_for_each(|(at, text)| reader.text(text, place(at)))?;
                Ok(Self::Texts(all))
            }
            Some(b'[') => {
                reader.count(all.len())?;
                for (at, list) in all.iter().enumerate() {
                    let what = "must be an array of token ids, and not be empty.";
                    let tokens = items(list).filter(|tokens| !tokens.is_empty());
                    let tokens = tokens.ok_or_else(|| wrong(place(at)(), what))?;
                    if let Some(odd) = tokens.iter().position(|token| !is_token(token)) {
                        return Err(wrong(format!("{name}[{at}][{odd}]"), TOKEN));
                    }
                }
                Ok(Self::Tokens(all))
            }
            Some(b'0'..=b'9' | b'-') => match all.iter().position(|token| !is_token(token)) {
                Some(odd) => Err(wrong(place(odd)(), TOKEN)),
                None => Ok(Self::Tokens(vec![raw])),
            },
            _ => Err(wrong(place(0)(), "must be a string, a token id, or an array of token ids.")),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Texts(all) | Self::Tokens(all) => all.len(),
        }
    }

    /// The texts of the member `name`, for a provider that takes no token ids.
    ///
    /// # Errors
    /// `unsupported_value` for token ids: they mean nothing without OpenAI's tokenizer.
    pub(crate) fn texts(&self, name: &'static str, kind: ProviderKind) -> Outcome<&[&'a RawValue]> {
        match self {
            Self::Texts(texts) => Ok(texts),
            Self::Tokens(_) => {
                let message = format!("Token-array {name} is not supported by provider type '{}'.", kind.as_str());
                Err(Failure::new(ErrorCode::UnsupportedValue, message).with_param(name))
            }
        }
    }
}

const KINDS: &str = "must be a string, an array of strings, an array of token ids, or an array of such arrays.";
const TOKEN: &str = "must be a token id: a whole number that is not negative.";

struct Reader {
    name: &'static str,
    empty: Empty,
}

impl Reader {
    fn count(&self, count: usize) -> Outcome<()> {
        if count > limits::INPUTS {
            return Err(wrong(self.name, "must have at most 2048 entries."));
        }
        Ok(())
    }

    fn text(&self, raw: &RawValue, place: impl Fn() -> String) -> Outcome<()> {
        match raw.get() {
            "\"\"" if self.empty == Empty::Refused => Err(wrong(place(), "must not be empty.")),
            text if !text.starts_with('"') => Err(wrong(place(), "must be a string like the one before it.")),
            _ => Ok(()),
        }
    }
}

fn wrong(param: impl Into<Cow<'static, str>>, what: &str) -> Failure {
    let param = param.into();
    Failure::invalid(param.clone(), format!("'{param}' {what}"))
}

fn items(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

fn is_token(raw: &RawValue) -> bool {
    raw.get().parse::<u32>().is_ok()
}
