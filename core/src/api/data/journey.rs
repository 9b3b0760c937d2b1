//! One request's way through the targets of its alias: the plan, and what is told of it.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::value::RawValue;

use crate::account::limiter;
use crate::api::policies;
use crate::config::Target;
use crate::dialect::failure::constant;
use crate::dialect::openai_chat::Call;
use crate::error::{ErrorCode, Failure, Outcome, SHOULD_RETRY};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::ports::Platform;
use crate::provider::{self, Endpoint};
use crate::route::{
    self, Algorithm, AliasId, Candidate, Class, Entropy, Out, Pick, Plan, Size, Stop, TargetId, class_of,
};
use crate::tenancy::Caller;

/// Which target answered, or was called last, at which attempt, and why.
const ROUTE: HeaderName = HeaderName::from_static("x-gateway-route");
/// The wait in milliseconds, as OpenAI's SDKs read it.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// What a client's SDK says of its own patience: <https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patience {
    /// Which repeat of its own this is; 0 for the first try.
    repeat: u32,
    /// How long it waits for an answer, in milliseconds.
    wait_ms: Option<u64>,
    /// The session that it names.
    session: Option<String>,
}

impl Patience {
    /// Reads `x-stainless-retry-count`, and `x-stainless-read-timeout` or `x-stainless-timeout` in seconds.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let seconds = text("x-stainless-read-timeout").or_else(|| text("x-stainless-timeout"));
        let ms = seconds.and_then(crate::json::number).filter(|s| (0.001..=86_400.0).contains(s)).map(|s| s * 1000.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1..=86_400_000")]
        let wait_ms = ms.map(|ms| ms as u64);
        let repeat = text("x-stainless-retry-count").and_then(|count| count.parse().ok()).unwrap_or(0);
        Self { repeat, wait_ms, session: text("x-session-id").map(str::to_owned) }
    }
}

/// A request on its way.
pub(super) struct Journey {
    /// Where it can go.
    pub plan: Plan,
    /// Random bits for its decisions.
    pub entropy: Entropy,
    /// Until when all must be over, in milliseconds since the epoch.
    pub end_by_ms: u64,
    /// The candidates' indexes in the head.
    models: Vec<usize>,
    /// What the last target said.
    last: Option<Failure>,
    /// The attempt that is under way or ended last: its number, its target and the reason for it.
    route: Option<(u32, String, Pick)>,
    attempts: u32,
    /// Attempts that failed, for the log.
    trail: String,
}

impl Journey {
    /// Plans the way of a call.
    ///
    /// # Errors
    /// The key may not call the model, nobody knows the model, or no target has the endpoint.
    pub(super) fn new<P: Platform>(
        gateway: &Gateway,
        exchange: &Exchange<P>,
        caller: &Caller,
        call: &Call<'_>,
        patience: &Patience,
    ) -> Outcome<Self> {
        let known = known(caller, call)?;
        let platform = exchange.platform();
        let began = exchange.began_ms();
        let end_by_ms = platform
            .deadline_ms()
            .map_or(u64::MAX, |end| end.saturating_sub(limits::DEADLINE_RESERVE_MS))
            .min(began.saturating_add(gateway.deployment.timeouts.total_ms));
        // Who waits so long is answered a little earlier.
        let answer_by = patience.wait_ms.map(|ms| began.saturating_add(ms - (ms / 10).min(1000)));
        let alias = AliasId::of(caller.tenant, &call.model);
        let mut seed = [0_u8; 8];
        platform.fill_random(&mut seed);
        let now = platform.now_ms();
        let shut = |target: &Target<'_>| gateway.limiter.shut(caller.config.head(), *target, now).map(Out::Limited);
        let as_now = |(candidate, target): (Candidate, &Target<'_>)| Candidate {
            out: candidate.out.or_else(|| shut(target)),
            ..candidate
        };
        Ok(Self {
            plan: Plan {
                alias,
                candidates: candidates(caller, call, &known).into_iter().zip(&known).map(as_now).collect(),
                algorithm: caller.config.algorithm(&call.model).in_effect(platform.alone()),
                affinity: affinity(alias, call, patience.session.as_deref()),
                size: Size::of_bytes(call.bytes()),
                stream: call.stream,
                alone: platform.alone(),
                deadline_ms: answer_by.map_or(end_by_ms, |by| by.min(end_by_ms)),
                most: if patience.repeat > 0 { limits::ATTEMPTS_OF_REPEAT } else { limits::ATTEMPTS },
                tried: Vec::new(),
                last: None,
                panicked: false,
                counted: false,
            },
            entropy: Entropy::new(u64::from_le_bytes(seed)),
            end_by_ms,
            models: known.iter().map(|target| target.at).collect(),
            last: None,
            route: None,
            attempts: 0,
            trail: String::new(),
        })
    }

