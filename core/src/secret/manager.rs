//! The secrets managers that the operator configured (`SECRETS_MANAGERS`): which addresses tenants may name, of which
//! kind, with which identity, and which of their own secrets tenants may refer to.
//!
//! Nothing is ever signed or sent for an address that is not in this list, and every name that is asked for holds the
//! tenant's id. [`ibm`] and [`aws`] write calls and read answers; sending them is for `credentials`.

pub(crate) mod aws;
pub(crate) mod ibm;
mod resource;

use serde_json::Value;

use super::Secret;
use crate::egress::url::{self, AllowedOrigins, BaseUrl};
use crate::limits;
use crate::model::TenantId;
use crate::model::record::Members;
use crate::sign::iam;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Managers(Vec<Named>);

/// One configured manager.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its address, as tenants name it.
    pub address: BaseUrl,
    /// With what the names of our secrets begin.
    pub prefix: String,
    /// Where it is: a region of AWS or IBM Cloud. Always known of AWS.
    pub region: Option<String>,
    /// The cloud account that it belongs to.
    pub account: Option<String>,
    /// What it speaks, and who we are there.
    pub service: Service,
}

/// A manager's kind with our identity at it.
#[derive(Debug)]
pub(crate) enum Service {
    /// IBM Cloud Secrets Manager, API version 2.
    Ibm {
        /// The id of the secret group that new secrets go to.
        group: String,
        /// The id of its instance, which stands in the CRNs of its secrets.
        instance: Option<String>,
        /// Where tokens are exchanged.
        iam: iam::Address,
        /// For which API key.
        apikey: Secret,
    },
    /// AWS Secrets Manager with a key pair.
    Aws(aws::KeyPair),
    /// AWS Secrets Manager of the function's own account, through its role.
    Role,
}

/// What a deployment says of itself where managers are read.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The region of the function's role; `None` where there is none.
    pub role_region: Option<&'a str>,
    /// The prefix of names if an entry has none.
    pub prefix: &'a str,
}

impl Managers {
    /// Reads `SECRETS_MANAGERS`. `lookup` answers a variable or secret by name: identities are named, not written down.
    ///
    /// The error says which entry and member is wrong and never what it holds.
    pub(crate) fn parse(
        text: &str,
        surroundings: Surroundings<'_>,
        lookup: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let Some(Value::Array(entries)) = crate::json::read(text.as_bytes()) else {
            return Err("must be a JSON array of objects".to_owned());
        };
        if entries.len() > limits::MANAGERS {
            return Err(format!("must have at most {} entries", limits::MANAGERS));
        }
        let mut all: Vec<Named> = Vec::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let named = Named::read(entry, surroundings, lookup);
            let fresh = |named: &Named| !all.iter().any(|known| known.address.as_str() == named.address.as_str());
            let named = named.and_then(|named| if fresh(&named) { Ok(named) } else { Err("repeats an 'address'") });
            all.push(named.map_err(|what| format!("entry {}: {what}", at + 1))?);
        }
        Ok(Self(all))
    }

    /// The manager that a tenant asks for, by an address in any spelling that means the same.
    pub(crate) fn asked(&self, address: &str) -> Option<&Named> {
        let judged = url::judge(address, &AllowedOrigins::of(address)).ok()?;
        self.at(judged.as_str())
    }

    /// The manager of an address as it is stored.
    pub(crate) fn at(&self, address: &str) -> Option<&Named> {
        self.0.iter().find(|named| named.address.as_str() == address)
    }

    /// The manager that holds a tenant's own secret, and by what it is asked for there. `None` unless account, region
    /// and, where the resource tells it, the name are those that this tenant may refer to.
    pub(crate) fn covering(&self, resource: &str, tenant: TenantId) -> Option<(&Named, String)> {
        self.0.iter().find_map(|named| Some((named, resource::place(named, resource, tenant)?)))
    }
}

