//! The script: what an account is told to do, one step per call.
//!
//! Every member is optional and they combine. Unknown members are refused, so that a typing error in a test is seen.

use serde::Deserialize;
use serde_json::Value;

use crate::provider::Provider;

/// The configuration of an account, as `PUT /_control/<name>` takes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Whose API the account speaks; absent: as its paths say, else OpenAI's.
    pub(crate) provider: Option<Provider>,
    /// Accepted keys; absent accepts any that is not empty.
    pub(crate) keys: Option<Vec<String>>,
    /// Fixed `created` of every answer.
    pub(crate) created: Option<i64>,
    /// The models the account knows; absent accepts every name.
    pub(crate) models: Option<Vec<String>>,
    /// Milliseconds between events.
    pub(crate) chunk_delay_ms: Option<u64>,
    /// Content chunks of a stream.
    pub(crate) chunks: Option<usize>,
    /// Records forbidden headers without refusing the call, for clients other than a gateway.
    pub(crate) lenient_headers: bool,
    /// Azure: the deployments are of models that reason.
    pub(crate) reasoning: bool,
    /// Bedrock: the credentials with which requests are signed; absent: those of AWS's documentation.
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    /// Bedrock: the region of the account; absent: that of each signature.
    pub(crate) region: Option<String>,
    /// watsonx.ai: seconds for which a token is valid; absent: 3600.
    pub(crate) token_seconds: Option<u64>,
    /// One step per call.
    pub(crate) script: Vec<Step>,
    /// The last step stays.
    pub(crate) repeat: bool,
    /// watsonx.ai: one step per call for a token, which takes none of the script's.
    pub(crate) token_script: Vec<Step>,
}

/// One step of a script.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Step {
    /// This step stays and is used for every further call.
    pub(crate) repeat: bool,

    // The head.
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) retry_after: Option<Value>,
    pub(crate) content_type: Option<String>,
    pub(crate) content_length: Option<Length>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) set_cookie: Option<String>,
    pub(crate) big_headers: Option<usize>,
    pub(crate) redirect: Option<Redirect>,

    // The body, instead of the normal one.
    pub(crate) body: Option<Value>,
    pub(crate) raw_body: Option<String>,
    pub(crate) raw_sse: Option<String>,
    pub(crate) raw_response: Option<String>,
    pub(crate) oversize: Option<Oversize>,
    pub(crate) echo_key: Option<EchoKey>,

    // The normal body, changed.
    pub(crate) text: Option<String>,
    pub(crate) usage: Option<Value>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) chunks: Option<usize>,
    pub(crate) no_done: bool,
    pub(crate) no_finish: bool,
    pub(crate) error_event: Option<ErrorEvent>,
    pub(crate) bad_crc: Option<BadCrc>,
    pub(crate) stream: Option<bool>,

    // Time and the connection.
    pub(crate) delay_ms: u64,
    pub(crate) chunk_delay_ms: Option<u64>,
    pub(crate) split_every: Option<usize>,
    pub(crate) drip: Option<Drip>,
    pub(crate) hang: Option<Hang>,
    pub(crate) cut_at: Option<usize>,
    pub(crate) clean_end_at: Option<usize>,
    pub(crate) rst: bool,
    pub(crate) close_without_answer: bool,
}

/// Where an exchange stops for ever (until the client leaves or the account is reset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hang {
    /// After the request head; the body is not looked at.
    Accept,
    /// After the request, before any byte of the answer.
    Headers,
    /// After the head of the answer.
    Body,
    /// After that many bytes of the body.
    AfterBytes(usize),
}

/// A `content-length` that need not be true: a number, or `"+5"`/`"-5"` against the real length.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Length {
    Exactly(u64),
    Relative(String),
}

/// Slow sending: `bytes` at a time, `every_ms` apart.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drip {
    pub(crate) bytes: usize,
    pub(crate) every_ms: u64,
}

/// A body (or, in a stream, one line) of exactly `bytes` bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Oversize {
    pub(crate) bytes: usize,
}

/// An error object in a stream after `after` events; nothing follows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorEvent {
    pub(crate) after: usize,
    pub(crate) error: Option<Value>,
}

/// A frame of Bedrock's streams whose checksum does not fit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BadCrc {
    /// Its number, from 0.
    pub(crate) frame: usize,
    /// That of the prelude instead of that of the message.
    #[serde(default)]
    pub(crate) prelude: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redirect {
    pub(crate) status: u16,
    pub(crate) location: String,
}

/// Where the received key is put, to test that a gateway removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EchoKey {
    /// The message of an error body (status 400 unless the step says otherwise).
    Body,
    /// Headers of an otherwise normal answer.
    Header,
    /// The message of an error event in a stream.
    Event,
}
