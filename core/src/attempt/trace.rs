//! What is known of an attempt, and what of it clients are told.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::secret::Secret;

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
    pub(super) fn merge(&mut self, other: Self) {
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
