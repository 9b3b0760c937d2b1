//! Where credentials are kept and read: sealed in our own store, or in the account's secrets manager.
//!
//! Order of a provision: secret first, head last; what no head refers to is swept. Never a fallback from one
//! manager to another.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::record::{self, Members, record};
use crate::model::{CredentialRef, Manager, TenantId};
use crate::ports::{Fault, Platform, SecretManager, Store};
use crate::secret::Credential;

/// What our store holds about a secret: the sealed value, or only that there is one in a manager.
pub(crate) struct SecretRecord {
    schema: u32,
    /// When it was written, in milliseconds since the epoch.
    pub(crate) written: u64,
    sealed: Option<String>,
    pub(crate) name: Option<String>,
    rest: Map<String, Value>,
}

impl SecretRecord {
    fn encode(&self) -> Bytes {
        let known = [
            ("schema", self.schema.into()),
            ("written", self.written.into()),
            ("sealed", self.sealed.as_deref().into()),
            ("name", self.name.as_deref().into()),
        ];
        record::bytes(&record(known, &self.rest))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut members = Members::parse(bytes)?;
        Some(Self {
            schema: members.schema()?,
            written: members.number("written")?,
            sealed: members.optional_text("sealed")?,
            name: members.optional_text("name")?,
            rest: members.rest(),
        })
    }
}

/// Keeps a new credential. `id` is new: nothing is ever overwritten.
pub(crate) async fn keep<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    manager: &Manager,
    id: &str,
    credential: &Credential,
) -> Outcome<CredentialRef> {
    let platform = exchange.platform();
    let written = platform.now_ms();
    let mut record = SecretRecord { schema: 1, written, sealed: None, name: None, rest: Map::new() };
    let value = credential.encode();
    if manager.is_builtin() {
        let mut nonce = [0_u8; 12];
        platform.fill_random(&mut nonce);
        record.sealed = Some(gateway.deployment.sealing.seal(nonce, &tenant.to_string(), id, value.open()));
        put(exchange, tenant, id, &record).await?;
    } else if manager.is_account() {
        let name = name_of(gateway, tenant, id);
        record.name = Some(name.clone());
        // The marker comes first: a secret without one would never be found again.
        put(exchange, tenant, id, &record).await?;
        let mut random = [0_u8; 16];
        platform.fill_random(&mut random);
        let version = crate::model::random_uuid(random).to_string();
        platform.manager().put(&name, &version, &value).await.map_err(|e| Failure::secrets(e.to_string()))?;
    } else {
        return Err(Failure::internal("unknown secrets manager in the head"));
    }
    gateway.cache.learn_credential(tenant, id, credential.clone(), written);
    Ok(CredentialRef { manager: manager.clone(), id: id.to_owned(), rest: Map::new() })
}

async fn put<P: Platform>(exchange: &Exchange<P>, tenant: TenantId, id: &str, record: &SecretRecord) -> Outcome<()> {
    exchange.store().put_secret(tenant, id, record.encode()).await.map_err(|e| Failure::store(&e))
}

fn name_of(gateway: &Gateway, tenant: TenantId, id: &str) -> String {
    // `<provider uuid>` for a provider's first credential, `<provider uuid>.<n>` for a replaced one.
    format!("{}/{tenant}/{}", gateway.deployment.prefix, id.replace('.', "/"))
}

/// The reference to a secret of which only our store's record is known.
pub(crate) fn reference_of(id: &str, record: &[u8]) -> CredentialRef {
    let elsewhere = SecretRecord::decode(record).is_some_and(|record| record.name.is_some());
    let manager = if elsewhere { Manager::account() } else { Manager::builtin() };
    CredentialRef { manager, id: id.to_owned(), rest: Map::new() }
}

/// Deletes a credential, at the manager first. What fails here is left to the sweep.
pub(crate) async fn discard<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    reference: &CredentialRef,
) -> Result<(), crate::ports::PortError> {
    gateway.cache.forget_credential(tenant, &reference.id);
    if reference.manager.is_account() {
        let name = name_of(gateway, tenant, &reference.id);
        exchange.platform().manager().delete(&name).await?;
    }
    exchange.store().delete_secret(tenant, &reference.id).await
}

/// The credential that a reference stands for: cached for five minutes, and up to fifteen while its manager is down.
pub(crate) async fn read<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    tenant: TenantId,
    reference: &CredentialRef,
) -> Outcome<Credential> {
    let now = exchange.platform().now_ms();
    let cached = gateway.cache.credential(tenant, &reference.id, now);
    if let Some((credential, age)) = &cached
        && *age < limits::SECRET_FRESH_MS
    {
        return Ok(credential.clone());
    }
    match fetch(gateway, exchange, tenant, reference).await {
        Ok(credential) => {
            gateway.cache.learn_credential(tenant, &reference.id, credential.clone(), now);
            Ok(credential)
        }
        Err(failure) if failure.code == ErrorCode::SecretsUnavailable => match cached {
            Some((credential, age)) if age < limits::SECRET_HARD_MS => {
                exchange.line().stale = true;
                exchange.line().cause = failure.cause;
                Ok(credential)
            }
            _ => Err(failure),
        },
        Err(failure) => Err(failure),
    }
}

async fn fetch<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    reference: &CredentialRef,
) -> Outcome<Credential> {
    let gone = |cause: &str| crate::dialect::failure::constant(ErrorCode::UpstreamAuthFailed).caused_by(cause);
    let value = if reference.manager.is_builtin() {
        let stored = exchange.store().secret(tenant, &reference.id).await;
        let stored = stored.map_err(|e| Failure::secrets(e.to_string()))?.ok_or_else(|| gone("secret is missing"))?;
        let sealed = SecretRecord::decode(&stored).and_then(|record| record.sealed);
        let sealed = sealed.ok_or_else(|| gone("secret record cannot be read"))?;
        let opened = gateway.deployment.sealing.open(&tenant.to_string(), &reference.id, &sealed);
        // A wrong deployment key is the operator's to mend: 503, and nothing is overwritten.
        opened.map_err(|e| Failure::secrets(format!("sealed secret: {e:?}")))?
    } else if reference.manager.is_account() {
        let name = name_of(gateway, tenant, &reference.id);
        let platform = exchange.platform();
        let mut read = platform.manager().read(&name).await;
        if read.as_ref().is_err_and(crate::ports::PortError::retryable) {
            platform.timer(100).await;
            read = platform.manager().read(&name).await;
        }
        match read {
            Ok(version) => version.value,
            Err(error) if error.fault == Fault::Missing => return Err(gone("secret is missing")),
            Err(error) => return Err(Failure::secrets(error.to_string())),
        }
    } else {
        return Err(Failure::secrets("unknown secrets manager in the head"));
    };
    Credential::decode(&value).ok_or_else(|| gone("secret has not the expected form"))
}
