//! Clearing what a crash or an outage left behind: secrets that no head refers to, and names of tenants that are gone.
//! On the way, sealed records are brought under the current key of the deployment.

use bytes::Bytes;

use crate::credentials::{self, SecretRecord};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::{TenantId, decode_head};
use crate::ports::{HeadState, Platform, PortError, Store};
use crate::registry::NameEntry;

/// The ids of secret records that the head does not refer to and that are old enough to be no provision under way.
/// A head that cannot be understood keeps everything.
fn orphans(head: Option<&[u8]>, secrets: &[(String, Bytes)], now_ms: u64) -> Vec<String> {
    let used: Vec<String> = match head.map(decode_head) {
        None => Vec::new(),
        Some(Ok(head)) => head.providers.into_iter().map(|p| p.credential.id).collect(),
        Some(Err(_)) => return Vec::new(),
    };
    secrets
        .iter()
        .filter(|(id, bytes)| {
            let old = SecretRecord::decode(bytes)
                .is_some_and(|record| now_ms.saturating_sub(record.written) >= limits::ORPHAN_MS);
            old && !used.contains(id)
        })
        .map(|(id, _)| id.clone())
        .collect()
}

/// Of all orphans those that are sealed here, so that nothing is left behind when just their records are removed.
pub fn sealed_orphans(head: Option<&[u8]>, secrets: &[(String, Bytes)], now_ms: u64) -> Vec<String> {
    let here = |id: &String| {
        let record = secrets.iter().find(|(known, _)| known == id).and_then(|(_, bytes)| SecretRecord::decode(bytes));
        record.is_some_and(|record| record.name.is_none())
    };
    orphans(head, secrets, now_ms).into_iter().filter(here).collect()
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tenants looked at.
    pub tenants: u32,
    /// Secrets removed.
    pub removed: u32,
    /// Sealed records brought under the current key.
    pub renewed: u32,
    /// Steps that failed and are left to the next sweep.
    pub failed: u32,
}

/// Sweeps one tenant. Whether anything of it is left. A step that fails is left to the next sweep, and the others are
/// tried all the same.
pub(crate) async fn tenant<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
    swept: &mut Swept,
) -> Result<bool, PortError> {
    // Secrets first: one that is written after this list is not in it, and one in it is judged by a newer head.
    let secrets = exchange.store().secrets(tenant).await?;
    let loaded = exchange.store().load(tenant, None, None).await?;
    if loaded.stale {
        return Ok(true);
    }
    let head = match &loaded.head {
        HeadState::Current(record) => Some(record.bytes.as_ref()),
        HeadState::Absent | HeadState::Unchanged => None,
    };
    let mut left = secrets.len();
    let orphans = orphans(head, &secrets, exchange.platform().now_ms());
    for (id, bytes) in secrets {
        if orphans.contains(&id) {
            let reference = credentials::reference_of(&id, &bytes);
            match credentials::discard(gateway, exchange, tenant, &reference).await {
                Ok(()) => {
                    swept.removed += 1;
                    left -= 1;
                }
                Err(_) => swept.failed += 1,
            }
        } else if let Some(record) = SecretRecord::decode(&bytes) {
            match credentials::renew(gateway, exchange.platform(), tenant, &id, record).await {
                Ok(renewed) => swept.renewed += u32::from(renewed),
                Err(_) => swept.failed += 1,
            }
        }
    }
    Ok(left > 0 || head.is_some())
}

/// Sweeps every tenant that the registry knows, and tells the log.
pub(crate) async fn all<P: Platform>(gateway: &Gateway, platform: &P) -> Swept {
    let mut exchange = Exchange::new(platform.clone());
    exchange.line().route = "sweep";
    let mut swept = Swept::default();
    match exchange.store().names().await {
        Err(_) => swept.failed += 1,
        Ok(names) => {
            for (name, bytes) in names {
                let Some(entry) = NameEntry::decode(&bytes) else { continue };
                swept.tenants += 1;
                match tenant(gateway, &exchange, entry.tenant, &mut swept).await {
                    // A tenant that is gone, whose name was kept until its secrets were.
                    Ok(false) if entry.abandoned(platform.now_ms()) => {
                        let freed = free(&exchange, entry.tenant, &name, bytes).await;
                        swept.failed += u32::from(freed.is_err());
                    }
                    Ok(_) => {}
                    Err(_) => swept.failed += 1,
                }
            }
        }
    }
    exchange.line().status = if swept.failed == 0 { 200 } else { 503 };
    exchange.line().cause = Some(format!("{swept:?}"));
    exchange.close();
    swept
}

/// Removes what is left of a tenant without a head: keys, which are dead already, and the name.
async fn free<P: Platform>(
    exchange: &Exchange<P>,
    tenant: TenantId,
    name: &str,
    entry: Bytes,
) -> Result<bool, PortError> {
    for (hash, _) in exchange.store().keys(tenant).await? {
        exchange.store().delete_key(tenant, hash).await?;
    }
    exchange.store().swap_name(name, Some(entry), None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(written: u64) -> Bytes {
        Bytes::from(format!(r#"{{"schema":1,"written":{written},"sealed":"v1.x"}}"#))
    }

    #[test]
    fn only_old_secrets_without_a_provider_go() {
        let head = include_bytes!("../tests/records/head-schema-1.json");
        let used = "5f0c8a1e-0d0e-4a53-8a7b-3d7b1c1a2f44".to_owned();
        let secrets = [
            (used.clone(), record(0)),
            ("old".to_owned(), record(0)),
            ("young".to_owned(), record(limits::ORPHAN_MS)),
            ("broken".to_owned(), Bytes::from_static(b"?")),
        ];
        assert_eq!(orphans(Some(head), &secrets, limits::ORPHAN_MS), ["old"]);
        assert_eq!(orphans(None, &secrets, limits::ORPHAN_MS), [used, "old".to_owned()]);
        assert!(orphans(Some(b"{}"), &secrets, limits::ORPHAN_MS).is_empty());
        // The marker of a secret elsewhere is for those who can delete it there.
        let marker = Bytes::from_static(br#"{"schema":1,"written":0,"name":"n","manager":"https://sm.example.com"}"#);
        let secrets = [("old".to_owned(), record(0)), ("there".to_owned(), marker)];
        assert_eq!(orphans(None, &secrets, limits::ORPHAN_MS), ["old", "there"]);
        assert_eq!(sealed_orphans(None, &secrets, limits::ORPHAN_MS), ["old"]);
    }
}
