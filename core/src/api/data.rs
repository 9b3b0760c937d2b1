//! `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`: from a caller's body to a provider's answer.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use super::input::Input;
use super::json_bytes;
use crate::body::{Live, Upstream};
use crate::config::Target;
use crate::credentials;
use crate::dialect::failure::{self, constant};
use crate::dialect::openai_chat::{self, Call};
use crate::egress::{self, Departure};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::{Gateway, Reply};
use crate::limits;
use crate::ports::{Platform, RequestBody, UpstreamBody};
use crate::provider::{self, Endpoint, ProviderKind};
use crate::relay::{Codec, Hold, Pass, Relay, Setup};
use crate::secret::{Credential, Secret};
use crate::tenancy::{self, Caller};

/// The provider's id of its request, for its support.
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-gateway-upstream-request-id");

/// Serves a data call.
pub(super) async fn call<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    mut caller: Caller,
    endpoint: Endpoint,
    input: Input<'_, B>,
) -> Outcome<Reply<P>> {
    let body = input.read(limits::DATA_BODY_BYTES).await?;
    let call = openai_chat::read_call(endpoint, &body)?;
    exchange.line().operation = Some(endpoint.operation());
    exchange.line().stream = call.stream;
    if caller.config.targets(&call.model).is_empty() {
        // It may have been enabled a moment ago through another isolate.
        caller = tenancy::confirmed(gateway, exchange, caller).await?;
    }
    let mut chosen = choose(exchange.platform(), &caller, &call)?.model.uuid.clone();
    let mut credential = credential_of(gateway, exchange, &caller, &chosen).await;
    if credential.as_ref().is_err_and(|failure| failure.code == ErrorCode::UpstreamAuthFailed) {
        // The provider may have been removed or replaced a moment ago.
        caller = tenancy::confirmed(gateway, exchange, caller).await?;
        chosen = choose(exchange.platform(), &caller, &call)?.model.uuid.clone();
        credential = credential_of(gateway, exchange, &caller, &chosen).await;
    }
    let (caller, credential) = (&caller, credential?);
    let target = target_of(caller, &chosen)?;
    let line = exchange.line();
    line.provider_type = Some(target.provider.type_name.clone());
    line.provider = Some(target.provider.uuid.clone());
    line.model = Some(target.model.uuid.clone());
    let attempt = Attempt { gateway, call: &call, target, credential: &credential };

    exchange.line().attempts = 1;
    let platform = exchange.platform().clone();
    let progress = tenancy::beside(gateway, exchange, caller, attempt.run(&platform)).await;
    exchange.line().upstream_status = progress.status;
    let request_id = progress.request_id;
    let tell = |headers: &mut HeaderMap| {
        if let Some(id) = &request_id {
            headers.insert(UPSTREAM_REQUEST_ID, id.clone());
        }
    };
    match progress.answer {
        Ok(Answer::Whole(bytes, usage)) => {
            exchange.line().usage = usage;
            let mut response = json_bytes(StatusCode::OK, bytes);
            tell(response.headers_mut());
            Ok(Reply::Full(response))
        }
        Ok(Answer::Stream(relay, upstream)) => {
            let began = exchange.began_ms();
            let line = exchange.line();
            line.status = 200;
            line.first_content_ms = Some(platform.now_ms().saturating_sub(began));
            let exchange = std::mem::replace(exchange, Exchange::spent(platform));
            let mut response = Response::new(Box::new(Live::new(*relay, upstream, exchange)));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
            tell(headers);
            Ok(Reply::Live(response))
        }
        Err(mut failure) => {
            if failure.code == ErrorCode::UpstreamAuthFailed {
                gateway.cache.forget_credential(caller.tenant, &target.provider.credential.id);
            }
            failure::scrub(&mut failure, credential.values().map(Secret::open));
            if let Some(id) = request_id {
                failure = failure.with_header(UPSTREAM_REQUEST_ID, id);
            }
            Err(failure)
        }
    }
}

/// The target of an enabled model.
fn target_of<'a>(caller: &'a Caller, uuid: &str) -> Outcome<Target<'a>> {
    let model = caller.config.head().model(uuid);
    model.and_then(|model| caller.config.target(model)).ok_or_else(tenancy::no_model)
}

async fn credential_of<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    caller: &Caller,
    model: &str,
) -> Outcome<Credential> {
    let reference = &target_of(caller, model)?.provider.credential;
    credentials::read(gateway, exchange, caller.tenant, reference).await
}

/// The target of a call: one of those that the name stands for and that have the endpoint.
fn choose<'a, P: Platform>(platform: &P, caller: &'a Caller, call: &Call<'_>) -> Outcome<Target<'a>> {
    if caller.key.as_ref().is_some_and(|key| !key.may_call(&call.model)) {
        return Err(Failure::new(ErrorCode::PermissionDenied, "This key may not call this model.").with_param("model"));
    }
    let known = caller.config.targets(&call.model);
    if known.is_empty() {
        return Err(Failure::new(
            ErrorCode::ModelNotFound,
            "There is no enabled model with this name. GET /v1/models lists the names that can be called.",
        )
        .with_param("model"));
    }
    let serves = |target: &Target<'_>| target.provider.kind().is_some_and(|kind| kind.serves(call.endpoint));
    let mut fit: Vec<Target<'a>> = known.iter().copied().filter(serves).collect();
    if fit.is_empty() {
        return Err(unsupported(call.endpoint, known.first().map(|target| target.provider.type_name.as_str())));
    }
    let mut random = [0_u8; 8];
    if fit.len() > 1 {
        platform.fill_random(&mut random);
    }
    let at = usize::try_from(u64::from_le_bytes(random) % fit.len() as u64).unwrap_or(0);
    Ok(fit.swap_remove(at))
}

