//! The body of an answer: a whole document, or a stream up to its commit point.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};

use super::{Answer, Run, Trace};
use crate::body::Upstream;
use crate::dialect::failure::constant;
use crate::egress;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::json::JsonError;
use crate::limits;
use crate::ports::{Platform, UpstreamBody};
use crate::relay::{Codec, Hold, Relay, Setup};
use crate::route::Class;

impl Run<'_> {
    /// Reads a whole JSON answer.
    pub(super) async fn whole<P: Platform>(
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
    pub(super) async fn stream<P: Platform>(
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

pub(super) fn protocol(cause: &str) -> Failure {
    constant(ErrorCode::UpstreamProtocol).caused_by(cause)
}

/// Whether the content type is `essence`, whatever its parameters.
pub(super) fn has_type(headers: &HeaderMap, essence: &str) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|e| e.trim().eq_ignore_ascii_case(essence))
}

/// What a failure to read a whole answer means: bytes that are no JSON were cut or garbled and may come whole the next
/// time (fault matrix U28), another document than the API's will not (U29).
pub(super) fn read_as<T>(bytes: &[u8], read: Outcome<T>) -> Outcome<T> {
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
