//! The [`Store`] port: one Durable Object per tenant, one for what isolates tell each other of its targets, one for the
//! names, and the published copy in KV for when a
//! tenant's object cannot be reached.

mod buckets;
mod ledger;

use std::rc::Rc;

use bytes::Bytes;
use gateway_core::model::{KeyHash, TenantId};
use gateway_core::ports::{Book, Fault, HeadRecord, HeadState, Loaded, PortError, Store, Swap};

use crate::call::{Call, Outcome};
use crate::copy::Copy;
use crate::host;
use crate::wire::{Fields, Message, Verb};

/// The configuration store as one request sees it.
#[derive(Clone)]
pub(crate) struct Objects {
    call: Rc<Call>,
}

/// Whose object is asked.
#[derive(Clone, Copy)]
enum Object {
    Tenant(TenantId),
    Registry,
    Usage(Book),
    Limits(TenantId),
    Digest(TenantId),
}

impl Objects {
    pub(crate) fn new(call: &Rc<Call>) -> Self {
        Self { call: Rc::clone(call) }
    }

    /// Asks an object; once more, of a new stub, if it was reset and nothing can have come of it.
    async fn ask(&self, operation: &'static str, object: Object, message: Bytes) -> Result<Fields, PortError> {
        match self.once(object, &message).await {
            Err(Outcome::Retryable) => self.once(object, &message).await,
            first => first,
        }
        .map_err(|outcome| error(operation, outcome))
    }

    /// Asks for a compare-and-swap. When the outcome is unknown the question is repeated with `again` set: then the
    /// object also says yes if what it holds already is what was to be written.
    async fn decide(
        &self,
        operation: &'static str,
        object: Object,
        message: impl Fn(bool) -> Bytes,
    ) -> Result<bool, PortError> {
        let mut fields = match self.once(object, &message(false)).await {
            Err(Outcome::Retryable | Outcome::Unavailable) => self.once(object, &message(true)).await,
            first => first,
        }
        .map_err(|outcome| error(operation, outcome))?;
        fields.flag().ok_or_else(|| corrupt(operation))
    }

    async fn once(&self, object: Object, message: &[u8]) -> Result<Fields, Outcome> {
        let operation = match object {
            Object::Tenant(tenant) => host::ask(self.call.id(), "TENANT", &tenant.to_string(), message),
            Object::Limits(tenant) => host::ask(self.call.id(), "LIMITS", &tenant.to_string(), message),
            Object::Digest(tenant) => host::ask(self.call.id(), "DIGEST", &tenant.to_string(), message),
            Object::Registry => host::ask(self.call.id(), "REGISTRY", "registry", message),
            Object::Usage(Book { tenant, number }) => {
                host::ask(self.call.id(), "USAGE", &format!("{tenant}/{number}"), message)
            }
        };
        let settled = self.call.operation(operation).await;
        match settled.outcome {
            Outcome::Ok => Ok(Fields::new(settled.bytes)),
            other => Err(other),
        }
    }

    /// The published copy of a tenant, if there is one; `otherwise` is the failure that made us look for it.
    async fn copy(&self, tenant: TenantId, otherwise: PortError) -> Result<Copy, PortError> {
        let operation = host::copy(self.call.id(), &Copy::name(&tenant.to_string()));
        let settled = self.call.operation(operation).await;
        match settled.outcome {
            Outcome::Ok => Copy::decode(settled.bytes).ok_or(otherwise),
            _ => Err(otherwise),
        }
    }
}

