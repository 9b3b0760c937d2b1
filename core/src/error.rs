//! The one error of the gateway: a closed list of codes, one table with status, type and advice for each.
//!
//! Messages are ours and constant but for names of our own fields; nothing a caller, a dependency or a provider
//! sent is repeated (the one exception is [`Failure::upstream`], whose text was cleaned).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use crate::route::Class;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal $kind:ident $retry:ident,)*) => {
        /// What went wrong, as clients see it in `error.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn row(self) -> (u16, &'static str, ErrorType, Retry) {
                match self { $(Self::$name => ($status, $code, ErrorType::$kind, Retry::$retry),)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON, not UTF-8, or has a member twice.
    InvalidJson = 400 "invalid_json" InvalidRequest Never,
    /// The body is nested too deeply.
    JsonTooDeep = 400 "json_too_deep" InvalidRequest Never,
    /// A value is missing or wrong; `param` says which.
    InvalidRequest = 400 "invalid_request" InvalidRequest Never,
    /// An admin body has a member that the endpoint does not know.
    UnknownField = 400 "unknown_field" InvalidRequest Never,
    /// The provider cannot take this parameter, and the tenant wants no drops; or it can never be left out.
    UnsupportedParameter = 400 "unsupported_parameter" InvalidRequest Never,
    /// The provider cannot take this value.
    UnsupportedValue = 400 "unsupported_value" InvalidRequest Never,
    /// The provider cannot take this kind of content.
    UnsupportedContent = 400 "unsupported_content" InvalidRequest Never,
    /// The image's address is not one that the gateway fetches, or it could not be fetched.
    InvalidImageUrl = 400 "invalid_image_url" InvalidRequest Never,
    /// The arguments of a call in the history are not a JSON object.
    InvalidToolArguments = 400 "invalid_tool_arguments" InvalidRequest Never,
    /// A tool's result without the call it answers.
    InvalidToolMessage = 400 "invalid_tool_message" InvalidRequest Never,
    /// The model's provider has no such endpoint.
    UnsupportedEndpoint = 400 "unsupported_endpoint" InvalidRequest Never,
    /// The provider refused the request.
    UpstreamRejected = 400 "upstream_rejected" InvalidRequest Never,
    /// The prompt is longer than the model takes.
    ContextLengthExceeded = 400 "context_length_exceeded" InvalidRequest Never,
    /// A document of the tenant would grow over its limit.
    QuotaExceeded = 400 "quota_exceeded" InvalidRequest Never,
    /// No key, or one that is not valid.
    InvalidApiKey = 401 "invalid_api_key" Authentication Never,
    /// The key is right but not for this.
    PermissionDenied = 403 "permission_denied" Permission Never,
    /// No model of that name.
    ModelNotFound = 404 "model_not_found" InvalidRequest Never,
    /// No provider of that id or type.
    ProviderNotFound = 404 "provider_not_found" InvalidRequest Never,
    /// No such route or object.
    NotFound = 404 "not_found" InvalidRequest Never,
    /// The route has other methods.
    MethodNotAllowed = 405 "method_not_allowed" InvalidRequest Never,
    /// The name is taken, or the object changed meanwhile.
    Conflict = 409 "conflict" InvalidRequest Never,
    /// There is no tenant yet.
    TenantRequired = 409 "tenant_required" InvalidRequest Never,
    /// The body is too large.
    RequestTooLarge = 413 "request_too_large" InvalidRequest Never,
    /// The body is not `application/json`, or it is compressed.
    UnsupportedMediaType = 415 "unsupported_media_type" InvalidRequest Never,
    /// The client stopped sending its body.
    RequestIncomplete = 408 "request_incomplete" InvalidRequest Client,
    /// A rate limit of the tenant is reached.
    RateLimited = 429 "rate_limited" RateLimit Client,
    /// The provider asks for fewer calls.
    UpstreamRateLimited = 429 "upstream_rate_limited" RateLimit Client,
    /// The account at the provider has no credit left.
    InsufficientQuota = 429 "insufficient_quota" RateLimit Never,
    /// A fault of the gateway.
    InternalError = 500 "internal_error" Server Client,
    /// The provider failed.
    UpstreamError = 502 "upstream_error" Upstream Client,
    /// The provider refused the stored credential.
    UpstreamAuthFailed = 502 "upstream_auth_failed" Upstream Never,
    /// The service that gives out the provider's tokens cannot be reached, or fails.
    UpstreamAuthUnavailable = 502 "upstream_auth_unavailable" Upstream Client,
    /// The provider could not be reached.
    UpstreamUnreachable = 502 "upstream_unreachable" Upstream Client,
    /// The provider answered with a redirect.
    UpstreamRedirect = 502 "upstream_redirect" Upstream Never,
    /// The provider's answer is not what its API promises.
    UpstreamProtocol = 502 "upstream_protocol" Upstream Client,
    /// The provider's answer is too large.
    UpstreamTooLarge = 502 "upstream_too_large" Upstream Never,
    /// The connection broke while the answer was streamed.
    UpstreamDisconnected = 502 "upstream_disconnected" Upstream Client,
    /// The stream ended without its end mark.
    UpstreamIncomplete = 502 "upstream_incomplete" Upstream Client,
    /// The store of configuration cannot be reached.
    StoreUnavailable = 503 "store_unavailable" Server Client,
    /// The secrets manager cannot be reached, or does not let us in.
    SecretsUnavailable = 503 "secrets_unavailable" Server Client,
    /// More requests at once than this process takes.
    GatewayOverloaded = 503 "gateway_overloaded" Server Client,
    /// No provider of the model can serve now.
    NoHealthyProvider = 503 "no_healthy_provider" Server Client,
    /// The provider is overloaded.
    UpstreamOverloaded = 503 "upstream_overloaded" Upstream Client,
    /// The provider was too slow.
    UpstreamTimeout = 504 "upstream_timeout" Upstream Client,
}

