//! Parameters that a provider cannot take: dropped and named, or refused.

use std::borrow::Cow;

use super::Request;
use crate::error::{ErrorCode, Failure, Outcome};

/// What a dialect does with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is expressed, or its absence changes nothing.
    Used,
    /// It tunes the answer and cannot be expressed: left out and named in `x-gateway-dropped-params`.
    Dropped,
    /// The client can check it, and it cannot be honoured.
    Refused,
}

/// The names of parameters that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drops(Vec<Cow<'static, str>>);

/// Longest name that is repeated to the client.
const NAME_BYTES: usize = 64;

impl Drops {
    /// Notes a parameter, once.
    pub(crate) fn note(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        let plain = name.len() <= NAME_BYTES && name.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        let name = if plain { name } else { Cow::Borrowed("(unnamed)") };
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// Judges every top-level parameter of a request.
    ///
    /// # Errors
    /// `unsupported_parameter` for the first that is refused.
    pub(crate) fn judge(&mut self, request: &Request<'_>, fate: impl Fn(&str) -> Fate) -> Outcome<()> {
        for name in request.given() {
            match fate(name) {
                Fate::Used => {}
                Fate::Dropped => self.note(name.to_owned()),
                Fate::Refused => return Err(unsupported(name.to_owned())),
            }
        }
        Ok(())
    }

    /// Whether nothing was left out.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, for the header `x-gateway-dropped-params`.
    pub(crate) fn header(&self) -> String {
        self.0.join(", ")
    }

    /// The refusal of a tenant that wants no drops; `None` if there are none.
    pub(crate) fn strict(&self) -> Option<Failure> {
        self.0.first().map(|name| unsupported(name.clone()))
    }
}

/// The answer to a parameter that cannot be honoured.
pub(crate) fn unsupported(param: impl Into<Cow<'static, str>>) -> Failure {
    let param = param.into();
    Failure::new(ErrorCode::UnsupportedParameter, format!("This model's provider does not support '{param}'."))
        .with_param(param)
}
