//! One call of a client at one target: written for its provider, sent, and its answer read.
//!
//! The table of which wire format serves which endpoint of which provider type is [`Wire::of`]; whatever else differs
//! between providers is in their own files.

mod plain;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::account::Usage;
use crate::body::Upstream;
use crate::chat::{self, Destination, Drops, Encoded, Expect, Gather, Inlined};
use crate::config::Target;
use crate::dialect::failure::{constant, tells};
use crate::dialect::openai_chat::{self, Call, Encoder, Envelope, Shape};
use crate::dialect::{anthropic, bedrock_converse, openai_like, watsonx};
use crate::egress::{self, Departure};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Sent;
use crate::frame::{eventstream, sse};
use crate::gateway::Gateway;
use crate::json::JsonError;
use crate::limits;
use crate::model::{Capabilities, MaxTokensParameter, ThinkingForm};
use crate::ports::{Platform, UpstreamBody};
use crate::provider::{self, Endpoint, Operation, ProviderKind};
use crate::relay::{Codec, Hold, Pass, Relay, Setup, Source, Translate};
use crate::route::{self, Class};
use crate::secret::{Credential, Secret};
use crate::span::{Span, TRACEPARENT};
use crate::token;

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

/// What is known of an attempt, however it ends.
#[derive(Default)]
pub(crate) struct Trace {
    /// The last status of the provider.
    pub status: Option<u16>,
    /// The provider's id of the request.
    pub request_id: Option<HeaderValue>,
    /// Parameters that were left out, separated by commas.
    pub dropped: Option<String>,
    /// The provider's name of the model.
    pub upstream_model: Option<String>,
    /// The provider's own word for why the answer ended, if ours cannot say it.
    pub native_finish: Option<String>,
    /// Tokens that stood for the credential: no error may tell of them.
    pub tokens: Vec<Secret>,
}

/// The provider's id of its request, for its support.
pub(crate) const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-gateway-upstream-request-id");
/// Parameters that were left out.
const DROPPED_PARAMS: HeaderName = HeaderName::from_static("x-gateway-dropped-params");
/// The provider's name of the model.
const UPSTREAM_MODEL: HeaderName = HeaderName::from_static("x-gateway-upstream-model");
/// The provider's own word for why the answer ended.
const NATIVE_FINISH: HeaderName = HeaderName::from_static("x-gateway-native-finish-reason");

impl Trace {
    /// Takes over what was seen of a further call.
    fn merge(&mut self, other: Self) {
        self.status = other.status.or(self.status);
        self.request_id = other.request_id.or_else(|| self.request_id.take());
        self.tokens.extend(other.tokens);
    }

    /// Puts what clients may know into the headers of an answer.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.request_id {
            headers.insert(UPSTREAM_REQUEST_ID, id.clone());
        }
        for (name, value) in [
            (DROPPED_PARAMS, &self.dropped),
            (UPSTREAM_MODEL, &self.upstream_model),
            (NATIVE_FINISH, &self.native_finish),
        ] {
            let value = value.as_deref().filter(|value| value.len() <= 1024 && value.is_ascii());
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
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

/// The wire format of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// OpenAI's own, passed on.
    Pass,
    /// Chats, translated.
    Anthropic,
    Converse,
    WatsonxChat,
    Like,
    /// Legacy completions.
    Generation,
    Completions,
    /// Embeddings.
    Invoke,
    Watsonx,
    Nim,
}

impl Wire {
    fn of(kind: ProviderKind, endpoint: Endpoint) -> Option<Self> {
        Some(match (kind, endpoint) {
            (ProviderKind::OpenAi | ProviderKind::AzureOpenAi, _) => Self::Pass,
            (ProviderKind::Anthropic, Endpoint::Chat) => Self::Anthropic,
            (ProviderKind::Bedrock, Endpoint::Chat) => Self::Converse,
            (ProviderKind::WatsonxAi, Endpoint::Chat) => Self::WatsonxChat,
            (ProviderKind::Cerebras | ProviderKind::Nim, Endpoint::Chat) => Self::Like,
            (ProviderKind::WatsonxAi, Endpoint::Completions) => Self::Generation,
            (ProviderKind::Cerebras | ProviderKind::Nim, Endpoint::Completions) => Self::Completions,
            (ProviderKind::Bedrock, Endpoint::Embeddings) => Self::Invoke,
            (ProviderKind::WatsonxAi, Endpoint::Embeddings) => Self::Watsonx,
            (ProviderKind::Nim, Endpoint::Embeddings) => Self::Nim,
            (ProviderKind::Anthropic | ProviderKind::Bedrock, Endpoint::Completions)
            | (ProviderKind::Anthropic | ProviderKind::Cerebras, Endpoint::Embeddings) => return None,
        })
    }

