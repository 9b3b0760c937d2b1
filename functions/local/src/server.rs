//! The listener: one task per connection, as many as the process has descriptors for, and a shutdown that lets
//! answers finish.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::Gateway;
use gateway_native::BodyError;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::connection::{Activity, Watched};
use crate::platform::Local;
use crate::request::LeftBody;

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) platform: Local,
    /// Room for requests: who finds none is turned away.
    pub(crate) room: Arc<Semaphore>,
}

impl Server {
    /// Serves until `shutdown`; then accepts nothing more and gives open requests [`DRAIN`] to finish.
    pub(crate) async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let room = Arc::new(Semaphore::new(connection_limit()));
        let (closing, closed) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            let accepting = async {
                let place = room.clone().acquire_owned().await.ok()?;
                Some((listener.accept().await, place))
            };
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = accepting => match accepted {
                    Some((Ok((stream, _)), place)) => {
                        let connection = self.clone().connection(stream, closed.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                    // Out of descriptors or a client that is gone already: the next one may work.
                    Some((Err(_), _)) => tokio::time::sleep(Duration::from_millis(20)).await,
                    None => break,
                },
            }
        }
        drop(listener);
        closing.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN, drained).await;
        // What still runs then is dropped, and settled by that.
        connections.shutdown().await;
    }

    async fn connection(self, stream: TcpStream, mut closed: watch::Receiver<bool>) {
        // Without this an event would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let activity = Activity::new();
        let service = service_fn(|request| self.answer(request, &activity));
        let stream = TokioIo::new(Watched::new(stream, activity.clone()));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).header_read_timeout(None).half_close(false);
        let mut serving = pin!(builder.serve_connection(stream, service));
        let mut overdue = pin!(activity.overdue());
        let closing = async { drop(closed.wait_for(|closing| *closing).await) };
        tokio::select! {
            _ = serving.as_mut() => return,
            () = overdue.as_mut() => return,
            () = closing => serving.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            _ = serving => {}
            () = overdue => {}
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> impl Future<
        Output = Result<Response<impl http_body::Body<Data = bytes::Bytes, Error = BodyError> + use<>>, Infallible>,
    > + use<> {
        let held = activity.request();
        let (gateway, platform) = (self.gateway.clone(), self.platform.clone());
        let room = self.room.clone().try_acquire_owned().ok();
        async move {
            let (head, body) = request.into_parts();
            let (body, left) = LeftBody::new(body);
            let mut answer = if room.is_some() {
                gateway_native::handle(&gateway, platform, Request::from_parts(head, body)).await
            } else {
                gateway.turn_away(platform, &head)
            };
            if !left.clear() {
                // What follows on this connection is the rest of a body that nobody wants.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // The request lasts until hyper is done with the body.
            Ok(answer.map(|body| {
                gateway_native::http_body(body).map_err(move |cut| {
                    let _until_the_end = (&held, &room);
                    cut
                })
            }))
        }
    }
}

/// Half of the descriptors: a request may need one towards its provider.
fn connection_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = row.and_then(|row| row.split_whitespace().next()).and_then(|number| number.parse::<usize>().ok());
    soft.map_or(MIN_CONNECTIONS, |soft| {
        (soft.saturating_sub(SPARE_DESCRIPTORS) / 2).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
    })
}

/// How many requests are answered at once, from the text of the setting.
pub(crate) fn room(setting: Option<&str>) -> Option<Arc<Semaphore>> {
    let Some(text) = setting.map(str::trim).filter(|text| !text.is_empty()) else {
        return Some(Arc::new(Semaphore::new(MAX_CONCURRENT)));
    };
    let number = text.parse().ok().filter(|number| (1..=MOST_CONCURRENT).contains(number))?;
    Some(Arc::new(Semaphore::new(number)))
}

/// Requests at once, unless the operator says otherwise: far more than two cores stream, and little enough memory.
const MAX_CONCURRENT: usize = 4_000;
const MOST_CONCURRENT: usize = 1_000_000;
const MIN_CONNECTIONS: usize = 128;
const MAX_CONNECTIONS: usize = 20_000;
const SPARE_DESCRIPTORS: usize = 64;
/// The request line and all headers; also what is read ahead of a body.
const MAX_HEAD: usize = 64 << 10;
/// For open requests at shutdown.
const DRAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_a_number_within_bounds() {
        let places = |setting| room(setting).map(|room| room.available_permits());
        for (setting, want) in [
            (None, Some(MAX_CONCURRENT)),
            (Some(" "), Some(MAX_CONCURRENT)),
            (Some("1"), Some(1)),
            (Some("1000000"), Some(MOST_CONCURRENT)),
            (Some("0"), None),
            (Some("1000001"), None),
            (Some("many"), None),
        ] {
            assert_eq!(places(setting), want, "{setting:?}");
        }
    }
}