    /// Takes over the targets of a newer configuration; whether there is one that was not known.
    pub(super) fn joined(&mut self, caller: &Caller, call: &Call<'_>) -> bool {
        let Ok(known) = known(caller, call) else { return false };
        let ids: Vec<TargetId> = self.plan.candidates.iter().map(|candidate| candidate.id).collect();
        if !known.iter().any(|target| !ids.contains(&target.id)) {
            return false;
        }
        let was = |at: &usize| ids.get(*at).copied();
        let now = |id| known.iter().position(|target| target.id == id);
        self.plan.tried = self.plan.tried.iter().filter_map(was).filter_map(now).collect();
        self.plan.candidates = candidates(caller, call, &known);
        self.models = known.iter().map(|target| target.at).collect();
        true
    }

    /// The target of a candidate.
    pub(super) fn target<'a>(&self, caller: &'a Caller, at: usize) -> Outcome<Target<'a>> {
        let target = self.models.get(at).and_then(|at| caller.config.target(*at));
        target.ok_or_else(|| Failure::internal("a target left its configuration"))
    }

    /// An attempt begins. Its number.
    pub(super) fn begin(&mut self, target: Target<'_>, pick: Pick) -> u32 {
        self.attempts += 1;
        self.route = Some((self.attempts, target.model.uuid.clone(), pick));
        self.attempts
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, failure: Failure) {
        let class = class_of(&failure);
        self.plan.ended(class);
        if let Some((_, model, _)) = &self.route {
            if !self.trail.is_empty() {
                self.trail.push(' ');
            }
            self.trail.push_str(model);
            self.trail.push(':');
            self.trail.push_str(class.as_str());
        }
        // What a target cannot take says less than what another one answered.
        if class != Class::Incapable || self.last.is_none() {
            self.last = Some(failure);
        }
    }

    /// Whether no other target could take over from the one that is called now.
    pub(super) fn last_resort(&self, gateway: &Gateway, now_ms: u64) -> bool {
        !gateway.board.has_other(&self.plan, now_ms)
    }

    /// There is no further call: what to answer.
    pub(super) fn end<P: Platform>(&mut self, exchange: &mut Exchange<P>, stop: Stop) -> Failure {
        let failure = match (stop, self.last.take()) {
            (Stop::Last | Stop::Nothing, Some(failure)) => self.last_word(failure),
            (Stop::Cooling { wait_ms, overloaded }, _) => cooling(wait_ms, overloaded),
            (Stop::Last, None) => constant(ErrorCode::UpstreamTimeout).caused_by("no time left for a call"),
            (Stop::Nothing, None) => nobody(&self.plan.candidates),
        };
        let mut failure = self.advise(failure, exchange.sent().count());
        if let Some(value) = self.header() {
            failure = failure.with_header(ROUTE, value);
        }
        exchange.line().failed_attempts = self.trail();
        failure
    }

    /// What the last target said, unless several were there, all out for their faults, and it was asked only therefore
    /// (fault matrix U41). Of a target that is the only one the truth is told.
    fn last_word(&self, failure: Failure) -> Failure {
        let health = matches!(class_of(&failure), Class::Failed | Class::Unfit | Class::Overloaded);
        if !(self.plan.panicked && health && self.plan.candidates.len() > 1) {
            return failure;
        }
        let cause = format!("all targets are out; the last said {}", failure.code.as_str());
        let message = "None of the model's providers is healthy now. Try again shortly.";
        Failure::new(ErrorCode::NoHealthyProvider, message).retry_after(5).caused_by(cause)
    }

    /// Tells the client's SDK whether to repeat: the gateway did so already, so only where a wait is known.
    fn advise(&self, mut failure: Failure, sent: u32) -> Failure {
        let waits = matches!(failure.code, ErrorCode::UpstreamRateLimited | ErrorCode::UpstreamOverloaded);
        if let Some(wait) = failure.wait_ms.map(u64::from).filter(|_| waits)
            && !failure.headers.iter().any(|(name, value)| *name == SHOULD_RETRY && value == "false")
        {
            let ms = wait.min(limits::LONGEST_WAIT_MS);
            failure = failure.retry_after(ms.div_ceil(1000)).with_header(RETRY_AFTER_MS, HeaderValue::from(ms));
        }
        let told = failure.headers.iter().any(|(name, _)| *name == RETRY_AFTER || *name == SHOULD_RETRY);
        if sent > 1 && !told && failure.code.retryable() {
            failure = failure.with_header(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        failure
    }

    /// Puts the way into the headers of an answer.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.header() {
            headers.insert(ROUTE, value);
        }
    }

    /// `<model uuid>; attempt=<n>; reason=<word>`.
    fn header(&self) -> Option<HeaderValue> {
        let (number, model, pick) = self.route.as_ref()?;
        HeaderValue::from_str(&format!("{model}; attempt={number}; reason={}", pick.reason.as_str())).ok()
    }

    /// The attempts that failed so far, for the log.
    pub(super) fn trail(&self) -> Option<String> {
        (!self.trail.is_empty()).then(|| self.trail.clone())
    }
}

