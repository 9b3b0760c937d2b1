//! What the gateway needs from the world; implemented once per runtime in `functions/`.
//!
//! Ports carry bytes and never decide: every record is encoded and judged in core. The traits use plain
//! `async fn` and ask for no `Send`; whether a future is `Send` is proven where a [`Platform`] is concrete.

mod buckets;
mod ledger;

use bytes::Bytes;

pub use self::buckets::Buckets;
pub use self::ledger::{Book, Entry, Kind, Ledger, Place};
use crate::deferred::Deferred;
use crate::model::{KeyHash, TenantId};
use crate::secret::Secret;

/// Everything outside of core, bundled. Cheap to clone (an `Arc` or `Rc` inside): a live body keeps one.
pub trait Platform: Clone + Unpin + 'static {
    /// Where heads, keys, sealed secrets and tenant names live.
    type Store: Store;
    /// The cloud's own secrets manager; [`NoManager`] where there is none.
    type Manager: SecretManager;
    /// Where usage is written down.
    type Ledger: Ledger;
    /// Where the buckets of rate limits are.
    type Buckets: Buckets;
    /// The outgoing HTTP client.
    type Http: HttpClient;
    /// A future that is ready after the time asked for.
    type Timer: Future<Output = ()> + Unpin + 'static;

    /// The configuration store.
    fn store(&self) -> &Self::Store;
    /// The secrets manager of the deployment's own cloud account.
    fn manager(&self) -> &Self::Manager;
    /// The buckets of rate limits.
    fn buckets(&self) -> &Self::Buckets;
    /// The usage ledger.
    fn ledger(&self) -> &Self::Ledger;
    /// The outgoing HTTP client. Only `egress.rs` may call it.
    fn http(&self) -> &Self::Http;
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
    /// Ready after `ms` milliseconds. The timer starts now, not at the first poll.
    fn timer(&self, ms: u64) -> Self::Timer;
    /// Fills `bytes` from the system's cryptographic random source.
    fn fill_random(&self, bytes: &mut [u8]);
    /// Takes one finished line (JSON, without a line break). The adapter filters by level and writes it.
    fn log(&self, level: Level, line: &str);
    /// Whether this process has one request at a time, beside others that it knows nothing of (Lambda).
    fn alone(&self) -> bool {
        false
    }
    /// Takes work that no client waits for, to be given to [`crate::Gateway::carry_out`] soon. Returns at once.
    fn defer(&self, work: Deferred);
    /// When the runtime will end this request, in milliseconds since the epoch (Lambda), if it will.
    fn deadline_ms(&self) -> Option<u64> {
        None
    }
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something an operator must look at.
    Error,
    /// Something unusual that was dealt with.
    Warn,
    /// One line per request.
    Info,
    /// For development.
    Debug,
}

impl Level {
    /// The most that is written at a value of `RUST_LOG`: `off` (nothing), `error`, `warn`, `info` (the default, also for
    /// anything else) or `debug`.
    pub fn most(setting: Option<&str>) -> Option<Self> {
        match setting.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "off" => None,
            "error" => Some(Self::Error),
            "warn" => Some(Self::Warn),
            "debug" | "trace" => Some(Self::Debug),
            _ => Some(Self::Info),
        }
    }
}

/// What a dependency of ours did wrong. Never carries text of the dependency: it could hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {fault:?} ({code})")]
pub struct PortError {
    /// The port's operation, for instance `store.load`.
    pub operation: &'static str,
    /// What kind of failure.
    pub fault: Fault,
    /// A short machine code for the log (an SDK's error code, `timeout`), never free text.
    pub code: String,
}

impl PortError {
    /// A failure of `operation`.
    pub fn new(operation: &'static str, fault: Fault, code: impl Into<String>) -> Self {
        Self { operation, fault, code: code.into() }
    }

    /// Whether the same call may work a moment later.
    pub fn retryable(&self) -> bool {
        match self.fault {
            Fault::Unavailable | Fault::Throttled => true,
            Fault::Overloaded | Fault::Denied | Fault::Missing | Fault::Corrupt => false,
        }
    }
}

