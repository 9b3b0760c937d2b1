//! Where credentials are kept and read: sealed in our own store, in the secrets manager of the function's own account,
//! or in one that the operator configured.
//!
//! Order of a provision: secret first, head last; what no head refers to is swept. Never a fallback from one
//! manager to another. A secret that a tenant refers to is read, and never written or deleted.

mod record;
mod remote;

use crate::dialect::failure::constant;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::lease::{self, Kept, Slot, Timed};
use crate::limits;
use crate::model::{CredentialRef, Manager, TenantId, random_uuid};
use crate::ports::{Fault, Platform, PortError, SecretManager, Store};
use crate::secret::manager::Named;
use crate::secret::{Credential, Secret};

pub(crate) use self::record::SecretRecord;
use self::remote::Remote;

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
    let value = credential.encode();
    let mut reference = CredentialRef::new(manager.clone(), id.to_owned());
    if manager.is_builtin() {
        let sealed = gateway.deployment.sealing.seal(random(platform), &tenant.to_string(), id, value.open());
        put(exchange, tenant, id, &SecretRecord::sealed(written, sealed)).await?;
    } else {
        let named = named(gateway, manager).map_err(|e| Failure::secrets(e.to_string()))?;
        let name = named.map_or_else(|| name_of(gateway, tenant, id), |named| named.name(tenant, id));
        // The marker comes first: a secret without one would never be found again.
        put(exchange, tenant, id, &SecretRecord::marker(written, &name, named.map(|_| manager.as_str()))).await?;
        let version = random_uuid(random(platform)).to_string();
        let kept = match named {
            None => platform.manager().put(&name, &version, &value).await.map(|()| None),
            Some(named) => Remote { gateway, platform, named }.put(&name, &version, &value).await,
        };
        reference.place = kept.map_err(|e| Failure::secrets(e.to_string()))?;
    }
    let kept = timed(credential.clone(), written);
    gateway.cache.credential(tenant, id, written, |slot| slot.keep(kept));
    Ok(reference)
}

fn random<const N: usize>(platform: &impl Platform) -> [u8; N] {
    let mut bytes = [0; N];
    platform.fill_random(&mut bytes);
    bytes
}

async fn put<P: Platform>(exchange: &Exchange<P>, tenant: TenantId, id: &str, record: &SecretRecord) -> Outcome<()> {
    exchange.store().put_secret(tenant, id, record.encode()).await.map_err(|e| Failure::store(&e))
}

fn name_of(gateway: &Gateway, tenant: TenantId, id: &str) -> String {
    // `<provider uuid>` for a provider's first credential, `<provider uuid>.<n>` for a replaced one.
    format!("{}/{tenant}/{}", gateway.deployment.prefix, id.replace('.', "/"))
}

/// The configured manager of that address; `None` for the one of the function's own account.
fn named<'a>(gateway: &'a Gateway, manager: &Manager) -> Result<Option<&'a Named>, PortError> {
    if manager.is_account() {
        return Ok(None);
    }
    let found = gateway.deployment.managers.at(manager.as_str());
    found.map(Some).ok_or_else(|| PortError::new("manager.find", Fault::Denied, "not_in_secrets_managers"))
}

/// The manager that a tenant asks for by name or address; `None` if it is not one that tenants may name here.
pub(crate) fn asked(gateway: &Gateway, manager: &str) -> Option<Manager> {
    match manager {
        "builtin" => Some(Manager::builtin()),
        "aws" if gateway.deployment.default_manager().is_account() => Some(Manager::account()),
        _ => gateway.deployment.managers.asked(manager).map(|named| Manager::named(named.address.as_str())),
    }
}

/// The reference to a secret of the tenant's own, if a configured manager covers it.
pub(crate) fn refer(gateway: &Gateway, tenant: TenantId, resource: &str, id: String) -> Option<CredentialRef> {
    let (named, _) = gateway.deployment.managers.covering(resource, tenant)?;
    let manager = Manager::named(named.address.as_str());
    Some(CredentialRef { resource: Some(resource.to_owned()), ..CredentialRef::new(manager, id) })
}

