//! What is configured: tenants, providers, models, keys. Newtypes are parsed once at the border and cannot be wrong.

mod balancer;
mod capabilities;
mod change;
pub(crate) mod duration;
mod enabled;
mod head;
mod ids;
mod key;
mod limit;
mod names;
mod policy;
mod provider;
pub(crate) mod record;
mod tenant;

pub use balancer::{Backend, Balancer};
pub use capabilities::{AnthropicVersion, MaxTokensParameter, Overrides, ThinkingForm};
pub(crate) use capabilities::{Capabilities, Family};
pub use change::{Change, Conflict};
pub use enabled::Model;
pub use head::{Head, HeadError, decode_head};
pub use ids::{KeyHash, TenantId, random_uuid};
pub use key::{KeyRecord, Scope};
pub use limit::{Bucket, LimitScope, RateLimit};
pub use names::{Alias, ModelId, NameError, ObjectName, TenantName};
pub(crate) use policy::permits;
pub use policy::{Action, Effect, Policy, Resource};
pub use provider::{CredentialRef, Manager, Provider};
pub use tenant::TenantRecord;