/// The targets that a name stands for, of which one at least has the endpoint.
fn known<'a>(caller: &'a Caller, call: &Call<'_>) -> Outcome<Vec<Target<'a>>> {
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
    if !known.iter().any(|target| serves(target, call)) {
        let kind = known.first().and_then(|target| target.provider.kind());
        return Err(provider::unsupported_endpoint(kind, call.endpoint));
    }
    let mut named = caller.config.head().balancers.iter().filter(|balancer| balancer.alias.as_str() == call.model);
    let usable = named.next().is_none_or(|balancer| policies::may_use(caller, balancer));
    if !usable || !known.iter().any(|target| policies::may_read(caller, target.model)) {
        let message = "A policy of the tenant does not let this key call this model.";
        return Err(Failure::new(ErrorCode::PermissionDenied, message).with_param("model"));
    }
    Ok(known)
}

fn serves(target: &Target<'_>, call: &Call<'_>) -> bool {
    target.provider.kind().is_some_and(|kind| kind.serves(call.endpoint))
}

/// What ties a chat to a target: a key or session that the client names, else how the prompt begins.
fn affinity(alias: AliasId, call: &Call<'_>, session: Option<&str>) -> Option<u64> {
    if call.endpoint != Endpoint::Chat {
        return None;
    }
    let raw = |name: &str| call.object().get(name).map(RawValue::get).filter(|raw| *raw != "null");
    let named = raw("prompt_cache_key").or(session);
    route::affinity_key(alias, named, &["tools", "messages"].map(|name| raw(name).unwrap_or_default().as_bytes()))
}

fn candidates(caller: &Caller, call: &Call<'_>, known: &[Target<'_>]) -> Vec<Candidate> {
    // Each in turn: the same share, also where there are no turns.
    let even = caller.config.algorithm(&call.model) == Algorithm::RoundRobin;
    known.iter().map(|target| candidate(caller, target, call, even)).collect()
}

fn candidate(caller: &Caller, target: &Target<'_>, call: &Call<'_>, even: bool) -> Candidate {
    let out = if target.weight == 0 {
        Some(Out::Drained)
    } else if !serves(target, call) {
        Some(Out::Endpoint)
    } else if !policies::may_read(caller, target.model) {
        Some(Out::Forbidden)
    } else {
        None
    };
    Candidate {
        id: target.id,
        weight: if even { f64::from(target.weight.min(1)) } else { f64::from(target.weight) },
        priority: target.priority,
        quota: target.quota,
        out,
    }
}

/// All that are left want to be left alone.
fn cooling(wait_ms: u64, overloaded: bool) -> Failure {
    let code = if overloaded { ErrorCode::UpstreamOverloaded } else { ErrorCode::UpstreamRateLimited };
    let mut failure = constant(code).caused_by("all targets are cooling down");
    failure.wait_ms = Some(wait_ms.try_into().unwrap_or(u32::MAX));
    failure
}

/// No target could be called at all.
fn nobody(candidates: &[Candidate]) -> Failure {
    let waits = candidates.iter().filter_map(|candidate| match candidate.out {
        Some(Out::Limited(wait_ms)) => Some(wait_ms),
        _ => None,
    });
    if let Some(wait_ms) = waits.min() {
        return limiter::limited(wait_ms);
    }
    if candidates.iter().any(|candidate| candidate.out == Some(Out::Forbidden)) {
        return policies::refused().with_param("model");
    }
    let drained = candidates.iter().any(|candidate| candidate.out == Some(Out::Drained));
    let cause = if drained { "drained" } else { "no target fits" };
    let message = "None of the model's providers takes calls now: all have weight 0.";
    Failure::new(ErrorCode::NoHealthyProvider, message).retry_after(30).caused_by(cause)
}