    /// Whether images go as bytes.
    fn inlines(self) -> bool {
        matches!(self, Self::Converse | Self::WatsonxChat)
    }
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

    /// Whether a provider's request id can be shown: short, plain, and without a piece of the credential.
    fn harmless(&self, id: &HeaderValue) -> bool {
        let Ok(text) = id.to_str() else { return false };
        let plain = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        plain && !self.credential.values().any(|secret| tells(text, secret.open()))
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
    async fn pass<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let call = self.attempt.call;
        let mut drops = Drops::default();
        let cache_key = self.cache_key();
        let body = call.encode(self.model(), cache_key, self.can, &mut drops);
        self.note(&drops, trace)?;
        let draft = Draft { body, headers: Vec::new() };
        let upstream = match self.send(platform, trace, &draft).await {
            Err(failure) if self.wants_other_limit(&failure) => {
                // A deployment's name says nothing of its model: the answer does, once for this isolate.
                let model = self.attempt.target.model;
                self.attempt.gateway.cache.learn_completion_limit(&model.uuid, self.model(), platform.now_ms());
                let can = Capabilities {
                    max_tokens_parameter: Some(MaxTokensParameter::MaxCompletionTokens),
                    ..self.can.clone()
                };
                let body = call.encode(self.model(), cache_key, &can, &mut drops);
                self.send(platform, trace, &Draft { body, headers: Vec::new() }).await?
            }
            sent => sent?,
        };
        let azure = self.kind == ProviderKind::AzureOpenAi;
        // What Azure adds is left out for those who want OpenAI's shapes only.
        let plain = azure && self.attempt.strict && call.endpoint == Endpoint::Chat;
        let legacy_functions = call.object().get("functions").is_some();
        if call.endpoint == Endpoint::Chat && self.turned(upstream.headers()) {
            return self.turn(platform, trace, upstream, Expect::default(), legacy_functions).await;
        }
        if call.stream {
            let codec = if plain {
                let source =
                    Source::Like(sse::Decoder::default(), openai_like::Decoder::new(self.kind, Expect::default()));
                self.translate(platform, source, Shape::Chat, legacy_functions)
            } else {
                Codec::Pass(Pass::new(!call.include_usage, azure))
            };
            return self.stream(platform, trace, upstream, codec).await;
        }
        let (_, bytes) = self.whole(platform, upstream).await?;
        if plain {
            let expect = Expect::default();
            let answer = read_as(&bytes, openai_like::decode_response(self.kind, &bytes, &expect))?;
            trace.upstream_model = answer.identity.model.as_deref().map(str::to_owned);
            let body = openai_chat::encode_response(&answer, &self.envelope(platform, legacy_functions));
            return Ok(Answer::Whole(Bytes::from(body), answer.usage));
        }
        let (usage, model) = read_as(&bytes, openai_chat::read_answer(call.endpoint, &bytes))?;
        trace.upstream_model = model;
        Ok(Answer::Whole(bytes, usage))
    }

    /// The key by which OpenAI itself finds cached prompts, where it is OpenAI that is called: it sends prompts of one
    /// beginning to one place, the better with a key: <https://platform.openai.com/docs/guides/prompt-caching>.
    fn cache_key(&self) -> Option<u64> {
        let base = self.attempt.target.provider.settings.get("base_url");
        let chat = self.attempt.call.endpoint == Endpoint::Chat;
        self.attempt.cache_key.filter(|_| self.kind == ProviderKind::OpenAi && base.is_none() && chat)
    }

    /// Whether a deployment of Azure OpenAI refused `max_tokens`, and nothing but that, in its known words.
    fn wants_other_limit(&self, failure: &Failure) -> bool {
        let given = |name: &str| self.attempt.call.object().get(name).is_some_and(|raw| raw.get() != "null");
        let words = failure.upstream.as_ref().map(|error| (error.code.as_deref(), error.param.as_deref()));
        self.kind == ProviderKind::AzureOpenAi
            && words == Some((Some("unsupported_parameter"), Some("max_tokens")))
            && self.can.max_tokens_parameter.is_none()
            && given("max_tokens")
    }