fn unsupported(endpoint: Endpoint, kind: Option<&str>) -> Failure {
    let kind = kind.and_then(ProviderKind::from_stored).map_or("unknown", ProviderKind::as_str);
    let message = format!("Provider type '{kind}' does not support /v1{}.", endpoint.path());
    Failure::new(ErrorCode::UnsupportedEndpoint, message).with_param("model")
}

/// One call to one target.
struct Attempt<'a> {
    gateway: &'a Gateway,
    call: &'a Call<'a>,
    target: Target<'a>,
    credential: &'a Credential,
}

/// How far an attempt came.
struct Progress<P: Platform> {
    status: Option<u16>,
    request_id: Option<HeaderValue>,
    answer: Outcome<Answer<P>>,
}

enum Answer<P: Platform> {
    Whole(Bytes, Option<crate::account::Usage>),
    Stream(Box<Relay>, Upstream<P>),
}

impl Attempt<'_> {
    async fn run<P: Platform>(&self, platform: &P) -> Progress<P> {
        let mut progress = Progress { status: None, request_id: None, answer: Err(Failure::internal("no attempt")) };
        progress.answer = self.exchange(platform, &mut progress.status, &mut progress.request_id).await;
        progress
    }

    async fn exchange<P: Platform>(
        &self,
        platform: &P,
        status: &mut Option<u16>,
        request_id: &mut Option<HeaderValue>,
    ) -> Outcome<Answer<P>> {
        let Some(Ok(places)) = self.target.places else {
            return Err(constant(ErrorCode::UpstreamUnreachable).caused_by("base URL refused"));
        };
        let headers = provider::openai::headers(self.credential)
            .ok_or_else(|| constant(ErrorCode::UpstreamAuthFailed).caused_by("credential lacks its key"))?;
        let timeouts = self.gateway.deployment.timeouts;
        let now = platform.now_ms();
        let total = now
            .saturating_add(timeouts.total_ms)
            .min(platform.deadline_ms().map_or(u64::MAX, |end| end.saturating_sub(limits::DEADLINE_RESERVE_MS)));
        let wait = if self.call.stream { timeouts.first_content_ms } else { timeouts.answer_ms };
        let deadline = now.saturating_add(wait).min(total);
        let body = self.call.encode(self.target.model.id.as_str(), true);
        let uri = places.endpoint(self.call.endpoint);
        let departure =
            Departure { method: Method::POST, uri, private_allowed: places.private_allowed, headers, body: Some(body) };
        let response = egress::send(platform, departure, deadline).await?;
        let (head, mut upstream) = response.into_parts();
        *status = Some(head.status.as_u16());
        *request_id = head.headers.get("x-request-id").filter(|id| self.harmless(id)).cloned();
        if head.status != StatusCode::OK {
            let bytes = egress::read_all(platform, &mut upstream, limits::UPSTREAM_ERROR_BYTES, deadline).await;
            return Err(openai_chat::classify(head.status, &head.headers, &bytes.unwrap_or_default()));
        }
        let protocol = |cause: &str| constant(ErrorCode::UpstreamProtocol).caused_by(cause);
        if head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(protocol("compressed answer"));
        }
        let kind = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is = |essence: &str| kind.split(';').next().is_some_and(|e| e.trim().eq_ignore_ascii_case(essence));
        if !self.call.stream {
            if !is("application/json") {
                return Err(protocol("answer is not JSON"));
            }
            let bytes = egress::read_all(platform, &mut upstream, limits::UPSTREAM_BODY_BYTES, deadline).await?;
            let (usage, _) = openai_chat::read_answer(self.call.endpoint, &bytes)?;
            return Ok(Answer::Whole(bytes, usage));
        }
        if !is("text/event-stream") {
            return Err(protocol("answer is no event stream"));
        }
        let relay = Relay::new(Setup {
            codec: Codec::Pass(Pass::new(!self.call.include_usage, false)),
            secrets: self.credential.values().cloned().collect(),
            now_ms: platform.now_ms(),
            deadline_ms: total,
            timeouts,
        });
        match egress::before(platform, deadline, until_content(relay, upstream, platform)).await {
            None => Err(constant(ErrorCode::UpstreamTimeout).caused_by("no content in time")),
            Some(answer) => answer,
        }
    }
}

impl Attempt<'_> {
    /// Whether a provider's request id can be shown: short, plain, and without a piece of the credential.
    fn harmless(&self, id: &HeaderValue) -> bool {
        let Ok(text) = id.to_str() else { return false };
        let plain = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        plain && !self.credential.values().any(|secret| failure::tells(text, secret.open()))
    }
}

/// Reads until the commit point: the first content, or a failure that is still a status.
async fn until_content<P: Platform>(mut relay: Relay, mut upstream: Upstream<P>, platform: &P) -> Outcome<Answer<P>> {
    loop {
        let hold = match upstream.chunk().await {
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
