//! `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`: from a caller's body to a provider's answer.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use super::input::Input;
use super::json_bytes;
use crate::attempt::{Answer, Attempt, Trace, UPSTREAM_REQUEST_ID};
use crate::body::Live;
use crate::config::Target;
use crate::credentials;
use crate::dialect::failure;
use crate::dialect::openai_chat::{self, Call};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::{Gateway, Reply};
use crate::limits;
use crate::ports::{Platform, RequestBody};
use crate::provider::{self, Endpoint};
use crate::secret::{Credential, Secret};
use crate::tenancy::{self, Caller};

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
    let strict = caller.config.head().tenant.strict_parameters;
    let platform = exchange.platform().clone();
    let id = exchange.request_id().trim_start_matches("req_").to_owned();
    let attempt = Attempt { gateway, call: &call, target, credential: &credential, strict, id: &id };
    let mut trace = Trace::default();
    let answer = tenancy::beside(gateway, exchange, caller, attempt.run(&platform, &mut trace)).await;
    let line = exchange.line();
    line.attempts = trace.calls;
    line.upstream_status = trace.status;
    line.native_finish.clone_from(&trace.native_finish);
    match answer {
        Ok(Answer::Whole(bytes, usage)) => {
            exchange.line().usage = usage;
            let mut response = json_bytes(StatusCode::OK, bytes);
            trace.tell(response.headers_mut());
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
            trace.tell(headers);
            Ok(Reply::Live(response))
        }
        Err(mut failure) => {
            if failure.code == ErrorCode::UpstreamAuthFailed {
                gateway.cache.forget_credential(caller.tenant, &target.provider.credential.id);
            }
            failure::scrub(&mut failure, credential.values().chain(&trace.tokens).map(Secret::open));
            if let Some(id) = trace.request_id {
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
        let kind = known.first().and_then(|target| target.provider.kind());
        return Err(provider::unsupported_endpoint(kind, call.endpoint));
    }
    let mut random = [0_u8; 8];
    if fit.len() > 1 {
        platform.fill_random(&mut random);
    }
    let at = usize::try_from(u64::from_le_bytes(random) % fit.len() as u64).unwrap_or(0);
    Ok(fit.swap_remove(at))
}