/// Kinds of failure of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer, a network error, a time-out, the service's 5xx.
    Unavailable,
    /// The service asks for fewer calls.
    Throttled,
    /// A Durable Object is overloaded: must not be tried again.
    Overloaded,
    /// Our own identity may not do this.
    Denied,
    /// The named thing does not exist (secrets manager only; stores answer with `None`).
    Missing,
    /// The answer could not be understood.
    Corrupt,
}

/// The linearizable store of configuration. Records are opaque bytes; versions are compared, never interpreted.
///
/// Every adapter passes the contract suite in `tests/ports`.
pub trait Store {
    /// The tenant's head and, if asked for, one key record, in one round trip.
    ///
    /// `known` is the head version the caller holds: the same version is answered by [`HeadState::Unchanged`].
    async fn load(&self, tenant: TenantId, key: Option<KeyHash>, known: Option<u64>) -> Result<Loaded, PortError>;

    /// Replaces the head if its version is still `expected` (`None`: if there is none). `None` as `head` deletes it.
    /// Linearizable: of two swaps with the same expectation one wins. A write whose outcome is unknown is re-read
    /// by the adapter and reported as what is true.
    async fn swap(&self, tenant: TenantId, expected: Option<u64>, head: Option<HeadRecord>) -> Result<Swap, PortError>;

    /// Writes a key record, new or replaced.
    async fn put_key(&self, tenant: TenantId, key: KeyHash, record: Bytes) -> Result<(), PortError>;
    /// Removes a key record; whether there was one.
    async fn delete_key(&self, tenant: TenantId, key: KeyHash) -> Result<bool, PortError>;
    /// All key records of a tenant, every page followed, each at most once.
    async fn keys(&self, tenant: TenantId) -> Result<Vec<(KeyHash, Bytes)>, PortError>;

    /// Writes a secret record (a sealed credential or the marker of one kept elsewhere). `id` is ASCII without
    /// separators, at most 128 bytes.
    async fn put_secret(&self, tenant: TenantId, id: &str, record: Bytes) -> Result<(), PortError>;
    /// One secret record.
    async fn secret(&self, tenant: TenantId, id: &str) -> Result<Option<Bytes>, PortError>;
    /// Removes a secret record; nothing happens if there is none.
    async fn delete_secret(&self, tenant: TenantId, id: &str) -> Result<(), PortError>;
    /// All secret records of a tenant.
    async fn secrets(&self, tenant: TenantId) -> Result<Vec<(String, Bytes)>, PortError>;

    /// The entry of a tenant name (in its canonical, lower-case form) in the registry.
    async fn name(&self, name: &str) -> Result<Option<Bytes>, PortError>;
    /// Replaces a registry entry if it still is `expected`, byte for byte (`None`: absent). `None` as `entry`
    /// deletes it. Whether it was done. Linearizable.
    async fn swap_name(&self, name: &str, expected: Option<Bytes>, entry: Option<Bytes>) -> Result<bool, PortError>;
    /// All registry entries, every page followed.
    async fn names(&self) -> Result<Vec<(String, Bytes)>, PortError>;

    /// Whether isolates tell each other of targets through this store. The other two are called only then.
    fn shares(&self) -> bool {
        false
    }
    /// What they told of a tenant's targets. May be a few seconds old, or lost.
    async fn digest(&self, tenant: TenantId) -> Result<Option<Bytes>, PortError> {
        let _ = tenant;
        Ok(None)
    }
    /// Replaces it if it still is `expected`, byte for byte (`None`: absent); it may be dropped from `ends` on, in seconds
    /// since the epoch. Whether it was done. Whoever reads nothing or something else afterwards loses a hint, no more.
    async fn swap_digest(
        &self,
        tenant: TenantId,
        expected: Option<Bytes>,
        record: Bytes,
        ends: u64,
    ) -> Result<bool, PortError> {
        let _ = (tenant, expected, record, ends);
        Ok(false)
    }

    /// A cheap call that shows that the store answers, for `/readyz`.
    async fn ping(&self) -> Result<(), PortError>;
}

/// Answer of [`Store::load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The head.
    pub head: HeadState,
    /// The key record asked for, `None` if there is none (or none was asked for).
    pub key: Option<Bytes>,
    /// True when the answer comes from a published copy because the authority could not be reached.
    pub stale: bool,
}