/// The value of a secret of the tenant's own, for a provider that is to be made of it.
///
/// # Errors
/// `invalid_request` with the param `data_reference` if there is no such secret or it is not this tenant's;
/// `secrets_unavailable`.
pub(crate) async fn referred<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    tenant: TenantId,
    reference: &CredentialRef,
) -> Outcome<Secret> {
    let read = Reader { gateway, tenant, reference }.remote(platform).await;
    read.map_err(|error| match error.fault {
        Fault::Missing | Fault::Corrupt => {
            Failure::invalid("data_reference", "The secret does not exist, or is not one of this tenant's.")
                .caused_by(error.to_string())
        }
        _ => Failure::secrets(error.to_string()),
    })
}

/// The reference to a secret of which only our store's record is known.
pub(crate) fn reference_of(id: &str, record: &[u8]) -> CredentialRef {
    let manager = match SecretRecord::decode(record) {
        Some(SecretRecord { name: Some(_), manager: Some(address), .. }) => Manager::named(&address),
        Some(SecretRecord { name: Some(_), .. }) => Manager::account(),
        _ => Manager::builtin(),
    };
    CredentialRef::new(manager, id.to_owned())
}

/// Deletes a credential, at the manager first. What fails here is left to the sweep.
pub(crate) async fn discard<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    reference: &CredentialRef,
) -> Result<(), PortError> {
    gateway.cache.forget_credential(tenant, &reference.id);
    if reference.resource.is_some() {
        return Ok(());
    }
    let platform = exchange.platform();
    if !reference.manager.is_builtin() {
        match named(gateway, &reference.manager)? {
            None => platform.manager().delete(&name_of(gateway, tenant, &reference.id)).await?,
            Some(named) => {
                let name = named.name(tenant, &reference.id);
                Remote { gateway, platform, named }.delete(&name, reference.place.as_deref()).await?;
            }
        }
    }
    exchange.store().delete_secret(tenant, &reference.id).await
}

/// The credential that a reference stands for: cached for five minutes, and up to fifteen while its manager is down.
/// Of many requests that need it one reads.
///
/// # Errors
/// `secrets_unavailable` while it cannot be read; `upstream_auth_failed` if it is gone or not of the expected form.
pub(crate) async fn read<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    tenant: TenantId,
    reference: &CredentialRef,
) -> Outcome<Credential> {
    let platform = exchange.platform().clone();
    let deadline_ms = platform.now_ms() + limits::CREDENTIAL_WAIT_MS;
    let (credential, spared) = lease::obtain(&Reader { gateway, tenant, reference }, &platform, deadline_ms).await?;
    if let Some(failure) = spared {
        exchange.line().stale = true;
        exchange.line().cause = failure.cause;
    }
    Ok(credential)
}

/// Another credential, after a provider refused `refused`; `None` if it is still the same. Read once for all requests
/// that were refused together, and not again within 10 seconds.
///
/// # Errors
/// As [`read`]. The refused credential is then kept: it may work again before its manager does.
pub(crate) async fn reread<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    tenant: TenantId,
    reference: &CredentialRef,
    refused: &Credential,
) -> Outcome<Option<Credential>> {
    let now_ms = platform.now_ms();
    let (known, another) = gateway.cache.credential(tenant, &reference.id, now_ms, |slot| {
        let known = slot.kept();
        (known, slot.reject(refused, now_ms))
    });
    if !another {
        return Ok(None);
    }
    let deadline_ms = now_ms + limits::CREDENTIAL_WAIT_MS;
    match lease::obtain(&Reader { gateway, tenant, reference }, platform, deadline_ms).await {
        Ok((credential, _)) => Ok(Some(credential).filter(|credential| !credential.same(refused))),
        Err(failure) => {
            if let Some(known) = known.filter(|_| Credential::outlives(&failure)) {
                let now_ms = platform.now_ms();
                gateway.cache.credential(tenant, &reference.id, now_ms, |slot| slot.restore(known, now_ms));
            }
            Err(failure)
        }
    }
}

fn timed(value: Credential, read_ms: u64) -> Timed<Credential> {
    Timed { value, refresh_at_ms: read_ms + limits::SECRET_FRESH_MS, expires_ms: read_ms + limits::SECRET_HARD_MS }
}

impl Kept for Credential {
    fn same(&self, other: &Self) -> bool {
        Self::same(self, other)
    }

    /// While its manager is down; not when it says that the secret is gone.
    fn outlives(failure: &Failure) -> bool {
        failure.code == ErrorCode::SecretsUnavailable
    }
}

/// Reads one credential.
struct Reader<'a> {
    gateway: &'a Gateway,
    tenant: TenantId,
    reference: &'a CredentialRef,
}