impl Named {
    fn read(
        entry: Value,
        surroundings: Surroundings<'_>,
        lookup: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, &'static str> {
        let mut members = Members::of(entry).ok_or("must be an object")?;
        let mut text = |name: &str, fault| members.optional_text(name).ok_or(fault);
        let address = text("address", "'address' must be a string")?.ok_or("'address' is required")?;
        let kind = text("kind", KINDS)?;
        let prefix = text("prefix", PREFIX)?.unwrap_or_else(|| surroundings.prefix.to_owned());
        let group = text("group", GROUP)?;
        let identity = text("identity", IDENTITY)?;
        let region = text("region", REGION)?;
        let account = text("account", ACCOUNT)?;
        let instance = text("instance", INSTANCE)?;
        let auth_url = text("auth_url", AUTH_URL)?;
        if !members.rest().is_empty() {
            return Err(
                "has a member that is not known; an entry takes address, kind, identity, prefix, group, region, \
                 account, instance, auth_url",
            );
        }
        let address = url::judge(&address, &AllowedOrigins::of(&address)).map_err(|_| ADDRESS)?;
        let plain = |text: &str, more: &[u8]| {
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        let ok = |text: &Option<String>, more: &[u8]| text.as_deref().is_none_or(|text| plain(text, more));
        for (value, more, fault) in
            [(&region, &b"-"[..], REGION), (&account, b"", ACCOUNT), (&instance, b"-", INSTANCE), (&group, b"-", GROUP)]
        {
            if !ok(value, more) {
                return Err(fault);
            }
        }
        // The operator's own keys are for nobody else.
        let identity = match identity {
            None => None,
            Some(name) if !plain(&name, b"_") || OURS.iter().any(|ours| name.starts_with(ours)) => {
                return Err(IDENTITY);
            }
            Some(name) => Some(lookup(&name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).ok_or(IDENTITY)?),
        };
        let host = address.as_str().split('/').nth(2).unwrap_or_default().to_owned();
        match kind.as_deref() {
            Some("ibm") if !plain(&prefix, b"_-") => Err(PREFIX),
            Some("ibm") => {
                let (known_instance, known_region) = ibm::of_host(&host).unzip();
                let auth_url = auth_url.as_deref();
                let opened = auth_url.map(AllowedOrigins::of).unwrap_or_default();
                Ok(Self {
                    address,
                    prefix,
                    region: region.or(known_region),
                    account,
                    service: Service::Ibm {
                        group: group.unwrap_or_else(|| "default".to_owned()),
                        instance: instance.or(known_instance),
                        iam: iam::Address::of(auth_url, &opened).map_err(|_| AUTH_URL)?,
                        apikey: Secret::new(identity.ok_or("'identity' is required for kind \"ibm\"")?),
                    },
                })
            }
            Some("aws") if !plain(&prefix, b"/_-") => Err(PREFIX),
            Some("aws") => {
                if group.is_some() || instance.is_some() || auth_url.is_some() {
                    return Err("'group', 'instance' and 'auth_url' are for kind \"ibm\"");
                }
                let region = region.or_else(|| aws::region_of_host(&host));
                let region = region.ok_or("'region' is required, since the address does not tell it")?;
                let service = match identity {
                    Some(text) => Service::Aws(aws::KeyPair::read(&text).ok_or(KEY_PAIR)?),
                    None => match surroundings.role_region {
                        Some(own) if own == region => Service::Role,
                        Some(_) => return Err("without 'identity' it must be in the function's own region"),
                        None => return Err("'identity' is required: only AWS Lambda has a role of its own"),
                    },
                };
                Ok(Self { address, prefix, region: Some(region), account, service })
            }
            _ => Err(KINDS),
        }
    }

    /// The name of the secret of one credential: it holds the tenant's id and the credential's, which is new each time.
    pub(crate) fn name(&self, tenant: TenantId, id: &str) -> String {
        let stem = self.stem(tenant);
        let separator = if matches!(self.service, Service::Ibm { .. }) { "-" } else { "/" };
        stem + &id.replace('.', separator)
    }

    /// With what the names of all secrets of a tenant begin: of those that we write and of those that it refers to.
    pub(crate) fn stem(&self, tenant: TenantId) -> String {
        match self.service {
            Service::Ibm { .. } => format!("{}-{tenant}-", self.prefix),
            Service::Aws(_) | Service::Role => format!("{}/{tenant}/", self.prefix),
        }
    }
}

const ADDRESS: &str = "'address' must be an address such as https://host, without a query";
const KINDS: &str = "'kind' must be \"ibm\" or \"aws\"";
const PREFIX: &str = "'prefix' must be 1 to 64 letters, digits and the characters _ - (and / for kind \"aws\")";
const GROUP: &str = "'group' must be \"default\" or the id of a secret group";
const REGION: &str = "'region' must be a region such as \"us-south\"";
const ACCOUNT: &str = "'account' must be the id of an account";
const INSTANCE: &str = "'instance' must be the id of an instance of IBM Cloud Secrets Manager";
const AUTH_URL: &str = "'auth_url' must be an address such as https://iam.cloud.ibm.com";
const IDENTITY: &str =
    "'identity' must name a variable or secret of the deployment that is set, and none of the gateway's own";
const KEY_PAIR: &str =
    "'identity' must name a secret of the form {\"access_key_id\": \"…\", \"secret_access_key\": \"…\"}";
/// Secrets that are no identities.
const OURS: [&str; 2] = ["GATEWAY_ADMIN_KEY", "GATEWAY_SEALING_KEY"];

#[cfg(test)]
mod tests;
