//! What the gateway makes of a client's body, as `attempt` does it, without a call.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::chat::{Destination, Drops, Encoded, Expect, Inlined};
use crate::dialect::openai_chat::{self, Encoder, Envelope, Shape};
use crate::dialect::{
    anthropic, bedrock_converse, bedrock_invoke, nim_embeddings, openai_completions, openai_like, watsonx,
};
use crate::embed::{self, EmbedCall};
use crate::error::Outcome;
use crate::frame::{eventstream, sse};
use crate::model::Capabilities;
use crate::provider::{Endpoint, ProviderKind, Settings};
use crate::relay::{Codec, Pass, Source, Translate};

/// One target of calls.
pub(crate) struct Exchange<'a> {
    /// The provider's type.
    pub kind: ProviderKind,
    /// Its settings.
    pub settings: &'a Settings,
    /// The provider's id of the model.
    pub model: &'a str,
    /// What it can do.
    pub can: &'a Capabilities,
    /// Images that were fetched.
    pub inlined: &'a Inlined,
    /// The tenant wants OpenAI's shapes only.
    pub strict: bool,
}

/// A call that could be sent.
pub(crate) struct Prepared {
    /// The bodies of the calls.
    pub bodies: Vec<Bytes>,
    /// How a streamed answer is read, if one is asked for.
    pub stream: Option<Reading>,
}

/// How a streamed answer is read and written. A value, since a codec is used up by one stream.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Which bytes come.
    pub origin: Origin,
    /// Which chunks leave.
    pub shape: Shape,
    /// What they say of our side.
    pub envelope: Envelope,
}

/// The wire format of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// OpenAI's own; which of its usage and its filters' notes are left out.
    Pass { hide_usage: bool, skip_filters: bool },
    /// Anthropic's.
    Anthropic(Expect),
    /// Bedrock's.
    Converse(Expect),
    /// A relative of OpenAI's.
    Like(ProviderKind, Expect),
    /// Text generation of watsonx.ai, behind this prompt.
    Generation(Option<Box<RawValue>>),
    /// Legacy completions.
    Completions(ProviderKind),
}

impl Reading {
    /// A codec that has seen nothing.
    pub(crate) fn codec(&self) -> Codec {
        let frames = sse::Decoder::default();
        let source = match &self.origin {
            Origin::Pass { hide_usage, skip_filters } => return Codec::Pass(Pass::new(*hide_usage, *skip_filters)),
            Origin::Anthropic(expect) => Source::Anthropic(frames, anthropic::Decoder::new(expect.clone())),
            Origin::Converse(expect) => {
                let decoder = Box::new(bedrock_converse::stream::Decoder::new(expect.clone()));
                Source::Converse(eventstream::Decoder::default(), decoder)
            }
            Origin::Like(kind, expect) => Source::Like(frames, openai_like::Decoder::new(*kind, expect.clone())),
            Origin::Generation(echo) => Source::Generation(frames, watsonx::generation::Decoder::new(echo.as_deref())),
            Origin::Completions(kind) => Source::Completions(frames, openai_completions::Decoder::new(*kind)),
        };
        Codec::Translate(Box::new(Translate::new(source, Encoder::new(self.shape, self.envelope.clone()))))
    }
}

impl Exchange<'_> {
    /// Reads a client's body and writes what is sent for it.
    ///
    /// # Errors
    /// What the client would be told.
    pub(crate) fn prepare(&self, endpoint: Endpoint, body: &[u8]) -> Outcome<Prepared> {
        let call = openai_chat::read_call(endpoint, body)?;
        let object = call.object();
        let to = Destination {
            kind: self.kind,
            model: self.model,
            can: self.can,
            settings: self.settings,
            inlined: self.inlined,
        };
        let envelope = |legacy_functions: bool| Envelope {
            id: if endpoint == Endpoint::Chat { "chatcmpl-0" } else { "cmpl-0" }.to_owned(),
            created: 1_760_000_000,
            model: (self.kind != ProviderKind::AzureOpenAi).then(|| call.model.clone()),
            legacy_functions,
            include_usage: call.include_usage,
        };
        let prepared = |bodies: Vec<Bytes>, origin: Origin, shape: Shape, legacy_functions: bool| {
            let stream = call.stream.then(|| Reading { origin, shape, envelope: envelope(legacy_functions) });
            Prepared { bodies, stream }
        };
        let completion = |bodies, origin| prepared(bodies, origin, Shape::Completion, false);
        Ok(match (self.kind, endpoint) {
            (ProviderKind::OpenAi | ProviderKind::AzureOpenAi, _) => {
                let body = call.encode(self.model, None, self.can, &mut Drops::default());
                let azure = self.kind == ProviderKind::AzureOpenAi;
                let plain = azure && self.strict && endpoint == Endpoint::Chat;
                let origin = if plain {
                    Origin::Like(self.kind, Expect::default())
                } else {
                    Origin::Pass { hide_usage: !call.include_usage, skip_filters: azure }
                };
                prepared(vec![body], origin, Shape::Chat, object.get("functions").is_some())
            }
            (_, Endpoint::Chat) => {
                let request = openai_chat::decode_request(object)?;
                let Encoded { body, expect, .. } = match self.kind {
                    ProviderKind::Anthropic => anthropic::encode_request(&request, &to),
                    ProviderKind::Bedrock => bedrock_converse::request::encode_request(&request, &to),
                    ProviderKind::WatsonxAi => watsonx::encode_request(&request, &to),
                    _ => openai_like::encode_request(&request, &to),
                }?;
                let origin = match self.kind {
                    ProviderKind::Anthropic => Origin::Anthropic(expect),
                    ProviderKind::Bedrock => Origin::Converse(expect),
                    kind => Origin::Like(kind, expect),
                };
                prepared(vec![body], origin, Shape::Chat, request.legacy_functions)
            }
            (_, Endpoint::Completions) => {
                let request = openai_completions::decode_request(object)?;
                if self.kind == ProviderKind::WatsonxAi {
                    let calls = watsonx::generation::encode(&request, &to)?.calls;
                    let echo = calls.first().and_then(|call| call.echo).map(ToOwned::to_owned);
                    let bodies = calls.into_iter().map(|call| call.body).collect();
                    return Ok(completion(bodies, Origin::Generation(echo)));
                }
                let body = openai_completions::encode_request(&request, &to)?.body;
                completion(vec![body], Origin::Completions(self.kind))
            }
            (_, Endpoint::Embeddings) => {
                let request = embed::decode_request(object)?;
                let calls = self.embeddings(&request, &to)?;
                completion(calls.into_iter().map(|call| call.body).collect(), Origin::Completions(self.kind))
            }
        })
    }

    /// The calls of a request for embeddings.
    ///
    /// # Errors
    /// What the client would be told.
    pub(crate) fn embeddings(&self, request: &embed::Request<'_>, to: &Destination<'_>) -> Outcome<Vec<EmbedCall>> {
        let batch = match self.kind {
            ProviderKind::Bedrock => bedrock_invoke::encode(request, to),
            ProviderKind::WatsonxAi => watsonx::embeddings::encode(request, to),
            _ => nim_embeddings::encode(request, to),
        };
        batch.map(|batch| batch.calls)
    }
}