impl<P: Platform> lease::Source<P> for Reader<'_> {
    type Value = Credential;

    fn slot<R>(&self, now_ms: u64, act: impl FnOnce(&mut Slot<Credential>) -> R) -> R {
        self.gateway.cache.credential(self.tenant, &self.reference.id, now_ms, act)
    }

    async fn fetch(&self, platform: &P, _end_ms: u64) -> Outcome<Timed<Credential>> {
        let asked_ms = platform.now_ms();
        let gone = |cause: &str| constant(ErrorCode::UpstreamAuthFailed).caused_by(cause);
        let value = if self.reference.manager.is_builtin() && self.reference.resource.is_none() {
            self.sealed(platform).await?
        } else {
            match self.remote(platform).await {
                Ok(value) => value,
                Err(error) if error.fault == Fault::Missing => return Err(gone("secret is missing")),
                Err(error) => return Err(Failure::secrets(error.to_string())),
            }
        };
        let credential = match self.reference.resource {
            None => Credential::decode(&value),
            Some(_) => crate::provider::read_credential(&value),
        };
        Ok(timed(credential.ok_or_else(|| gone("secret has not the expected form"))?, asked_ms))
    }

    fn late(&self) -> Failure {
        Failure::secrets("no credential in time")
    }
}

impl Reader<'_> {
    async fn sealed<P: Platform>(&self, platform: &P) -> Outcome<Secret> {
        let gone = |cause: &str| constant(ErrorCode::UpstreamAuthFailed).caused_by(cause);
        let id = &self.reference.id;
        let stored = platform.store().secret(self.tenant, id).await;
        let stored = stored.map_err(|e| Failure::secrets(e.to_string()))?.ok_or_else(|| gone("secret is missing"))?;
        let record = SecretRecord::decode(&stored).ok_or_else(|| gone("secret record cannot be read"))?;
        let sealed = record.sealed.as_deref().ok_or_else(|| gone("secret record cannot be read"))?;
        let opened = self.gateway.deployment.sealing.open(&self.tenant.to_string(), id, sealed);
        // A wrong deployment key is the operator's to mend: 503, and nothing is overwritten.
        let opened = opened.map_err(|e| Failure::secrets(format!("sealed secret: {e:?}")))?;
        // A fault in this is for the next read or the sweep to mend.
        let _ = renew(self.gateway, platform, self.tenant, id, record).await;
        Ok(opened)
    }

    /// Asks a manager, once more on a passing fault.
    async fn remote<P: Platform>(&self, platform: &P) -> Result<Secret, PortError> {
        let mut read = self.ask(platform).await;
        if read.as_ref().is_err_and(PortError::retryable) {
            platform.timer(remote::pause_ms(platform)).await;
            read = self.ask(platform).await;
        }
        read
    }

    async fn ask<P: Platform>(&self, platform: &P) -> Result<Secret, PortError> {
        let Self { gateway, tenant, reference } = *self;
        if let Some(resource) = &reference.resource {
            // Judged again: what the operator configured may have changed.
            let (named, place) = gateway
                .deployment
                .managers
                .covering(resource, tenant)
                .ok_or_else(|| PortError::new("manager.find", Fault::Denied, "not_in_secrets_managers"))?;
            return Remote { gateway, platform, named }.read(tenant, &place).await;
        }
        match named(gateway, &reference.manager)? {
            None => {
                let name = name_of(gateway, tenant, &reference.id);
                platform.manager().read(&name).await.map(|version| version.value)
            }
            Some(named) => {
                let name = named.name(tenant, &reference.id);
                let place = reference.place.as_deref().unwrap_or(&name);
                Remote { gateway, platform, named }.read(tenant, place).await
            }
        }
    }
}

/// Wraps the data key of a sealed record anew if that is under another than the deployment's current key. Whether it was.
pub(crate) async fn renew<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    tenant: TenantId,
    id: &str,
    record: SecretRecord,
) -> Result<bool, PortError> {
    let keys = &gateway.deployment.sealing;
    let Some(sealed) = record.sealed.as_deref().filter(|sealed| keys.outdated(sealed)) else { return Ok(false) };
    let Ok(renewed) = keys.renew(random(platform), &tenant.to_string(), id, sealed) else { return Ok(false) };
    platform.store().put_secret(tenant, id, record.renewed(renewed).encode()).await?;
    Ok(true)
}

#[cfg(test)]
mod tests;
