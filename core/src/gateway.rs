//! The path of every request: route, caller, endpoint, and the answer dressed with the headers that all answers have.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::account::limiter::Limiter;
use crate::api::{self, Route};
use crate::body::Body;
use crate::cache::Cache;
use crate::deferred::Backlog;
use crate::deployment::Deployment;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::ports::{Platform, RequestBody};
use crate::route::Board;
use crate::sweep::{self, Swept};
use crate::tenancy;

/// A deployment at work: its configuration and what this isolate remembers. One per process or isolate.
pub struct Gateway {
    pub(crate) deployment: Deployment,
    pub(crate) cache: Cache,
    pub(crate) board: Arc<Board>,
    pub(crate) backlog: Backlog,
    pub(crate) limiter: Arc<Limiter>,
}

/// The header that carries our request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an endpoint answers, before the common headers.
pub(crate) enum Reply<P: Platform> {
    /// A whole answer.
    Full(Response<Bytes>),
    /// A committed stream; it owns the exchange from here on.
    Live(Response<Box<crate::body::Live<P>>>),
}

impl Gateway {
    /// A gateway that remembers nothing yet.
    pub fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            cache: Cache::default(),
            board: Arc::default(),
            backlog: Backlog::default(),
            limiter: Arc::default(),
        }
    }

    /// Answers one request. Never fails: every fault is an answer in OpenAI's shape.
    pub async fn handle<P: Platform, B: RequestBody>(&self, platform: P, request: Request<B>) -> Response<Body<P>> {
        let (head, body) = request.into_parts();
        let mut exchange = Exchange::new(platform);
        let request_id = exchange.request_id().to_owned();
        exchange.join(&head.headers);
        exchange.line().method = method_name(&head.method);
        let origin = self.cors_origin(&head.headers);

        let found = api::route(&head.method, head.uri.path());
        let reply = if let (Some(origin), true) = (&origin, is_preflight(&head.method, &head.headers)) {
            exchange.line().route = "preflight";
            Ok(Reply::Full(preflight(origin)))
        } else {
            self.answer(&mut exchange, &found, &head, body).await
        };
        let mut response = match reply {
            Ok(Reply::Full(response)) => finish(exchange, response),
            Ok(Reply::Live(response)) => response.map(Body::Live),
            Err(failure) => {
                let line = exchange.line();
                line.code = Some(failure.code.as_str());
                line.cause.clone_from(&failure.cause);
                finish(exchange, failure.response())
            }
        };
        dress(response.headers_mut(), &request_id);
        if let Some(origin) = origin {
            allow(response.headers_mut(), origin);
        }
        response
    }

    /// Answers a request that the runtime has no room for: 503, unread and at once. Only `/healthz` is answered, since
    /// who asks there must not take a busy process for a dead one.
    pub fn turn_away<P: Platform>(&self, platform: P, head: &http::request::Parts) -> Response<Body<P>> {
        let mut exchange = Exchange::new(platform);
        let request_id = exchange.request_id().to_owned();
        exchange.line().method = method_name(&head.method);
        let response = match api::route(&head.method, head.uri.path()) {
            api::Found::Route(Route::Health) => api::health::live(),
            found => {
                let line = exchange.line();
                line.code = Some(ErrorCode::GatewayOverloaded.as_str());
                if let api::Found::Route(route) = found {
                    line.route = route.template();
                }
                let message = "The gateway has as many requests as it can take. Try again shortly.";
                Failure::new(ErrorCode::GatewayOverloaded, message).retry_after(1).response()
            }
        };
        let mut response = finish(exchange, response);
        dress(response.headers_mut(), &request_id);
        if let Some(origin) = self.cors_origin(&head.headers) {
            allow(response.headers_mut(), origin);
        }
        response
    }

    /// Removes secrets of every tenant that a crash left without a provider. For a schedule, not for requests.
    pub async fn sweep<P: Platform>(&self, platform: P) -> Swept {
        sweep::all(self, &platform).await
    }

    async fn answer<P: Platform, B: RequestBody>(
        &self,
        exchange: &mut Exchange<P>,
        found: &api::Found<'_>,
        head: &http::request::Parts,
        body: B,
    ) -> Outcome<Reply<P>> {
        if let api::Found::Route(route) = found {
            exchange.line().route = route.template();
            match route {
                Route::Health => return Ok(Reply::Full(api::health::live())),
                Route::Ready => return api::health::ready(exchange).await.map(Reply::Full),
                Route::Token => return api::token::exchange_key(self, exchange, body).await.map(Reply::Full),
                _ => {}
            }
        }
        // Nothing is said about paths and methods to a caller that is not known.
        let identity = tenancy::authenticate(self, exchange, &head.headers).await?;
        let route = match found {
            api::Found::Route(route) => route,
            api::Found::Nothing => {
                return Err(Failure::new(ErrorCode::NotFound, "There is no such endpoint. Paths begin with /v1/."));
            }
            api::Found::Methods(allow) => {
                let value = HeaderValue::from_static(allow);
                return Err(Failure::new(ErrorCode::MethodNotAllowed, "This endpoint does not have this method.")
                    .with_header(header::ALLOW, value));
            }
        };
        api::serve(self, exchange, route, identity, head, body).await
    }

    fn cors_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.deployment.cors.iter().any(|known| known == text).then(|| origin.clone())
    }
}

/// An answer that a runtime gives by itself, before or instead of the gateway.
pub fn failure(code: ErrorCode, request_id: &str) -> Response<Bytes> {
    let failure = match code {
        ErrorCode::StoreUnavailable | ErrorCode::SecretsUnavailable => {
            Failure::new(code, "The gateway cannot reach what it depends on. Try again shortly.").retry_after(1)
        }
        ErrorCode::RequestTooLarge => Failure::new(code, "The request is too large."),
        _ => Failure::new(code, "The gateway failed to process the request."),
    };
    let mut response = failure.response();
    dress(response.headers_mut(), request_id);
    response
}

fn finish<P: Platform>(mut exchange: Exchange<P>, response: Response<Bytes>) -> Response<Body<P>> {
    exchange.line().status = response.status().as_u16();
    exchange.close();
    response.map(Body::Full)
}

/// Headers of every answer.
fn dress(headers: &mut HeaderMap, request_id: &str) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Lets scripts of an origin read an answer.
fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

const EXPOSED: &str = "x-request-id, retry-after, retry-after-ms, x-should-retry, x-gateway-upstream-request-id, \
    x-gateway-upstream-model, x-gateway-dropped-params, x-gateway-native-finish-reason, x-gateway-route, \
    x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
    x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a browser's question whether it may call, for an origin that the operator named.
fn preflight(_origin: &HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, x-gateway-tenant"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// A name for the log; methods that nobody serves are not repeated there.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests;
