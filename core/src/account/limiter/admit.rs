//! Asking for leave before a call, and paying for its tokens afterwards.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::super::Usage;
use super::super::bucket::{Debit, Rule, read_answer, write_question};
use super::{Counts, Held, Limiter, Reading, Step, gates};
use crate::config::Target;
use crate::deferred::Deferred;
use crate::error::{ErrorCode, Failure, Outcome, SHOULD_RETRY};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::{TenantId, duration};
use crate::ports::{Buckets, Fault, Level, Platform, PortError};
use crate::tenancy::Caller;

/// What one request met of rate limits.
#[derive(Default)]
pub(crate) struct Rates {
    /// The buckets of the tenant and the key were taken from.
    paid: bool,
    readings: Vec<Reading>,
}

/// Whether a call may go to a target.
pub(crate) enum Admission {
    /// It may, and this is what its tokens will be owed to.
    Open(Option<Dues>),
    /// A limit of this target is reached, for so many milliseconds.
    Shut(u64),
}

/// The buckets that a call's tokens are taken from when it is over.
pub(crate) struct Dues {
    limiter: Arc<Limiter>,
    tenant: TenantId,
    buckets: Vec<(String, Rule)>,
}

/// Asks for leave to call a target.
///
/// # Errors
/// 429 when a limit of the tenant or of the key is reached. 503 when the buckets cannot be reached, unless the operator
/// wants calls to go on then (fault matrix S11).
pub(crate) async fn admit<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    caller: &Caller,
    target: Target<'_>,
    rates: &mut Rates,
) -> Outcome<Admission> {
    let head = caller.config.head();
    if head.rate_limits.is_empty() {
        return Ok(Admission::Open(None));
    }
    let gates = gates(head, target, caller.key.as_ref().map(|key| key.id.as_str()));
    if gates.is_empty() {
        return Ok(Admission::Open(None));
    }
    let (limiter, tenant) = (&gateway.limiter, caller.tenant);
    let platform = exchange.platform().clone();
    let now = platform.now_ms();
    let short = match limiter.step(tenant, &gates, rates.paid, now) {
        Step::Open => None,
        Step::Shut(short) => Some(short),
        Step::Ask(held) => match ask(&platform, held).await {
            Ok(short) => short,
            Err(error) if gateway.deployment.limits_open => {
                exchange.line().cause = Some(error.to_string());
                exchange.line().unlimited = true;
                None
            }
            Err(error) => {
                let message = "The rate limits cannot be checked. Try again shortly.";
                return Err(Failure::new(ErrorCode::StoreUnavailable, message)
                    .retry_after(1)
                    .caused_by(error.to_string()));
            }
        },
    };
    rates.note(limiter.readings(tenant, &gates, platform.now_ms()));
    if let Some(short) = short {
        let wait_ms = short.wait_ms.unwrap_or(limits::NEVER_MS);
        return if short.callers { Err(limited(wait_ms)) } else { Ok(Admission::Shut(wait_ms)) };
    }
    rates.paid = true;
    let buckets: Vec<(String, Rule)> =
        gates.into_iter().filter(|gate| gate.counts == Counts::Tokens).map(|gate| (gate.name, gate.rule)).collect();
    let dues = || Dues { limiter: Arc::clone(limiter), tenant, buckets };
    Ok(Admission::Open((!exchange.line().unlimited).then(dues).filter(|dues| !dues.buckets.is_empty())))
}

