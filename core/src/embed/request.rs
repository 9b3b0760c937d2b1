//! A request for embeddings, read once. <https://platform.openai.com/docs/api-reference/embeddings/create>

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::inputs::{Empty, Inputs};
use crate::chat::{self, Drops};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::Object;
use crate::model::Capabilities;
use crate::provider::{Endpoint, ProviderKind};

/// A request for embeddings. Absent and `null` are the same.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// What is to be embedded.
    pub inputs: Inputs<'a>,
    /// The wanted length of the vectors.
    pub dimensions: Option<u64>,
    /// How the client wants its vectors written.
    pub format: Format,
    /// What the vectors are for (extension `input_type`, a word of the provider).
    pub input_type: Option<Cow<'a, str>>,
    object: &'a Object<'a>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON array of numbers.
    Float,
    /// A string: 32-bit floats, little-endian, in base64.
    Base64,
}

/// Reads a body whose members were checked by `openai_chat::read_call`.
///
/// # Errors
/// `invalid_request`, with the path of what is wrong as `param`.
pub(crate) fn decode_request<'a>(object: &'a Object<'a>) -> Outcome<Request<'a>> {
    let raw = |name: &str| object.get(name).filter(|raw| raw.get() != "null");
    let text = |name: &'static str| {
        let read = |raw: &'a RawValue| text(raw).ok_or_else(|| wrong(name, "must be a string."));
        raw(name).map(read).transpose()
    };
    let dimensions = match raw("dimensions") {
        None => None,
        Some(raw) => {
            let whole = raw.get().parse::<u64>().ok().filter(|n| *n > 0);
            Some(whole.ok_or_else(|| wrong("dimensions", "must be a whole number of at least 1."))?)
        }
    };
    let format = match text("encoding_format")?.as_deref() {
        None | Some("float") => Format::Float,
        Some("base64") => Format::Base64,
        Some(_) => return Err(wrong("encoding_format", "must be 'float' or 'base64'.")),
    };
    let inputs = raw("input").ok_or_else(|| wrong("input", "is required."))?;
    Ok(Request {
        inputs: Inputs::read("input", inputs, Empty::Refused)?,
        dimensions,
        format,
        input_type: text("input_type")?,
        object,
    })
}

impl<'a> Request<'a> {
    /// A member as the client wrote it, unless absent or `null`.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.object.get(name).filter(|raw| raw.get() != "null")
    }

    /// The texts to embed, for a provider that takes no token ids.
    ///
    /// # Errors
    /// See [`Inputs::texts`].
    pub(crate) fn texts(&self, kind: ProviderKind) -> Outcome<&[&'a RawValue]> {
        self.inputs.texts("input", kind)
    }

    /// The parameters that are left out: all that say something and have no place in this API, nor in `taken`.
    /// `input_type` is our own extension and is left out silently where vectors have only one purpose.
    pub(crate) fn drops(&self, taken: &[&str], can: &Capabilities) -> Drops {
        let ours = ["model", "input", "dimensions", "encoding_format", "input_type", "cache", "router"];
        let mut drops = Drops::default();
        for (name, _) in self.object.iter().filter(|(_, raw)| raw.get() != "null") {
            let refused = can.unsupported_parameters.iter().any(|refused| refused == name);
            if !ours.contains(&name) && (refused || !taken.contains(&name)) {
                drops.note(name.to_owned());
            }
        }
        drops
    }

    /// Refuses `dimensions` for a model whose vectors have one length.
    ///
    /// # Errors
    /// `unsupported_parameter`.
    pub(crate) fn without_dimensions(&self) -> Outcome<()> {
        self.dimensions.map_or(Ok(()), |_| Err(chat::unsupported("dimensions")))
    }

    /// The wanted length, if it is one of `known`.
    ///
    /// # Errors
    /// `unsupported_value` for any other.
    pub(crate) fn dimensions_of(&self, known: &[u64]) -> Outcome<Option<u64>> {
        if self.dimensions.is_none_or(|wanted| known.contains(&wanted)) {
            return Ok(self.dimensions);
        }
        let known = known.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let message = format!("'dimensions' must be one of {known} for this model.");
        Err(Failure::new(ErrorCode::UnsupportedValue, message).with_param("dimensions"))
    }
}

/// The answer to a call of a model that makes no vectors, though others of its provider do.
pub(crate) fn no_embeddings(why: &'static str) -> Failure {
    let message = format!("This model does not support /v1{}{why}", Endpoint::Embeddings.path());
    Failure::new(ErrorCode::UnsupportedEndpoint, message).with_param("model")
}

