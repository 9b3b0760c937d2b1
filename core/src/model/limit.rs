//! Rate limits of a tenant, as records in its head. How they are enforced: `account/limit`.

use serde_json::{Map, Value};

use super::duration;
use super::record::{Members, record};
use crate::limits;

/// What a rate limit is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// All calls of the tenant.
    Tenant,
    /// Calls to models of the provider of this UUID.
    Provider(String),
    /// Calls to the enabled model of this UUID.
    Model(String),
    /// Calls with the key of this id.
    Key(String),
}

/// How much may be taken, and how it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The most that it holds; it is full at first.
    pub capacity: u64,
    /// What every whole interval adds.
    pub amount: u64,
    /// The interval, as the tenant wrote it.
    pub duration: String,
    /// The same in milliseconds.
    pub every_ms: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

/// A limit on requests, tokens or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Its id, a UUID.
    pub uuid: String,
    /// What it is for; a second limit for the same is refused.
    pub scope: LimitScope,
    /// Counts calls.
    pub request: Option<Bucket>,
    /// Counts tokens.
    pub token: Option<Bucket>,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// When it was last replaced, in seconds since the epoch.
    pub updated: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl LimitScope {
    /// `type` in the API.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Provider(_) => "provider",
            Self::Model(_) => "model",
            Self::Key(_) => "key",
        }
    }

    /// The id of what it is for, if it is for one of several.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Tenant => None,
            Self::Provider(id) | Self::Model(id) | Self::Key(id) => Some(id),
        }
    }

    /// The member that holds the id.
    pub const fn member(&self) -> &'static str {
        match self {
            Self::Tenant => "",
            Self::Provider(_) => "provider_uuid",
            Self::Model(_) => "model_uuid",
            Self::Key(_) => "key_id",
        }
    }

    fn read(members: &mut Members) -> Option<Self> {
        Some(match members.text("type")?.as_str() {
            "tenant" => Self::Tenant,
            "provider" => Self::Provider(members.text("provider_uuid")?),
            "model" => Self::Model(members.text("model_uuid")?),
            "key" => Self::Key(members.text("key_id")?),
            // No call may go round a limit because this version does not know what it is for.
            _ => return None,
        })
    }
}

impl Bucket {
    /// A bucket by its rules; `None` if the duration is none, or a number is too large.
    pub fn new(capacity: u64, amount: u64, duration: String) -> Option<Self> {
        let every_ms = duration::parse(&duration)?;
        let fits = capacity <= limits::BUCKET && amount <= limits::BUCKET && every_ms <= limits::INTERVAL_MS;
        fits.then(|| Self { capacity, amount, duration, every_ms, rest: Map::new() })
    }

    fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        let bucket = Self::new(members.number("capacity")?, members.number("amount")?, members.text("duration")?)?;
        Some(Self { rest: members.rest(), ..bucket })
    }

    fn to_value(&self) -> Value {
        let known = [
            ("capacity", self.capacity.into()),
            ("amount", self.amount.into()),
            ("duration", self.duration.as_str().into()),
        ];
        record(known, &self.rest)
    }
}

impl RateLimit {
    pub(super) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        let mut bucket = |name: &str| members.take(name).map_or(Some(None), |value| Bucket::read(value).map(Some));
        let (request, token) = (bucket("request")?, bucket("token")?);
        Some(Self {
            uuid: members.text("uuid")?,
            scope: LimitScope::read(&mut members)?,
            request,
            token,
            created: members.number("created_at")?,
            updated: members.number("updated_at")?,
            rest: members.rest(),
        })
    }

    /// The record, which is also the answer: what is not set is left out.
    pub(crate) fn to_value(&self) -> Value {
        let bucket = |bucket: &Option<Bucket>| bucket.as_ref().map_or(Value::Null, Bucket::to_value);
        let known = [
            ("uuid", self.uuid.as_str().into()),
            ("type", self.scope.type_name().into()),
            (self.scope.member(), self.scope.id().into()),
            ("request", bucket(&self.request)),
            ("token", bucket(&self.token)),
            ("created_at", self.created.into()),
            ("updated_at", self.updated.into()),
        ];
        record(known, &self.rest)
    }

    /// Whether it lets anything through for longer than its first bucketful.
    pub fn refills(&self) -> bool {
        [&self.request, &self.token].into_iter().flatten().any(|bucket| bucket.amount > 0)
    }
}
