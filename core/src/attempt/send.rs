//! One call on its way to the provider, and the head of its answer.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use super::read::protocol;
use super::{Attempt, Draft, Run, Trace};
use crate::body::Upstream;
use crate::dialect::failure::{constant, tells};
use crate::egress::{self, Departure};
use crate::error::{ErrorCode, Outcome};
use crate::limits;
use crate::ports::Platform;
use crate::provider::{self, Operation, ProviderKind};
use crate::route;
use crate::secret::Secret;
use crate::span::{Span, TRACEPARENT};
use crate::token;

impl Attempt<'_> {
    /// Whether a provider's request id can be shown: short, plain, and without a piece of the credential.
    fn harmless(&self, id: &HeaderValue) -> bool {
        let Ok(text) = id.to_str() else { return false };
        let plain = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        plain && !self.credential.values().any(|secret| tells(text, secret.open()))
    }
}

impl Run<'_> {
    /// Sends one call. What comes back has status 200; everything else is a failure already.
    pub(super) async fn send<P: Platform>(
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
}
