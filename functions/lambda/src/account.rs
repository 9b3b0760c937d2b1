//! The AWS account that the function runs in: region, role, and the SDK's clients over our own HTTPS client.
//!
//! The SDK brings no transport of its own here: one TLS stack and one connection pool serve providers and AWS alike
//! (under keys of their own, see the pool). It does not retry either; that is done where the meaning of a repeated call
//! is known.

use std::sync::OnceLock;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpClient as SdkHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use gateway_core::ports::{HttpClient, HttpError, Outgoing, UpstreamBody};
use gateway_native::Upstream;

/// Names the account and makes clients for it when they are first needed.
#[derive(Debug)]
pub struct Account {
    http: Upstream,
    region: Option<String>,
    credentials: Option<Credentials>,
    endpoint: Option<String>,
    dynamo: OnceLock<aws_sdk_dynamodb::Client>,
    secrets: OnceLock<aws_sdk_secretsmanager::Client>,
}

impl Account {
    /// Reads what Lambda puts into the environment: region and the role's credentials. Does nothing else.
    /// `AWS_ENDPOINT_URL` leads to a stand-in for tests.
    pub fn new(http: Upstream, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let credentials = text("AWS_ACCESS_KEY_ID").zip(text("AWS_SECRET_ACCESS_KEY"));
        Self {
            http,
            region: text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")),
            credentials: credentials.map(|(id, key)| Credentials::from_keys(id, key, text("AWS_SESSION_TOKEN"))),
            endpoint: text("AWS_ENDPOINT_URL"),
            dynamo: OnceLock::new(),
            secrets: OnceLock::new(),
        }
    }

    /// The client for DynamoDB.
    pub fn dynamo(&self) -> &aws_sdk_dynamodb::Client {
        self.dynamo.get_or_init(|| {
            use aws_sdk_dynamodb::config::retry::RetryConfig;
            use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
            use aws_sdk_dynamodb::config::{
                BehaviorVersion, Builder, IdentityCache, Region, SharedCredentialsProvider,
                StalledStreamProtectionConfig,
            };
            let mut config = Builder::new()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .http_client(Transport(self.http.clone()))
                .identity_cache(IdentityCache::no_cache())
                .region(self.region.clone().map(Region::new))
                .retry_config(RetryConfig::disabled())
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .timeout_config(TimeoutConfig::disabled());
            config.set_credentials_provider(self.credentials.clone().map(SharedCredentialsProvider::new));
            config.set_endpoint_url(self.endpoint.clone());
            aws_sdk_dynamodb::Client::from_conf(config.build())
        })
    }

    /// The client for Secrets Manager.
    pub fn secrets(&self) -> &aws_sdk_secretsmanager::Client {
        self.secrets.get_or_init(|| {
            use aws_sdk_secretsmanager::config::retry::RetryConfig;
            use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
            use aws_sdk_secretsmanager::config::{
                BehaviorVersion, Builder, IdentityCache, Region, SharedCredentialsProvider,
                StalledStreamProtectionConfig,
            };
            let mut config = Builder::new()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .http_client(Transport(self.http.clone()))
                .identity_cache(IdentityCache::no_cache())
                .region(self.region.clone().map(Region::new))
                .retry_config(RetryConfig::disabled())
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .timeout_config(TimeoutConfig::disabled());
            config.set_credentials_provider(self.credentials.clone().map(SharedCredentialsProvider::new));
            config.set_endpoint_url(self.endpoint.clone());
            aws_sdk_secretsmanager::Client::from_conf(config.build())
        })
    }
}

/// Our client as the SDK's transport.
#[derive(Clone, Debug)]
struct Transport(Upstream);

impl SdkHttpClient for Transport {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move {
            let exchange = tokio::time::timeout(CALL_TIMEOUT, exchange(&http, request));
            exchange.await.unwrap_or_else(|_| Err(ConnectorError::timeout("no answer in time".into())))
        })
    }
}

async fn exchange(http: &Upstream, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let body = request.body().bytes().map(Bytes::copy_from_slice);
    let body = body.ok_or_else(|| ConnectorError::user("a body that is not in memory".into()))?;
    // The URL is ours, made from the region; inside a VPC it may well resolve to a private address.
    let request = request.map(|_| body);
    let outgoing = Outgoing { request, private_allowed: true, connect_timeout_ms: CONNECT_TIMEOUT_MS };
    let response = http.send(outgoing).await.map_err(failed)?;
    let (head, mut stream) = response.into_parts();
    let mut whole = BytesMut::new();
    while let Some(piece) = stream.chunk().await.map_err(failed)? {
        if whole.len() + piece.len() > ANSWER_BYTES {
            return Err(ConnectorError::other("the answer is too large".into(), None));
        }
        whole.extend_from_slice(&piece);
    }
    let response = http::Response::from_parts(head, SdkBody::from(whole.freeze()));
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}

fn failed(error: HttpError) -> ConnectorError {
    match error {
        HttpError::ConnectTimeout => ConnectorError::timeout(error.into()).never_connected(),
        HttpError::Connect | HttpError::Forbidden => ConnectorError::io(error.into()).never_connected(),
        HttpError::Disconnected | HttpError::Protocol => ConnectorError::io(error.into()),
    }
}

/// One call in all. AWS answers within milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT_MS: u64 = 2_000;
/// DynamoDB's pages end at 1 MB, a batch at 16 MB, a secret at 64 KiB.
const ANSWER_BYTES: usize = 32 << 20;
