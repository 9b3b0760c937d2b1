//! Images that a request names by address and its provider wants as bytes: fetched through egress before encoding.

use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, StatusCode};

use crate::chat::{Content, ImageKind, Inlined, PartKind, Request};
use crate::egress::url::{AllowedOrigins, judge_download};
use crate::egress::{self, Departure};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::limits;
use crate::ports::Platform;

/// Fetches every image of the request that has an address.
///
/// # Errors
/// `invalid_image_url`, naming the part, for the first that may not or cannot be fetched.
pub(crate) async fn images<P: Platform>(
    platform: &P,
    request: &Request<'_>,
    allowed: &AllowedOrigins,
    deadline_ms: u64,
) -> Outcome<Inlined> {
    let mut wanted: Vec<(&str, String)> = Vec::new();
    for message in &request.messages {
        let Content::Parts(parts) = &message.content else { continue };
        for part in parts {
            let PartKind::Image { url, .. } = &part.kind else { continue };
            let is_data = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
            if !is_data && !wanted.iter().any(|(known, _)| *known == url.as_ref()) {
                wanted.push((url, format!("messages[{}].content[{}].image_url.url", message.at, part.at)));
            }
        }
    }
    let mut inlined = Inlined::default();
    if let Some((_, param)) = wanted.get(limits::FETCHED_IMAGES) {
        return Err(Failure::new(ErrorCode::InvalidImageUrl, "At most 20 images are fetched for one request.")
            .with_param(param.clone()));
    }
    let fetches = wanted.iter().map(|(url, param)| async move {
        let image = fetch(platform, url, param, allowed, deadline_ms).await?;
        Ok::<_, Failure>((*url, image))
    });
    // Collected, so that the compiler sees that the whole may move between threads.
    let fetches: Vec<_> = fetches.collect();
    let mut fetches = stream::iter(fetches).buffered(limits::CALLS_AT_ONCE);
    while let Some(fetched) = fetches.next().await {
        let (url, (kind, bytes)) = fetched?;
        inlined.put(url, kind, &bytes);
    }
    Ok(inlined)
}

async fn fetch<P: Platform>(
    platform: &P,
    url: &str,
    param: &str,
    allowed: &AllowedOrigins,
    deadline_ms: u64,
) -> Outcome<(ImageKind, bytes::Bytes)> {
    let failed = |message: &'static str| Failure::new(ErrorCode::InvalidImageUrl, message).with_param(param.to_owned());
    let refused = |cause: String| failed("Image URL is not allowed.").caused_by(cause);
    let download = judge_download(url, allowed).map_err(|refusal| refused(refusal.to_string()))?;
    let deadline = platform.now_ms().saturating_add(limits::FETCH_IMAGE_MS).min(deadline_ms);
    let departure = Departure {
        method: Method::GET,
        uri: &download.uri,
        private_allowed: download.private_allowed,
        headers: HeaderMap::new(),
        body: None,
    };
    let unreachable = |failure: Failure| {
        failed("The image could not be fetched.")
            .caused_by(failure.cause.unwrap_or_else(|| failure.code.as_str().into()))
    };
    let response = egress::send(platform, departure, deadline).await.map_err(unreachable)?;
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(
            failed("The image could not be fetched.").caused_by(format!("image status {}", head.status.as_u16()))
        );
    }
    let bytes = egress::read_all(platform, &mut body, limits::FETCHED_IMAGE_BYTES, deadline).await;
    let bytes = bytes.map_err(|failure| match failure.code {
        ErrorCode::UpstreamTooLarge => failed("The image is too large; at most 3932160 bytes are fetched."),
        _ => unreachable(failure),
    })?;
    // What a server says its bytes are is not asked: the bytes say it.
    let kind = ImageKind::sniff(&bytes).ok_or_else(|| failed("The image must be PNG, JPEG, GIF or WebP."))?;
    Ok((kind, bytes))
}
