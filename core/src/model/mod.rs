//! What is configured: tenants, providers, models, keys. Newtypes are parsed once at the border and cannot be wrong.

mod balancer;
mod capabilities;
pub(crate) mod duration;
mod head;
mod ids;
mod key;
mod limit;
mod names;
mod policy;
pub(crate) mod record;

pub use balancer::{Backend, Balancer};
pub use capabilities::{AnthropicVersion, MaxTokensParameter, Overrides, ThinkingForm};
pub(crate) use capabilities::{Capabilities, Family};
pub use head::{Change, Conflict, CredentialRef, Head, HeadError, Manager, Model, Provider, TenantRecord, decode_head};
pub use ids::{KeyHash, TenantId, random_uuid};
pub use key::{KeyRecord, Scope};
pub use limit::{Bucket, LimitScope, RateLimit};
pub use names::{Alias, ModelId, NameError, ObjectName, TenantName};
pub(crate) use policy::permits;
pub use policy::{Action, Effect, Policy, Resource};
