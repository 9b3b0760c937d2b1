//! `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`: from a caller's body to a provider's answer, over as many
//! targets as that takes.

mod explain;
mod journey;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use self::journey::{Journey, Patience};
use super::input::Input;
use super::json_bytes;
use crate::account::limiter::{self, Admission, Dues, Rates};
use crate::account::{Bill, Closing, Facts, Measure};
use crate::attempt::{Answer, Attempt, Trace, UPSTREAM_REQUEST_ID};
use crate::body::Live;
use crate::config::Target;
use crate::credentials;
use crate::dialect::failure;
use crate::dialect::openai_chat::{self, Call};
use crate::error::{ErrorCode, Outcome};
use crate::exchange::Exchange;
use crate::gateway::{Gateway, Reply};
use crate::limits;
use crate::ports::{Platform, RequestBody};
use crate::provider::Endpoint;
use crate::route::{Class, Next, Pick, Stop, class_of};
use crate::secret::Secret;
use crate::tenancy::{self, Caller};

pub(super) use self::explain::explain;

/// The content type of our streams.
const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// Serves a data call.
pub(super) async fn call<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    caller: Caller,
    endpoint: Endpoint,
    input: Input<'_, B>,
) -> Outcome<Reply<P>> {
    let mut rates = Rates::default();
    let mut reply = travel(gateway, exchange, caller, endpoint, input, &mut rates).await;
    match &mut reply {
        Ok(Reply::Full(response)) => rates.tell(response.headers_mut()),
        Ok(Reply::Live(response)) => rates.tell(response.headers_mut()),
        Err(_) => {}
    }
    reply.map_err(|failure| rates.of_failure(failure))
}

/// Goes from target to target.
async fn travel<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    mut caller: Caller,
    endpoint: Endpoint,
    input: Input<'_, B>,
    rates: &mut Rates,
) -> Outcome<Reply<P>> {
    let patience = Patience::read(input.headers());
    let body = input.read(limits::DATA_BODY_BYTES).await?;
    let call = openai_chat::read_call(endpoint, &body)?;
    exchange.line().operation = Some(endpoint.operation());
    exchange.line().stream = call.stream;
    if caller.config.targets(&call.model).is_empty() {
        // It may have been enabled a moment ago through another isolate.
        caller = tenancy::confirmed(gateway, exchange, caller).await?;
    }
    let mut journey = Journey::new(gateway, exchange, &caller, &call, &patience)?;
    loop {
        let now = exchange.platform().now_ms();
        if now >= journey.plan.deadline_ms {
            return Err(journey.end(exchange, Stop::Last));
        }
        let pick = match gateway.board.next(&mut journey.plan, now, &mut journey.entropy) {
            Next::Call(pick) => pick,
            Next::Stop(stop) => {
                if journey.plan.last.is_none_or(Class::elsewhere)
                    && let Some(newer) = newer(gateway, exchange, &caller, now).await
                    && journey.joined(&newer, &call)
                {
                    // Another target was added a moment ago through another isolate.
                    caller = newer;
                    continue;
                }
                return Err(journey.end(exchange, stop));
            }
        };
        if pick.after_ms > 0 {
            exchange.platform().timer(pick.after_ms).await;
        }
        let target = journey.target(&caller, pick.at)?;
        let dues = match limiter::admit(gateway, exchange, &caller, target, rates).await? {
            Admission::Open(dues) => dues,
            Admission::Shut(wait_ms) => {
                journey.plan.shut(pick.at, wait_ms);
                continue;
            }
        };
        match go(gateway, exchange, &caller, &call, &mut journey, pick, dues).await {
            Ok(reply) => return Ok(reply),
            Err(failure) => {
                if exchange.sent().count() == 0 && failure.code == ErrorCode::UpstreamAuthFailed && !caller.fresh {
                    // There is no credential: the provider may have been removed or replaced a moment ago.
                    caller = tenancy::confirmed(gateway, exchange, caller).await?;
                    journey = Journey::new(gateway, exchange, &caller, &call, &patience)?;
                    continue;
                }
                journey.failed(failure);
            }
        }
    }
}

/// The caller with what the store says, if this isolate has not asked it lately. For a request that would fail.
async fn newer<P: Platform>(gateway: &Gateway, exchange: &Exchange<P>, caller: &Caller, now_ms: u64) -> Option<Caller> {
    let age_ms = gateway.cache.tenant(caller.tenant, caller.hash, now_ms)?.age_ms;
    if caller.fresh || age_ms < limits::CONFIRM_FAILURE_MS {
        return None;
    }
    tenancy::confirmed(gateway, exchange, caller.clone()).await.ok()
}