/// A tenant's head as a store answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadState {
    /// There is no such tenant.
    Absent,
    /// It still has the version the caller holds.
    Unchanged,
    /// Here it is.
    Current(HeadRecord),
}

/// A head as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRecord {
    /// Grows by one with every change; starts at 1.
    pub version: u64,
    /// The encoded document, at most [`crate::limits::HEAD_BYTES`].
    pub bytes: Bytes,
}

/// Outcome of [`Store::swap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The head is now what was given.
    Done,
    /// The version was another one; nothing was changed.
    Lost,
}

/// A cloud secrets manager. Names are `<prefix>/<tenant id>/<provider uuid>`, made by core.
pub trait SecretManager {
    /// Writes `value` as the current version, creating the secret if needed. `version` is a UUID that makes a
    /// repeated call harmless (AWS: `ClientRequestToken`).
    async fn put(&self, name: &str, version: &str, value: &Secret) -> Result<(), PortError>;
    /// The current version. [`Fault::Missing`] when it does not exist or is scheduled for deletion.
    async fn read(&self, name: &str) -> Result<SecretVersion, PortError>;
    /// Deletes the secret (with the manager's recovery window). Success if there is none.
    async fn delete(&self, name: &str) -> Result<(), PortError>;
}

/// A secret as read.
#[derive(Debug)]
pub struct SecretVersion {
    /// The manager's id of this version.
    pub version: String,
    /// The value.
    pub value: Secret,
}

/// For runtimes without a secrets manager: never configured, so never called.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoManager;

impl SecretManager for NoManager {
    async fn put(&self, _: &str, _: &str, _: &Secret) -> Result<(), PortError> {
        Err(PortError::new("manager.put", Fault::Denied, "no_manager"))
    }
    async fn read(&self, _: &str) -> Result<SecretVersion, PortError> {
        Err(PortError::new("manager.read", Fault::Denied, "no_manager"))
    }
    async fn delete(&self, _: &str) -> Result<(), PortError> {
        Err(PortError::new("manager.delete", Fault::Denied, "no_manager"))
    }
}

/// The outgoing HTTP client. Must not follow redirects, keep cookies, decompress, or retry.
pub trait HttpClient {
    /// The body of an answer.
    type Body: UpstreamBody;
    /// Sends and waits for the answer's head. Dropping the future cancels the call.
    async fn send(&self, outgoing: Outgoing) -> Result<http::Response<Self::Body>, HttpError>;
}

/// One request that egress let out.
#[derive(Debug)]
pub struct Outgoing {
    /// Absolute URL, headers and body, final.
    pub request: http::Request<Bytes>,
    /// True only for an origin the operator listed in `EGRESS_ALLOW_ORIGINS`: plain http and addresses that are
    /// not globally reachable are then fine. Else the client must drop such addresses after resolving the name.
    pub private_allowed: bool,
    /// Longest time for resolving, connecting and the TLS handshake, in milliseconds.
    pub connect_timeout_ms: u64,
}

/// The body of an upstream's answer. Dropping it before its end cancels the upstream exchange.
pub trait UpstreamBody: Unpin + 'static {
    /// The next bytes (never empty), or `None` at the body's proper end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError>;
}

/// Why an upstream call failed below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Name resolution, refused or unreachable connection, TLS: the request was not sent.
    #[error("connect")]
    Connect,
    /// Connecting took too long: the request was not sent.
    #[error("connect timeout")]
    ConnectTimeout,
    /// The resolved addresses are all forbidden.
    #[error("forbidden address")]
    Forbidden,
    /// The connection broke after the request may have been written.
    #[error("disconnected")]
    Disconnected,
    /// The answer is not HTTP or breaks its framing.
    #[error("protocol")]
    Protocol,
}

/// The body of a client's request, read only once the caller is known.
pub trait RequestBody {
    /// All of it, at most `limit` bytes.
    async fn read(self, limit: usize) -> Result<Bytes, ReadError>;
}

impl RequestBody for Bytes {
    async fn read(self, limit: usize) -> Result<Self, ReadError> {
        if self.len() > limit { Err(ReadError::TooLarge) } else { Ok(self) }
    }
}

/// Why a request's body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// More than the limit.
    TooLarge,
    /// The client stopped sending or was too slow.
    Incomplete,
}
