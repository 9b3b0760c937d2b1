//! What is configured: tenants, providers, models, keys. Newtypes are parsed once at the border and cannot be wrong.

mod balancer;
mod capabilities;
mod head;
mod ids;
mod key;
mod names;
pub(crate) mod record;

pub use balancer::{Backend, Balancer};
pub use capabilities::{AnthropicVersion, MaxTokensParameter, Overrides, ThinkingForm};
pub(crate) use capabilities::{Capabilities, Family};
pub use head::{Change, Conflict, CredentialRef, Head, HeadError, Manager, Model, Provider, TenantRecord, decode_head};
pub use ids::{KeyHash, TenantId, random_uuid};
pub use key::{KeyRecord, Scope};
pub use names::{Alias, ModelId, NameError, ObjectName, TenantName};