/// A limit is reached: 429 with the time to wait.
pub(crate) fn limited(wait_ms: u64) -> Failure {
    let failure = Failure::new(ErrorCode::RateLimited, "A rate limit of this tenant is reached. Wait, then try again.")
        .retry_after(wait_ms.div_ceil(1000).max(1))
        .with_header(RETRY_AFTER_MS, HeaderValue::from(wait_ms.max(1)));
    if wait_ms > limits::LONGEST_WAIT_MS {
        // OpenAI's SDKs do not wait that long: they would only try again too early.
        return failure.with_header(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    failure
}

/// Puts a question and remembers the answer. What is short, if anything is.
async fn ask<P: Platform>(platform: &P, held: Held<'_>) -> Result<Option<super::Short>, PortError> {
    let question = write_question(&held.question);
    let bytes = platform.buckets().ask(held.tenant, question, platform.now_ms()).await?;
    let wrong = || PortError::new("buckets.ask", Fault::Corrupt, "answer");
    let (granted, standings) = read_answer(&bytes).ok_or_else(wrong)?;
    if standings.len() != held.question.asks.len() {
        return Err(wrong());
    }
    Ok(held.answered(granted, &standings, platform.now_ms()))
}

/// Pays what this isolate owes. Whether nothing is left.
pub(crate) async fn settle<P: Platform>(gateway: &Gateway, platform: &P) -> bool {
    let mut done = true;
    for tenant in gateway.limiter.debtors() {
        while let Some(held) = gateway.limiter.owing(tenant, platform.now_ms()) {
            if let Err(error) = ask(platform, held).await {
                done = false;
                gateway.limiter.bound(tenant, platform, &error);
                break;
            }
        }
    }
    done
}

/// Makes a gateway forget a tenant's buckets: it is gone.
pub(crate) async fn forget<P: Platform>(platform: &P, tenant: TenantId) -> Result<(), PortError> {
    let question = write_question(&super::Question { forget: true, ..super::Question::default() });
    platform.buckets().ask(tenant, question, platform.now_ms()).await.map(drop)
}

impl Limiter {
    /// After a failure: what can never be taken in, and what there is no room for, is told to the log and dropped.
    fn bound<P: Platform>(&self, tenant: TenantId, platform: &P, error: &PortError) {
        let most = if error.retryable() || error.fault == Fault::Overloaded { limits::OWED_DEBITS } else { 0 };
        let lost: u64 = self.known(tenant, platform.now_ms(), |known| {
            let excess = known.owed.len().saturating_sub(most);
            known.owed.drain(..excess).fold(0, |sum, owed| owed.debit.tokens.saturating_add(sum))
        });
        if lost > 0 {
            let line = format!(
                r#"{{"level":"error","event":"tokens_not_counted","tenant":"{tenant}","tokens":{lost},"cause":"{error}"}}"#
            );
            platform.log(Level::Error, &line);
        }
    }
}

impl Dues {
    /// The call is over: its tokens are owed from now on, and taken along soon.
    pub(crate) fn pay<P: Platform>(self, platform: &P, usage: &Usage) {
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        if tokens == 0 {
            return;
        }
        let debit = |(name, rule)| {
            let mut id = [0_u8; 8];
            platform.fill_random(&mut id);
            Debit { id: u64::from_le_bytes(id), name, rule, tokens }
        };
        let debits = self.buckets.into_iter().map(debit).collect();
        self.limiter.owe(self.tenant, debits, platform.now_ms());
        platform.defer(Deferred::Tokens);
    }
}

impl Rates {
    fn note(&mut self, readings: Vec<Reading>) {
        for reading in readings {
            self.readings.retain(|known| known.name != reading.name);
            self.readings.push(reading);
        }
    }

    /// Puts the tightest limit of each kind into the headers of an answer, as OpenAI has them.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            headers.insert(name, value);
        }
    }

    /// The same for a failure.
    pub(crate) fn of_failure(&self, failure: Failure) -> Failure {
        self.headers().fold(failure, |failure, (name, value)| failure.with_header(name, value))
    }

    fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let kinds = [(Counts::Requests, REQUESTS), (Counts::Tokens, TOKENS)];
        kinds.into_iter().flat_map(|(counts, [limit, remaining, reset])| {
            let of_kind = self.readings.iter().filter(|reading| reading.counts == counts);
            let tightest = of_kind.min_by_key(|reading| (reading.remaining, reading.limit));
            let headers = tightest.map(|reading| {
                let full = reading.full_ms.and_then(|ms| HeaderValue::from_str(&duration::write(ms)).ok());
                [
                    Some((HeaderName::from_static(limit), HeaderValue::from(reading.limit))),
                    Some((HeaderName::from_static(remaining), HeaderValue::from(reading.remaining))),
                    full.map(|full| (HeaderName::from_static(reset), full)),
                ]
            });
            headers.into_iter().flatten().flatten()
        })
    }
}

/// The wait in milliseconds, as OpenAI's SDKs read it.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: [&str; 3] = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
