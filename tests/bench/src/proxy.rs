//! The floor of a native gateway: a hyper proxy that changes the address and looks at nothing.

use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::arguments::Arguments;
use crate::{Outcome, serve};

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let arguments = Arguments::read(given, &["port", "to"])?;
    let to: Authority = arguments.needed("to")?.parse()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let pass = move |mut request: Request<Incoming>| {
        let client = client.clone();
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(to.clone());
        let uri = Uri::from_parts(parts);
        async move {
            *request.uri_mut() = uri?;
            request.headers_mut().remove(HOST);
            Outcome::Ok(client.request(request).await?)
        }
    };
    serve::serve(serve::listen(arguments.parsed("port", 0)?).await?, pass).await
}