/// Goes to the target that was picked.
async fn go<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    caller: &Caller,
    call: &Call<'_>,
    journey: &mut Journey,
    pick: Pick,
    dues: Option<Dues>,
) -> Outcome<Reply<P>> {
    let target = journey.target(caller, pick.at)?;
    let number = journey.begin(target, pick);
    let mut bill = open(gateway, exchange, caller, call, journey, (target, number), dues);
    let line = exchange.line();
    line.provider_type = Some(target.provider.type_name.clone());
    line.provider = Some(target.provider.uuid.clone());
    line.model = Some(target.model.uuid.clone());
    line.route_reason = Some(pick.reason.as_str());
    line.failed_attempts = journey.trail();

    let reference = &target.provider.credential;
    let mut credential = match credentials::read(gateway, exchange, caller.tenant, reference).await {
        Ok(credential) => credential,
        Err(failure) => {
            bill.close(Closing::of(class_of(&failure)));
            return Err(failure);
        }
    };
    let platform = exchange.platform().clone();
    let id = exchange.request_id().trim_start_matches("req_").to_owned();
    let last_resort = journey.last_resort(gateway, platform.now_ms());
    let span = exchange.span().cloned();
    let attempt = Attempt {
        gateway,
        call,
        target,
        credential: &credential,
        strict: caller.config.head().tenant.strict_parameters,
        id: &id,
        begin_by_ms: journey.plan.deadline_ms,
        end_by_ms: journey.end_by_ms,
        cache_key: journey.plan.affinity,
        span: span.as_ref(),
        last_resort,
        sent: exchange.sent(),
    };
    let mut trace = Trace::default();
    let (sent, before) = (exchange.sent().clone(), exchange.sent().count());
    let run = async {
        let mut another = None;
        loop {
            let attempt = Attempt { credential: another.as_ref().unwrap_or(&credential), ..attempt };
            let answer = attempt.run(&platform, &mut trace).await;
            let refused = answer.as_ref().is_err_and(|failure| failure.code == ErrorCode::UpstreamAuthFailed);
            if another.is_some() || sent.count() == before || !refused {
                return (answer, another);
            }
            // It may have been replaced where it is kept: one more call, with another one or not at all (fault matrix U2).
            match credentials::reread(gateway, &platform, caller.tenant, reference, &credential).await {
                Ok(Some(found)) => another = Some(found),
                Ok(None) | Err(_) => return (answer, None),
            }
        }
    };
    let (answer, another) = tenancy::beside(gateway, exchange, caller, run).await;
    let refused = another.map(|another| std::mem::replace(&mut credential, another));
    let line = exchange.line();
    line.upstream_status = trace.status;
    line.native_finish.clone_from(&trace.native_finish);
    let closing = Closing { status: trace.status, ..Closing::of(Class::Success) };
    match answer {
        Ok(Answer::Whole(bytes, usage)) => {
            bill.content();
            let Measure { usage, estimated } = Measure::of_whole(usage, bill.asked(), &bytes);
            exchange.line().total = bill.close(Closing { usage, estimated, ..closing });
            let mut response = json_bytes(StatusCode::OK, bytes);
            trace.tell(response.headers_mut());
            journey.tell(response.headers_mut());
            Ok(Reply::Full(response))
        }
        Ok(Answer::Events(bytes, usage)) => {
            bill.content();
            let Measure { usage, estimated } = Measure::of_whole(usage, bill.asked(), &bytes);
            exchange.line().total = bill.close(Closing { usage, estimated, ..closing });
            let mut response = json_bytes(StatusCode::OK, bytes);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
            trace.tell(headers);
            journey.tell(headers);
            Ok(Reply::Full(response))
        }
        Ok(Answer::Stream(relay, upstream)) => {
            bill.so_far = Closing { class: Class::Cancelled, ..closing };
            let began = exchange.began_ms();
            let line = exchange.line();
            line.status = 200;
            if relay.has_content() {
                line.first_content_ms = Some(platform.now_ms().saturating_sub(began));
                bill.content();
            }
            let exchange = std::mem::replace(exchange, Exchange::spent(platform));
            let mut response = Response::new(Box::new(Live::new(*relay, upstream, exchange, bill)));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
            trace.tell(headers);
            journey.tell(headers);
            Ok(Reply::Live(response))
        }
        Err(mut failure) => {
            let known = refused.iter().flat_map(|refused| refused.values()).chain(credential.values());
            failure::scrub(&mut failure, known.chain(&trace.tokens).map(Secret::open));
            if let Some(id) = trace.request_id {
                failure = failure.with_header(UPSTREAM_REQUEST_ID, id);
            }
            let (class, wait_ms, code) = (class_of(&failure), failure.wait_ms.map(u64::from), Some(failure.code));
            bill.close(Closing { class, wait_ms, code, maybe_billed: failure.maybe_billed, ..closing });
            Err(failure)
        }
    }
}

/// Opens the bill of an attempt.
fn open<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    call: &Call<'_>,
    journey: &mut Journey,
    (target, number): (Target<'_>, u32),
    dues: Option<Dues>,
) -> Bill<P> {
    let platform = exchange.platform().clone();
    let began_ms = platform.now_ms();
    let ticket = gateway.board.begin(&journey.plan, target.id, began_ms, journey.entropy.next());
    let facts = Facts {
        request_id: exchange.request_id().to_owned(),
        number,
        tenant: caller.tenant,
        key: caller.key.clone(),
        config: std::sync::Arc::clone(&caller.config),
        at: target.at,
        alias: call.model.clone(),
        endpoint: call.endpoint,
        stream: call.stream,
        began_ms,
        asked: call.estimate(),
        tariff: gateway.deployment.books.tariff(target, call, caller.config.head().version),
        first_content_ms: None,
    };
    Bill::open(platform, ticket, facts, dues, exchange.sent().clone())
}
