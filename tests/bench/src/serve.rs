//! A hyper server on loopback, for every part that listens.

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Outcome;

/// Listens on `port` of 127.0.0.1; 0 takes a free one.
pub(crate) async fn listen(port: u16) -> Outcome<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}"))?)
}

/// A port that was free a moment ago.
pub(crate) async fn free_port() -> Outcome<u16> {
    Ok(listen(0).await?.local_addr()?.port())
}

/// Answers every request with `answer`, for ever.
pub(crate) async fn serve<F, A, B, E>(listener: TcpListener, answer: F) -> Outcome<()>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            // A client that leaves is no error of the server's.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}