fn wrong(param: impl Into<Cow<'static, str>>, what: &str) -> Failure {
    let param = param.into();
    Failure::invalid(param.clone(), format!("'{param}' {what}"))
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json, limits};

    fn check(body: &str, look: impl FnOnce(Outcome<Request<'_>>)) {
        let object = json::object(body.as_bytes()).unwrap();
        look(decode_request(&object));
    }

    #[test]
    fn every_kind_of_input_is_read() {
        for (input, texts, count) in [
            (r#""a""#, true, 1),
            (r#"" ""#, true, 1),
            (r#"["a","\u00e9\n"]"#, true, 2),
            ("[1,2,3]", false, 1),
            ("[[1,2],[3]]", false, 2),
        ] {
            check(&format!(r#"{{"model":"m","input":{input}}}"#), |request| {
                let inputs = request.unwrap().inputs;
                assert_eq!((matches!(inputs, Inputs::Texts(_)), inputs.len()), (texts, count), "{input}");
            });
        }
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        for (rest, param) in [
            (r#""input":null"#, "input"),
            (r#""input":{}"#, "input"),
            (r#""input":1"#, "input"),
            (r#""input":"""#, "input"),
            (r#""input":[]"#, "input"),
            (r#""input":["a",""]"#, "input[1]"),
            (r#""input":["a",1]"#, "input[1]"),
            (r#""input":["a",null]"#, "input[1]"),
            (r#""input":[null]"#, "input[0]"),
            (r#""input":[1,"a"]"#, "input[1]"),
            (r#""input":[1,-1]"#, "input[1]"),
            (r#""input":[1.5]"#, "input[0]"),
            (r#""input":[4294967296]"#, "input[0]"),
            (r#""input":[[1],[]]"#, "input[1]"),
            (r#""input":[[1],"a"]"#, "input[1]"),
            (r#""input":[[1],[2,"a"]]"#, "input[1][1]"),
            (r#""input":"a","dimensions":0"#, "dimensions"),
            (r#""input":"a","dimensions":"256""#, "dimensions"),
            (r#""input":"a","dimensions":2.5"#, "dimensions"),
            (r#""input":"a","encoding_format":"int8""#, "encoding_format"),
            (r#""input":"a","encoding_format":1"#, "encoding_format"),
            (r#""input":"a","input_type":["query"]"#, "input_type"),
        ] {
            check(&format!(r#"{{"model":"m",{rest}}}"#), |request| {
                let failure = request.err().unwrap();
                assert_eq!(
                    (failure.code, failure.param.as_deref()),
                    (ErrorCode::InvalidRequest, Some(param)),
                    "{rest}"
                );
            });
        }
    }

    #[test]
    fn the_number_of_entries_has_a_limit() {
        for (entry, most) in [("\"a\"", limits::INPUTS), ("[1]", limits::INPUTS)] {
            let body = |n: usize| format!(r#"{{"input":[{}]}}"#, vec![entry; n].join(","));
            check(&body(most), |request| assert_eq!(request.unwrap().inputs.len(), most));
            check(&body(most + 1), |request| assert_eq!(request.err().unwrap().param.as_deref(), Some("input")));
        }
        // One prompt in tokens is one entry, however long it is.
        let tokens = vec!["1"; limits::INPUTS + 1].join(",");
        check(&format!(r#"{{"input":[{tokens}]}}"#), |request| assert_eq!(request.unwrap().inputs.len(), 1));
    }

    #[test]
    fn null_is_absence() {
        let body =
            r#"{"model":"m","input":"a","encoding_format":null,"dimensions":null,"input_type":null,"user":null}"#;
        check(body, |request| {
            let request = request.unwrap();
            assert_eq!((request.format, request.dimensions, request.input_type.is_none()), (Format::Float, None, true));
            let can = Capabilities::of(ProviderKind::Bedrock, "x", None);
            assert!(request.drops(&[], &can).is_empty());
        });
    }

    #[test]
    fn what_has_no_place_is_dropped_by_name() {
        let body = r#"{"model":"m","input":"a","user":"u","truncate":"END","cache":{},"input_type":"query","x":1}"#;
        check(body, |request| {
            let request = request.unwrap();
            let mut can = Capabilities::of(ProviderKind::Nim, "x", None);
            assert_eq!(request.drops(&["truncate"], &can).header(), "user, x");
            can.unsupported_parameters.push("truncate".to_owned());
            assert_eq!(request.drops(&["truncate"], &can).header(), "user, truncate, x");
        });
    }
}
