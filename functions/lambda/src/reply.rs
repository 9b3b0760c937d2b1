//! What the function hands back, as bodies for the Runtime API.
//!
//! Every answer to a client is streamed: a JSON prelude with status and headers, eight zero bytes, then the body. A whole
//! answer leaves as one piece.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, future, stream};
use gateway_core::ports::Platform;
use gateway_core::{Body, Live};
use gateway_native::BodyError;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{Either, Full, StreamBody};
use lambda_runtime::MetadataPrelude;

/// The body of one request to the Runtime API.
pub(crate) enum Reply<P: Platform> {
    /// All of it.
    Whole(Bytes),
    /// A beginning, and the rest as it comes.
    Streamed(Bytes, Box<Live<P>>),
}

impl<P: Platform> Reply<P> {
    /// No body.
    pub(crate) fn nothing() -> Self {
        Self::Whole(Bytes::new())
    }

    /// A client's answer with its prelude.
    pub(crate) fn to_client(answer: Response<Body<P>>) -> Self {
        let (head, body) = answer.into_parts();
        let prelude = MetadataPrelude { status_code: head.status, headers: joined(&head.headers), cookies: Vec::new() };
        let mut bytes = serde_json::to_vec(&prelude).unwrap_or_default();
        bytes.extend_from_slice(&[0; 8]);
        match body {
            Body::Full(whole) => {
                bytes.extend_from_slice(&whole);
                Self::Whole(bytes.into())
            }
            Body::Live(live) => Self::Streamed(bytes.into(), live),
        }
    }

    /// As hyper takes it. All bytes leave at once; the body's end waits for `before_end`.
    pub(crate) fn into_body(
        self,
        before_end: Option<BoxFuture<'static, ()>>,
    ) -> impl http_body::Body<Data = Bytes, Error = BodyError> {
        let (beginning, live) = match self {
            Self::Whole(bytes) if before_end.is_none() => return Either::Left(Full::new(bytes)),
            Self::Whole(bytes) => (bytes, None),
            Self::Streamed(beginning, live) => (beginning, Some(live)),
        };
        let pieces = stream::iter(live).flat_map(gateway_native::pieces);
        let last = stream::iter(before_end).then(|work| work).filter_map(|()| future::ready(None));
        let all = stream::once(future::ready(beginning)).chain(pieces).chain(last);
        Either::Right(StreamBody::new(all.map(|piece| Ok::<_, Infallible>(Frame::data(piece)))))
    }
}

/// One value per name, as the prelude wants it. The front end frames the body by itself.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::with_capacity(headers.keys_len());
    for name in headers.keys().filter(|name| !FRAMING.contains(&name.as_str())) {
        let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        if let Ok(value) = HeaderValue::try_from(values.join(", ")) {
            joined.insert(name, value);
        }
    }
    joined
}

const FRAMING: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_LENGTH, VARY};

    use super::*;

    #[tokio::test]
    async fn a_body_leaves_before_the_work_that_its_end_waits_for() {
        use http_body_util::BodyExt;
        use std::sync::atomic::{AtomicBool, Ordering};
        static DONE: AtomicBool = AtomicBool::new(false);
        let reply = Reply::<gateway_core::testing::World>::Whole("{}".into());
        let work = async {
            tokio::task::yield_now().await;
            DONE.store(true, Ordering::SeqCst);
        };
        let mut body = Box::pin(reply.into_body(Some(Box::pin(work))));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{}");
        assert!(!DONE.load(Ordering::SeqCst));
        assert!(body.frame().await.is_none());
        assert!(DONE.load(Ordering::SeqCst));
    }

    #[test]
    fn repeated_headers_are_joined_and_framing_is_left_out() {
        let mut headers = HeaderMap::new();
        headers.append(VARY, "Origin".parse().unwrap());
        headers.append(VARY, "User-Agent".parse().unwrap());
        headers.append(CONTENT_LENGTH, "5".parse().unwrap());
        headers.append("x-request-id", "a\"b".parse().unwrap());
        let joined = joined(&headers);
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[VARY], "Origin, User-Agent");
        assert_eq!(joined["x-request-id"], "a\"b");
    }
}