    async fn chat<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let call = self.attempt.call;
        let request = openai_chat::decode_request(call.object())?;
        let inlined = if self.wire.inlines() {
            let allowed = &self.attempt.gateway.deployment.allowed;
            crate::inline::images(platform, &request, allowed, self.deadline).await?
        } else {
            Inlined::default()
        };
        let to = self.destination(&inlined);
        let Encoded { body, headers, drops, expect } = match self.wire {
            Wire::Anthropic => anthropic::encode_request(&request, &to),
            Wire::Converse => bedrock_converse::request::encode_request(&request, &to),
            Wire::WatsonxChat => watsonx::encode_request(&request, &to),
            _ => openai_like::encode_request(&request, &to),
        }?;
        self.note(&drops, trace)?;
        let upstream = self.send(platform, trace, &Draft { body, headers }).await?;
        if self.turned(upstream.headers()) {
            return self.turn(platform, trace, upstream, expect, request.legacy_functions).await;
        }
        if call.stream {
            let source = self.source(expect);
            let codec = self.translate(platform, source, Shape::Chat, request.legacy_functions);
            return self.stream(platform, trace, upstream, codec).await;
        }
        let (_, bytes) = self.whole(platform, upstream).await?;
        let answer = read_as(&bytes, self.decode_chat(&bytes, &expect))?;
        self.take_names(&answer, trace);
        let envelope = self.envelope(platform, request.legacy_functions);
        let body = openai_chat::encode_response(&answer, &envelope);
        Ok(Answer::Whole(Bytes::from(body), answer.usage))
    }

    fn decode_chat<'b>(&self, bytes: &'b [u8], expect: &'b Expect) -> Result<chat::Answer<'b>, Failure> {
        match self.wire {
            Wire::Anthropic => anthropic::decode_response(bytes, expect),
            Wire::Converse => bedrock_converse::response::decode_response(bytes, expect),
            _ => openai_like::decode_response(self.kind, bytes, expect),
        }
    }

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