/// The values of `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorType {
    InvalidRequest,
    Authentication,
    Permission,
    RateLimit,
    Server,
    Upstream,
}

/// Whether the client may usefully try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    Never,
    Client,
}

impl ErrorCode {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The value of `error.code`.
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The value of `error.type`.
    pub const fn kind(self) -> &'static str {
        match self.row().2 {
            ErrorType::InvalidRequest => "invalid_request_error",
            ErrorType::Authentication => "authentication_error",
            ErrorType::Permission => "permission_error",
            ErrorType::RateLimit => "rate_limit_error",
            ErrorType::Server => "server_error",
            ErrorType::Upstream => "upstream_error",
        }
    }

    /// Whether trying again can help.
    pub const fn retryable(self) -> bool {
        matches!(self.row().3, Retry::Client)
    }
}

/// A refusal or fault on its way to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What went wrong.
    pub code: ErrorCode,
    /// What to change; ours and constant, but for names of our own fields.
    pub message: Cow<'static, str>,
    /// The member or header at fault.
    pub param: Option<Cow<'static, str>>,
    /// Additional headers: `allow`, `retry-after` and the like.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A provider's own error that concerns the caller's request, cleaned.
    pub upstream: Option<Box<UpstreamError>>,
    /// For the log only.
    pub cause: Option<String>,
    /// What it means for retries and health, where the code alone does not tell.
    pub(crate) class: Option<Class>,
    /// How long the provider asks to be left alone, in milliseconds, as it stated it.
    pub(crate) wait_ms: Option<u32>,
    /// The provider may have done, and charge for, what it did not answer.
    pub(crate) maybe_billed: bool,
}

