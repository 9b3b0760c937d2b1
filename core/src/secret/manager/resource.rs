//! The names that tenants give to secrets of their own: ARNs of AWS and CRNs of IBM Cloud, matched part by part against
//! a configured manager.

use super::{Named, Service};
use crate::limits;
use crate::model::TenantId;

/// By what `named` is asked for the secret; `None` if it is not one that this tenant may refer to there.
pub(super) fn place(named: &Named, resource: &str, tenant: TenantId) -> Option<String> {
    if resource.len() > limits::RESOURCE_BYTES {
        return None;
    }
    match &named.service {
        Service::Ibm { instance, .. } => crn(named, instance.as_deref()?, resource),
        Service::Aws(_) | Service::Role => arn(named, resource, tenant),
    }
}

/// `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME`. The whole of it is asked for: AWS knows it by that.
fn arn(named: &Named, resource: &str, tenant: TenantId) -> Option<String> {
    let mut parts = resource.splitn(7, ':');
    let head = [(); 6].map(|()| parts.next().unwrap_or_default());
    let name = parts.next()?.strip_prefix(named.stem(tenant).as_str())?;
    let known = head[0] == "arn"
        && matches!(head[1], "aws" | "aws-cn" | "aws-us-gov")
        && head[2] == "secretsmanager"
        && named.region.as_deref() == Some(head[3])
        && named.account.as_deref() == Some(head[4])
        && head[5] == "secret";
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b));
    (known && plain).then(|| resource.to_owned())
}

/// `crn:v1:CLOUD:KIND:secrets-manager:REGION:a/ACCOUNT:INSTANCE:secret:ID`. The id is asked for; it says nothing of
/// whose the secret is, so the name in the answer decides.
fn crn(named: &Named, instance: &str, resource: &str) -> Option<String> {
    let parts: Vec<&str> = resource.split(':').collect();
    let parts: [&str; 10] = parts.try_into().ok()?;
    let account = parts[6].strip_prefix("a/")?;
    let known = parts[0] == "crn"
        && parts[1] == "v1"
        && parts[4] == "secrets-manager"
        && named.region.as_deref() == Some(parts[5])
        && named.account.as_deref().is_none_or(|known| known == account)
        && instance == parts[7]
        && parts[8] == "secret";
    (known && super::ibm::is_id(parts[9])).then(|| parts[9].to_owned())
}