impl Store for Objects {
    async fn load(&self, tenant: TenantId, key: Option<KeyHash>, known: Option<u64>) -> Result<Loaded, PortError> {
        const NAME: &str = "store.load";
        let hash = key.as_ref().map(|hash| hash.as_bytes().as_slice());
        let message = Message::new(Verb::Load).bytes(hash).number(known).into_bytes();
        let failure = match self.ask(NAME, Object::Tenant(tenant), message).await {
            Ok(mut fields) => return loaded(&mut fields).ok_or_else(|| corrupt(NAME)),
            Err(failure) => failure,
        };
        let copy = self.copy(tenant, failure).await?;
        let key = hash.and_then(|hash| copy.key(hash));
        let head = match copy.head {
            None => HeadState::Absent,
            Some(head) if known == Some(head.version) => HeadState::Unchanged,
            Some(head) => HeadState::Current(head),
        };
        Ok(Loaded { head, key, stale: true })
    }

    async fn swap(&self, tenant: TenantId, expected: Option<u64>, head: Option<HeadRecord>) -> Result<Swap, PortError> {
        let name = tenant.to_string();
        let done = self
            .decide("store.swap", Object::Tenant(tenant), |again| {
                Message::new(Verb::Swap)
                    .bytes(Some(name.as_bytes()))
                    .number(expected)
                    .number(head.as_ref().map(|head| head.version))
                    .bytes(head.as_ref().map(|head| head.bytes.as_ref()))
                    .flag(again)
                    .into_bytes()
            })
            .await?;
        Ok(if done { Swap::Done } else { Swap::Lost })
    }

    async fn put_key(&self, tenant: TenantId, key: KeyHash, record: Bytes) -> Result<(), PortError> {
        let message = of_tenant(Verb::PutKey, tenant).bytes(Some(key.as_bytes())).bytes(Some(&record));
        self.ask("store.put_key", Object::Tenant(tenant), message.into_bytes()).await.map(drop)
    }

    async fn delete_key(&self, tenant: TenantId, key: KeyHash) -> Result<bool, PortError> {
        const NAME: &str = "store.delete_key";
        let message = of_tenant(Verb::DeleteKey, tenant).bytes(Some(key.as_bytes()));
        let mut fields = self.ask(NAME, Object::Tenant(tenant), message.into_bytes()).await?;
        fields.flag().ok_or_else(|| corrupt(NAME))
    }

    async fn keys(&self, tenant: TenantId) -> Result<Vec<(KeyHash, Bytes)>, PortError> {
        const NAME: &str = "store.keys";
        let mut fields = self.ask(NAME, Object::Tenant(tenant), Message::new(Verb::Keys).into_bytes()).await?;
        let pairs = fields.pairs().ok_or_else(|| corrupt(NAME))?;
        pairs
            .into_iter()
            .map(|(hash, record)| Some((hash_of(&hash)?, record)))
            .collect::<Option<_>>()
            .ok_or_else(|| corrupt(NAME))
    }

    async fn put_secret(&self, tenant: TenantId, id: &str, record: Bytes) -> Result<(), PortError> {
        let message = of_tenant(Verb::PutSecret, tenant).bytes(Some(id.as_bytes())).bytes(Some(&record));
        self.ask("store.put_secret", Object::Tenant(tenant), message.into_bytes()).await.map(drop)
    }

    async fn secret(&self, tenant: TenantId, id: &str) -> Result<Option<Bytes>, PortError> {
        const NAME: &str = "store.secret";
        let message = Message::new(Verb::Secret).bytes(Some(id.as_bytes())).into_bytes();
        match self.ask(NAME, Object::Tenant(tenant), message).await {
            Ok(mut fields) => fields.next().ok_or_else(|| corrupt(NAME)),
            Err(failure) => Ok(self.copy(tenant, failure).await?.secret(id)),
        }
    }

    async fn delete_secret(&self, tenant: TenantId, id: &str) -> Result<(), PortError> {
        let message = of_tenant(Verb::DeleteSecret, tenant).bytes(Some(id.as_bytes()));
        self.ask("store.delete_secret", Object::Tenant(tenant), message.into_bytes()).await.map(drop)
    }

    async fn secrets(&self, tenant: TenantId) -> Result<Vec<(String, Bytes)>, PortError> {
        const NAME: &str = "store.secrets";
        let mut fields = self.ask(NAME, Object::Tenant(tenant), Message::new(Verb::Secrets).into_bytes()).await?;
        named(&mut fields).ok_or_else(|| corrupt(NAME))
    }

