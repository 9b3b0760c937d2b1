//! OpenAI, and servers that speak its API: one bearer, paths below a base that ends in `/v1`.
//! <https://platform.openai.com/docs/api-reference/authentication>

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use crate::secret::Credential;

/// The headers that authenticate a call; `None` if the credential lacks its key or the key fits no header.
pub(crate) fn headers(credential: &Credential) -> Option<HeaderMap> {
    let key = credential.get("apikey")?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.open())).ok()?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    Some(headers)
}