impl Run<'_> {
    /// Sends one call. What comes back has status 200; everything else is a failure already.
    async fn send<P: Platform>(
        &self,
        platform: &P,
        trace: &mut Trace,
        draft: &Draft,
    ) -> Outcome<http::Response<Upstream<P>>> {
        if self.kind != ProviderKind::WatsonxAi {
            return self.send_with(platform, trace, draft, None).await;
        }
        let attempt = self.attempt;
        let settings = &attempt.target.provider.settings;
        let (gateway, credential) = (attempt.gateway, attempt.credential);
        let token = token::bearer(gateway, platform, settings, credential, self.deadline).await?;
        trace.tokens.push(token.clone());
        let sent = self.send_with(platform, trace, draft, Some(&token)).await;
        if trace.status != Some(401) {
            return sent;
        }
        // It may have been revoked: one more try, with another token or not at all.
        match token::another(gateway, platform, settings, credential, &token, self.deadline).await {
            Ok(Some(fresh)) => {
                trace.tokens.push(fresh.clone());
                self.send_with(platform, trace, draft, Some(&fresh)).await
            }
            Ok(None) | Err(_) => sent,
        }
    }

    async fn send_with<P: Platform>(
        &self,
        platform: &P,
        trace: &mut Trace,
        draft: &Draft,
        token: Option<&Secret>,
    ) -> Outcome<http::Response<Upstream<P>>> {
        let call = self.attempt.call;
        let target = &self.attempt.target;
        let Some(Ok(places)) = target.places else {
            return Err(constant(ErrorCode::UpstreamUnreachable).caused_by("base URL refused"));
        };
        let operation = Operation::Call(call.endpoint, call.stream);
        let settings = &target.provider.settings;
        let uri = match places.fixed(call.endpoint) {
            Some(uri) => Cow::Borrowed(uri),
            None => Cow::Owned(provider::address(self.kind, places, settings, self.model(), self.can, operation)?),
        };
        let mut headers = HeaderMap::with_capacity(draft.headers.len() + 6);
        headers.extend(draft.headers.iter().cloned());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(parent) = self.attempt.span.and_then(Span::header) {
            headers.insert(TRACEPARENT, parent);
        }
        let identity = provider::Identity { credential: self.attempt.credential, settings, token, stream: call.stream };
        provider::authenticate(
            self.kind,
            &identity,
            &Method::POST,
            &uri,
            &mut headers,
            &draft.body,
            platform.now_ms(),
        )?;
        self.attempt.sent.add();
        trace.status = None;
        let departure = Departure {
            method: Method::POST,
            uri: &uri,
            private_allowed: places.private_allowed(),
            headers,
            body: Some(draft.body.clone()),
        };
        let response = egress::send(platform, departure, self.deadline).await?;
        let (head, mut upstream) = response.into_parts();
        trace.status = Some(head.status.as_u16());
        let id = head.headers.get(provider::request_id_header(self.kind));
        trace.request_id = id.filter(|id| self.attempt.harmless(id)).cloned();
        if head.status != StatusCode::OK {
            let bytes = egress::read_all(platform, &mut upstream, limits::UPSTREAM_ERROR_BYTES, self.deadline).await;
            let bytes = bytes.unwrap_or_default();
            let mut failure = provider::classify(self.kind, head.status, &head.headers, &bytes);
            let wait_ms = route::waits(&head.headers, &bytes, platform.now_ms());
            failure.wait_ms = wait_ms.map(|ms| ms.try_into().unwrap_or(u32::MAX));
            return Err(failure);
        }
        if head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(protocol("compressed answer"));
        }
        Ok(http::Response::from_parts(head, upstream))
    }

    /// Reads a whole JSON answer.
    async fn whole<P: Platform>(
        &self,
        platform: &P,
        response: http::Response<Upstream<P>>,
    ) -> Outcome<(HeaderMap, Bytes)> {
        let (head, mut upstream) = response.into_parts();
        if !has_type(&head.headers, "application/json") {
            return Err(protocol("answer is not JSON").classed(Class::Unfit));
        }
        let bytes = egress::read_all(platform, &mut upstream, limits::UPSTREAM_BODY_BYTES, self.deadline).await?;
        Ok((head.headers, bytes))
    }

    /// Reads a stream up to its commit point.
    async fn stream<P: Platform>(
        &self,
        platform: &P,
        trace: &mut Trace,
        response: http::Response<Upstream<P>>,
        codec: Codec,
    ) -> Outcome<Answer<P>> {
        let (head, upstream) = response.into_parts();
        if !has_type(&head.headers, self.framing()) {
            return Err(protocol("answer is no event stream").classed(Class::Unfit));
        }
        let relay = Relay::new(Setup {
            codec,
            secrets: self.attempt.credential.values().chain(&trace.tokens).cloned().collect(),
            now_ms: platform.now_ms(),
            deadline_ms: self.attempt.end_by_ms,
            timeouts: self.attempt.gateway.deployment.timeouts,
        });
        let early = self.attempt.last_resort.then(|| Early {
            at_ms: platform.now_ms().saturating_add(self.attempt.gateway.deployment.timeouts.hold_back_ms),
            content_by_ms: self.deadline,
        });
        match egress::before(platform, self.deadline, until_content(relay, upstream, platform, early)).await {
            None => Err(constant(ErrorCode::UpstreamTimeout).caused_by("no content in time").after_sending()),
            Some(Err(failure)) if failure.code == ErrorCode::UpstreamProtocol => Err(failure.classed(Class::Failed)),
            Some(answer) => {
                if let Ok(Answer::Stream(relay, _)) = &answer {
                    trace.upstream_model = relay.model().map(str::to_owned);
                }
                answer
            }
        }
    }
}

fn protocol(cause: &str) -> Failure {
    constant(ErrorCode::UpstreamProtocol).caused_by(cause)
}