    async fn name(&self, name: &str) -> Result<Option<Bytes>, PortError> {
        const NAME: &str = "store.name";
        let message = Message::new(Verb::Name).bytes(Some(name.as_bytes())).into_bytes();
        self.ask(NAME, Object::Registry, message).await?.next().ok_or_else(|| corrupt(NAME))
    }

    async fn swap_name(&self, name: &str, expected: Option<Bytes>, entry: Option<Bytes>) -> Result<bool, PortError> {
        self.decide("store.swap_name", Object::Registry, |again| {
            Message::new(Verb::SwapName)
                .bytes(Some(name.as_bytes()))
                .bytes(expected.as_deref())
                .bytes(entry.as_deref())
                .flag(again)
                .into_bytes()
        })
        .await
    }

    async fn names(&self) -> Result<Vec<(String, Bytes)>, PortError> {
        const NAME: &str = "store.names";
        let mut fields = self.ask(NAME, Object::Registry, Message::new(Verb::Names).into_bytes()).await?;
        named(&mut fields).ok_or_else(|| corrupt(NAME))
    }

    fn shares(&self) -> bool {
        true
    }

    async fn digest(&self, tenant: TenantId) -> Result<Option<Bytes>, PortError> {
        const NAME: &str = "store.digest";
        let message = Message::new(Verb::Digest).into_bytes();
        self.ask(NAME, Object::Digest(tenant), message).await?.next().ok_or_else(|| corrupt(NAME))
    }

    async fn swap_digest(
        &self,
        tenant: TenantId,
        expected: Option<Bytes>,
        record: Bytes,
        ends: u64,
    ) -> Result<bool, PortError> {
        const NAME: &str = "store.swap_digest";
        let message = Message::new(Verb::SwapDigest).bytes(expected.as_deref()).bytes(Some(&record)).number(Some(ends));
        let mut fields = self.ask(NAME, Object::Digest(tenant), message.into_bytes()).await?;
        fields.flag().ok_or_else(|| corrupt(NAME))
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.ask("store.ping", Object::Registry, Message::new(Verb::Ping).into_bytes()).await.map(drop)
    }
}

/// A write to a tenant's object: it learns whose it is, for the name of its published copy.
fn of_tenant(verb: Verb, tenant: TenantId) -> Message {
    Message::new(verb).bytes(Some(tenant.to_string().as_bytes()))
}

fn loaded(fields: &mut Fields) -> Option<Loaded> {
    let unchanged = fields.flag()?;
    let version = fields.number()?;
    let head = fields.next()?;
    let key = fields.next()?;
    let head = match (version, head) {
        _ if unchanged => HeadState::Unchanged,
        (Some(version), Some(bytes)) => HeadState::Current(HeadRecord { version, bytes }),
        (None, None) => HeadState::Absent,
        (Some(_), None) | (None, Some(_)) => return None,
    };
    Some(Loaded { head, key, stale: false })
}

fn named(fields: &mut Fields) -> Option<Vec<(String, Bytes)>> {
    fields.pairs()?.into_iter().map(|(name, record)| Some((String::from_utf8(name.into()).ok()?, record))).collect()
}

fn hash_of(bytes: &[u8]) -> Option<KeyHash> {
    Some(KeyHash::from(<[u8; 32]>::try_from(bytes).ok()?))
}

fn error(operation: &'static str, outcome: Outcome) -> PortError {
    match outcome {
        Outcome::Overloaded => PortError::new(operation, Fault::Overloaded, "object_overloaded"),
        Outcome::Retryable => PortError::new(operation, Fault::Unavailable, "object_reset"),
        _ => PortError::new(operation, Fault::Unavailable, "object_unreachable"),
    }
}

fn corrupt(operation: &'static str) -> PortError {
    PortError::new(operation, Fault::Corrupt, "object_answer")
}
