//! Clearing what a crash left behind: secrets that no head refers to.

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
pub fn orphans(head: Option<&[u8]>, secrets: &[(String, Bytes)], now_ms: u64) -> Vec<String> {
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

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tenants looked at.
    pub tenants: u32,
    /// Secrets removed.
    pub removed: u32,
    /// Steps that failed and are left to the next sweep.
    pub failed: u32,
}

/// Sweeps one tenant.
pub(crate) async fn tenant<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    tenant: TenantId,
) -> Result<u32, PortError> {
    // Secrets first: one that is written after this list is not in it, and one in it is judged by a newer head.
    let secrets = exchange.store().secrets(tenant).await?;
    if secrets.is_empty() {
        return Ok(0);
    }
    let loaded = exchange.store().load(tenant, None, None).await?;
    if loaded.stale {
        return Ok(0);
    }
    let head = match &loaded.head {
        HeadState::Current(record) => Some(record.bytes.as_ref()),
        HeadState::Absent | HeadState::Unchanged => None,
    };
    let mut removed = 0;
    for id in orphans(head, &secrets, exchange.platform().now_ms()) {
        let Some((_, record)) = secrets.iter().find(|(known, _)| *known == id) else { continue };
        let reference = credentials::reference_of(&id, record);
        credentials::discard(gateway, exchange, tenant, &reference).await?;
        removed += 1;
    }
    Ok(removed)
}

/// Sweeps every tenant that the registry knows, and tells the log.
pub(crate) async fn all<P: Platform>(gateway: &Gateway, platform: &P) -> Swept {
    let mut exchange = Exchange::new(platform.clone());
    exchange.line().route = "sweep";
    let mut swept = Swept::default();
    match exchange.store().names().await {
        Err(_) => swept.failed += 1,
        Ok(names) => {
            for entry in names.iter().filter_map(|(_, bytes)| NameEntry::decode(bytes)) {
                swept.tenants += 1;
                match tenant(gateway, &exchange, entry.tenant).await {
                    Ok(removed) => swept.removed += removed,
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
    }
}
