//! The way of a tenant's digest to the store and back. Nobody waits for it longer than for what goes on anyhow, and
//! nothing fails because of it.

use futures_util::future::{Either, select};

use crate::gateway::Gateway;
use crate::limits;
use crate::model::TenantId;
use crate::ports::{Platform, Store};
use crate::route::{Digest, News};

/// Reads what others tell of a tenant's targets, if that was not done just now.
pub(crate) async fn hear<P: Platform>(gateway: &Gateway, platform: &P, tenant: TenantId) {
    if !due(gateway, platform, tenant) {
        return;
    }
    gateway.board.heard(tenant, platform.now_ms());
    if let Ok(Some(bytes)) = platform.store().digest(tenant).await
        && let Some(digest) = Digest::decode(&bytes)
    {
        gateway.board.learn(&digest, platform.alone(), platform.now_ms());
    }
}

/// The same for a call that has to wait for its configuration anyhow. It does not wait long for this: who does not answer in
/// time is asked again, beside the call.
pub(crate) async fn hear_soon<P: Platform>(gateway: &Gateway, platform: &P, tenant: TenantId) {
    let hear = std::pin::pin!(hear(gateway, platform, tenant));
    if let Either::Right(_) = select(hear, platform.timer(limits::DIGEST_WAIT_MS)).await {
        gateway.board.heard(tenant, 0);
    }
}

/// Whether it is time to read it.
pub(crate) fn due<P: Platform>(gateway: &Gateway, platform: &P, tenant: TenantId) -> bool {
    platform.store().shares() && gateway.board.is_old(tenant, platform.now_ms())
}

/// Tells others. Gives up soon: what is not told is found out by them at the price of a failed attempt.
pub(crate) async fn tell<P: Platform>(gateway: &Gateway, platform: &P, tenant: TenantId, news: News) {
    let telling = std::pin::pin!(async {
        for _ in 0..limits::DIGEST_TRIES {
            let Ok(known) = platform.store().digest(tenant).await else { return };
            // What cannot be understood is replaced: it is no more than a hint.
            let mut digest = known.as_deref().and_then(Digest::decode).unwrap_or_default();
            let now = platform.now_ms();
            digest.merge(&news, now);
            let ends = now / 1000 + limits::DIGEST_KEPT_MS / 1000;
            match platform.store().swap_digest(tenant, known, digest.encode(), ends).await {
                Ok(true) => return gateway.board.learn(&digest, platform.alone(), now),
                Ok(false) => {}
                Err(_) => return,
            }
        }
    });
    if let Either::Left(_) = select(platform.timer(limits::DIGEST_TELL_MS), telling).await {}
}
