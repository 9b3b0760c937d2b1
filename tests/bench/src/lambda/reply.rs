//! What a function answers, on its way to the client.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response};
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use crate::Outcome;

/// The body of an answer: pieces as the function sends them.
pub(crate) struct Reply(mpsc::Receiver<Bytes>);

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Gives a POST to `/response` to the client that waits for it.
pub(crate) async fn forward(request: Request<Incoming>, client: oneshot::Sender<Response<Reply>>) -> Outcome<()> {
    let mode = request.headers().get("lambda-runtime-function-response-mode");
    let streaming = mode.is_some_and(|mode| mode == "streaming");
    let mut body = request.into_body();
    if !streaming {
        let whole = body.collect().await?.to_bytes();
        let head: Head = serde_json::from_slice(&whole)?;
        let bytes = if head.encoded {
            BASE64.decode(&head.body).map_err(|error| error.to_string())?
        } else {
            head.body.clone().into_bytes()
        };
        let (pieces, reply) = mpsc::channel(1);
        pieces.send(bytes.into()).await?;
        let _ = client.send(head.response(Reply(reply))?);
        return Ok(());
    }
    let mut start = BytesMut::new();
    let prelude = loop {
        let Some(frame) = body.frame().await else { return Err("an answer ended in its prelude".into()) };
        start.extend_from_slice(&frame?.into_data().unwrap_or_default());
        if let Some(length) = memmem::find(&start, &[0; ZEROS]) {
            break start.split_to(length);
        }
    };
    let (pieces, reply) = mpsc::channel(64);
    let _ = client.send(serde_json::from_slice::<Head>(&prelude)?.response(Reply(reply))?);
    let rest = start.split_off(ZEROS).freeze();
    if !rest.is_empty() {
        pieces.send(rest).await?;
    }
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            pieces.send(piece).await?;
        }
    }
    Ok(())
}

pub(crate) fn failed(why: &str) -> Response<Reply> {
    let (pieces, reply) = mpsc::channel(1);
    let _ = pieces.try_send(Bytes::from(why.to_owned()));
    let mut response = Response::new(Reply(reply));
    *response.status_mut() = hyper::StatusCode::BAD_GATEWAY;
    response
}

/// Status and headers, and of a buffered answer the body.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "statusCode")]
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: String,
    #[serde(default, rename = "isBase64Encoded")]
    encoded: bool,
}

impl Head {
    fn response(&self, body: Reply) -> Outcome<Response<Reply>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
                response = response.header(name, value.as_str().unwrap_or_default());
            }
        }
        Ok(response.body(body)?)
    }
}

/// Zero bytes between the prelude and the body.
const ZEROS: usize = 8;