/// A provider's error that is passed on, in OpenAI's shape.
#[derive(Clone, Debug)]
pub struct UpstreamError {
    /// The status to answer with.
    pub status: StatusCode,
    /// `error.message`, cleaned.
    pub message: String,
    /// `error.type`, one word.
    pub kind: String,
    /// `error.param`, cleaned.
    pub param: Option<String>,
    /// `error.code`, one word.
    pub code: Option<String>,
    /// Further members, as JSON.
    pub extra: Vec<(&'static str, Box<serde_json::value::RawValue>)>,
}

impl PartialEq for UpstreamError {
    fn eq(&self, other: &Self) -> bool {
        let words = |error: &Self| (error.status, error.message.clone(), error.kind.clone(), error.code.clone());
        let extra =
            |error: &Self| error.extra.iter().map(|(name, raw)| (*name, raw.get().to_owned())).collect::<Vec<_>>();
        words(self) == words(other) && self.param == other.param && extra(self) == extra(other)
    }
}

/// The result of everything that can end in an answer to the client.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure with a message of ours.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            headers: Vec::new(),
            upstream: None,
            cause: None,
            class: None,
            wait_ms: None,
            maybe_billed: false,
        }
    }

    /// The same, naming the member at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same, with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        self
    }

    /// The same, asking the client to wait.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The same, with words for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The same, meaning something else for retries and health than its code does.
    #[must_use]
    pub(crate) fn classed(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// The same, after the request had left: the provider may have worked on it.
    #[must_use]
    pub(crate) fn after_sending(mut self) -> Self {
        self.maybe_billed = true;
        self
    }

    /// A wrong value of `param`.
    pub fn invalid(param: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message).with_param(param)
    }

    /// The caller is not known.
    pub fn unauthenticated() -> Self {
        Self::new(
            ErrorCode::InvalidApiKey,
            "Missing or invalid API key. Send it in the header 'Authorization: Bearer <key>'.",
        )
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// The store cannot be reached. A record that cannot be understood is a fault of ours: to ask again does not help.
    pub fn store(error: &crate::ports::PortError) -> Self {
        if error.fault == crate::ports::Fault::Corrupt {
            return Self::internal(error.to_string());
        }
        Self::new(ErrorCode::StoreUnavailable, "The configuration store cannot be reached. Try again shortly.")
            .retry_after(1)
            .caused_by(error.to_string())
    }

    /// The secrets manager cannot be reached or refuses us; the client cannot tell which.
    pub fn secrets(cause: impl Into<String>) -> Self {
        Self::new(ErrorCode::SecretsUnavailable, "The provider's credential cannot be read now. Try again shortly.")
            .retry_after(5)
            .caused_by(cause)
    }

    /// A fault of ours.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(ErrorCode::InternalError, "The gateway failed to process the request.").caused_by(cause)
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.upstream.as_ref().map_or_else(|| self.code.status(), |upstream| upstream.status)
    }

    /// The error object, as in a body or a stream's event.
    pub fn body(&self) -> Bytes {
        let value = match &self.upstream {
            Some(u) => {
                let mut error = json!({"message": u.message, "type": u.kind, "param": u.param, "code": u.code});
                for (name, raw) in &u.extra {
                    if let Some(members) = error.as_object_mut() {
                        members.insert((*name).to_owned(), serde_json::from_str(raw.get()).unwrap_or_default());
                    }
                }
                json!({"error": error})
            }
            None => json!({"error": {
                "message": self.message, "type": self.code.kind(), "param": self.param, "code": self.code.as_str()}}),
        };
        Bytes::from(value.to_string())
    }

    /// The whole answer.
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status().is_server_error() || self.status() == StatusCode::TOO_MANY_REQUESTS {
            let advice = if self.code.retryable() { "true" } else { "false" };
            headers.insert(SHOULD_RETRY, HeaderValue::from_static(advice));
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        response
    }
}

/// Tells OpenAI's SDKs whether to try again.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_word_and_a_fitting_type() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code:?}");
            let want: &[&str] = match code.status().as_u16() {
                400 | 404 | 405 | 408 | 409 | 413 | 415 => &["invalid_request_error"],
                401 => &["authentication_error"],
                403 => &["permission_error"],
                429 => &["rate_limit_error"],
                500 => &["server_error"],
                502 | 504 => &["upstream_error"],
                503 => &["server_error", "upstream_error"],
                other => panic!("{code:?} has status {other}"),
            };
            assert!(want.contains(&code.kind()), "{code:?}");
        }
    }

    #[test]
    fn a_body_has_all_four_members() {
        let failure = Failure::invalid("model", "'model' is required.");
        let value: serde_json::Value = serde_json::from_slice(&failure.body()).unwrap();
        assert_eq!(
            value,
            json!({"error": {"message": "'model' is required.", "type": "invalid_request_error",
                "param": "model", "code": "invalid_request"}})
        );
    }
}
