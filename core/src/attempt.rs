//! One call of a client at one target: written for its provider, sent, and its answer read.
//!
//! The table of which wire format serves which endpoint of which provider type is [`Wire::of`]; whatever else differs
//! between providers is in their own files.

mod chat;
mod pass;
mod plain;
mod read;
mod send;
mod trace;
mod wire;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

pub(crate) use self::trace::{Trace, UPSTREAM_REQUEST_ID};
use self::wire::Wire;
use crate::account::Usage;
use crate::body::Upstream;
use crate::chat::{Destination, Drops, Inlined};
use crate::config::Target;
use crate::dialect::failure::tells;
use crate::dialect::openai_chat::{Call, Encoder, Envelope, Shape};
use crate::error::{Failure, Outcome};
use crate::exchange::Sent;
use crate::gateway::Gateway;
use crate::model::{Capabilities, MaxTokensParameter, ThinkingForm};
use crate::ports::Platform;
use crate::provider::{self, Endpoint, ProviderKind};
use crate::relay::{Codec, Relay, Source, Translate};
use crate::secret::Credential;
use crate::span::Span;

/// One call to one target.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// The deployment.
    pub gateway: &'a Gateway,
    /// What the client asks.
    pub call: &'a Call<'a>,
    /// Where it goes.
    pub target: Target<'a>,
    /// What the provider knows us by.
    pub credential: &'a Credential,
    /// The tenant wants no drops, and no additions to OpenAI's shapes.
    pub strict: bool,
    /// What the gateway's own ids of answers are made of.
    pub id: &'a str,
    /// Until when the answer must begin, in milliseconds since the epoch.
    pub begin_by_ms: u64,
    /// Until when all must be over, in milliseconds since the epoch.
    pub end_by_ms: u64,
    /// What the prompt's beginning is known by, if it is long enough for a provider's cache.
    pub cache_key: Option<u64>,
    /// The client's trace, if there is one.
    pub span: Option<&'a Span>,
    /// No other target could take over: an answer that is slow to have content is begun without it.
    pub last_resort: bool,
    /// Counts the calls to the provider.
    pub sent: &'a Sent,
}

/// An answer that can be given to the client.
pub(crate) enum Answer<P: Platform> {
    /// All of it.
    Whole(Bytes, Option<Usage>),
    /// A stream that is whole already.
    Events(Bytes, Option<Usage>),
    /// A stream that has its first content.
    Stream(Box<Relay>, Upstream<P>),
}

impl Attempt<'_> {
    /// Makes the attempt.
    pub(crate) async fn run<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let Some(kind) = self.target.provider.kind() else { return Err(self.unsupported()) };
        let Some(wire) = Wire::of(kind, self.call.endpoint) else { return Err(self.unsupported()) };
        let model = self.target.model;
        let mut can = Capabilities::of(kind, model.id.as_str(), model.capabilities.as_ref());
        let wanted = || self.gateway.cache.wants_completion_limit(&model.uuid, model.id.as_str());
        if kind == ProviderKind::AzureOpenAi && can.max_tokens_parameter.is_none() && wanted() {
            can.max_tokens_parameter = Some(MaxTokensParameter::MaxCompletionTokens);
        }
        let timeouts = self.gateway.deployment.timeouts;
        let now = platform.now_ms();
        let wait = match self.call.stream {
            // A model that thinks first is given more time.
            true if can.thinking != ThinkingForm::None => timeouts.first_content_ms.saturating_mul(4),
            true => timeouts.first_content_ms,
            false => timeouts.answer_ms,
        };
        let deadline = now.saturating_add(wait).min(self.begin_by_ms).min(self.end_by_ms);
        let run = Run { attempt: self, kind, wire, can: &can, deadline };
        let answer = match wire {
            Wire::Pass => run.pass(platform, trace).await,
            Wire::Anthropic | Wire::Converse | Wire::WatsonxChat | Wire::Like => run.chat(platform, trace).await,
            Wire::Generation => run.generation(platform, trace).await,
            Wire::Completions => run.completions(platform, trace).await,
            Wire::Invoke | Wire::Watsonx | Wire::Nim => run.embeddings(platform, trace).await,
        };
        // What a provider says of itself goes into headers and the log: never with a piece of what it knows us by.
        let secrets = || self.credential.values().chain(&trace.tokens);
        let clean = |text: &String| !secrets().any(|secret| tells(text, secret.open()));
        let (named, native) =
            (trace.upstream_model.as_ref().is_some_and(clean), trace.native_finish.as_ref().is_some_and(clean));
        trace.upstream_model = trace.upstream_model.take().filter(|_| named);
        trace.native_finish = trace.native_finish.take().filter(|_| native);
        if answer.is_ok() && wire != Wire::Pass && trace.upstream_model.is_none() {
            // Some providers do not tell it: it is the one that was asked for.
            trace.upstream_model = Some(model.id.as_str().to_owned());
        }
        answer
    }

    fn unsupported(&self) -> Failure {
        provider::unsupported_endpoint(self.target.provider.kind(), self.call.endpoint)
    }
}

/// An attempt under way.
struct Run<'a> {
    attempt: &'a Attempt<'a>,
    kind: ProviderKind,
    wire: Wire,
    can: &'a Capabilities,
    /// Until when the answer, or the first content of a stream, must be there.
    deadline: u64,
}

/// A call before it has an address and a credential.
struct Draft {
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Run<'_> {
    fn model(&self) -> &str {
        self.attempt.target.model.id.as_str()
    }

    fn destination<'b>(&'b self, inlined: &'b Inlined) -> Destination<'b> {
        let settings = &self.attempt.target.provider.settings;
        Destination { kind: self.kind, model: self.model(), can: self.can, settings, inlined }
    }

    fn envelope<P: Platform>(&self, platform: &P, legacy_functions: bool) -> Envelope {
        let call = self.attempt.call;
        let prefix = if call.endpoint == Endpoint::Chat { "chatcmpl" } else { "cmpl" };
        Envelope {
            id: format!("{prefix}-{}", self.attempt.id),
            created: platform.now_ms() / 1000,
            // OpenAI's own answers tell the model that answered, Azure's too.
            model: (self.kind != ProviderKind::AzureOpenAi).then(|| call.model.clone()),
            legacy_functions,
            include_usage: call.include_usage,
        }
    }

    fn translate<P: Platform>(&self, platform: &P, source: Source, shape: Shape, legacy_functions: bool) -> Codec {
        let encoder = Encoder::new(shape, self.envelope(platform, legacy_functions));
        Codec::Translate(Box::new(Translate::new(source, encoder)))
    }

    /// Notes what is left out.
    ///
    /// # Errors
    /// `unsupported_parameter` if the tenant wants no drops.
    fn note(&self, drops: &Drops, trace: &mut Trace) -> Outcome<()> {
        if drops.is_empty() {
            return Ok(());
        }
        if self.attempt.strict
            && let Some(failure) = drops.strict()
        {
            return Err(failure);
        }
        trace.dropped = Some(drops.header());
        Ok(())
    }
}