impl Run<'_> {
    /// What reads the stream of a chat.
    fn source(&self, expect: Expect) -> Source {
        match self.wire {
            Wire::Anthropic => Source::Anthropic(sse::Decoder::default(), anthropic::Decoder::new(expect)),
            Wire::Converse => {
                let decoder = Box::new(bedrock_converse::stream::Decoder::new(expect));
                Source::Converse(eventstream::Decoder::default(), decoder)
            }
            _ => Source::Like(sse::Decoder::default(), openai_like::Decoder::new(self.kind, expect)),
        }
    }

    /// The content type of the provider's streams.
    fn framing(&self) -> &'static str {
        if self.wire == Wire::Converse { "application/vnd.amazon.eventstream" } else { "text/event-stream" }
    }

    /// Whether the provider answers in the other way than it was asked (fault matrix U30).
    fn turned(&self, headers: &HeaderMap) -> bool {
        if self.attempt.call.stream { has_type(headers, "application/json") } else { has_type(headers, self.framing()) }
    }

    /// Reads such an answer as a whole, and tells it as it was asked for.
    async fn turn<P: Platform>(
        &self,
        platform: &P,
        trace: &mut Trace,
        response: http::Response<Upstream<P>>,
        expect: Expect,
        legacy_functions: bool,
    ) -> Outcome<Answer<P>> {
        let mut upstream = response.into_body();
        let bytes = egress::read_all(platform, &mut upstream, limits::UPSTREAM_BODY_BYTES, self.deadline).await?;
        let envelope = self.envelope(platform, legacy_functions);
        if self.attempt.call.stream {
            let answer = read_as(&bytes, self.decode_chat(&bytes, &expect))?;
            self.take_names(&answer, trace);
            let mut encoder = Encoder::new(Shape::Chat, envelope);
            let mut out = Vec::with_capacity(bytes.len());
            chat::events(&answer, &mut |event| encoder.event(&event, &mut out));
            return Ok(Answer::Events(Bytes::from(out), answer.usage));
        }
        let mut gather = Gather::default();
        self.source(expect).read_whole(&bytes, &mut |event| gather.take(event));
        let answer = gather.answer().map_err(|failure| *failure)?;
        let answer = answer.ok_or_else(|| constant(ErrorCode::UpstreamIncomplete).after_sending())?;
        self.take_names(&answer, trace);
        Ok(Answer::Whole(Bytes::from(openai_chat::encode_response(&answer, &envelope)), answer.usage))
    }

    fn take_names(&self, answer: &chat::Answer<'_>, trace: &mut Trace) {
        trace.upstream_model = answer.identity.model.as_deref().map(str::to_owned);
        trace.native_finish = answer.choices.iter().find_map(|choice| choice.finish.native.clone());
    }
}

/// Whether the content type is `essence`, whatever its parameters.
fn has_type(headers: &HeaderMap, essence: &str) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|e| e.trim().eq_ignore_ascii_case(essence))
}

/// What a failure to read a whole answer means: bytes that are no JSON were cut or garbled and may come whole the next
/// time (fault matrix U28), another document than the API's will not (U29).
fn read_as<T>(bytes: &[u8], read: Outcome<T>) -> Outcome<T> {
    match read {
        Err(failure)
            if failure.code == ErrorCode::UpstreamProtocol
                && matches!(crate::json::object(bytes), Err(JsonError::Empty | JsonError::Invalid)) =>
        {
            Err(failure.classed(Class::Failed).after_sending())
        }
        read => read,
    }
}

/// When an answer is begun without content.
#[derive(Clone, Copy)]
struct Early {
    /// After so much holding back.
    at_ms: u64,
    /// Content must be there by then.
    content_by_ms: u64,
}

/// Reads until the commit point: the first content, or a failure that is still a status.
async fn until_content<P: Platform>(
    mut relay: Relay,
    mut upstream: Upstream<P>,
    platform: &P,
    early: Option<Early>,
) -> Outcome<Answer<P>> {
    loop {
        let heard = match early {
            None => upstream.chunk().await,
            Some(early) => match egress::before(platform, early.at_ms, upstream.chunk()).await {
                Some(heard) => heard,
                None => {
                    relay.commit(early.content_by_ms);
                    return Ok(Answer::Stream(Box::new(relay), upstream));
                }
            },
        };
        let hold = match heard {
            Ok(Some(chunk)) => relay.hold(&chunk, platform.now_ms()),
            Ok(None) => relay.hold_end(Ok(())),
            Err(error) => relay.hold_end(Err(error)),
        };
        match hold {
            Hold::More => {}
            Hold::Commit => return Ok(Answer::Stream(Box::new(relay), upstream)),
            Hold::Fail(failure) => return Err(*failure),
        }
    }
}
