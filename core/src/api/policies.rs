//! `/v1/policies`: which keys may use or change what. And where that is asked: [`permit`] for management, [`may_read`] for
//! models.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::input::{Input, fields, required, string};
use super::{List, Route, Verb, json, write};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::json::Object;
use crate::model::{Action, Balancer, Change, Effect, Model, Policy, Resource, Scope, permits};
use crate::ports::{Platform, RequestBody};
use crate::tenancy::{self, Caller, no_policy};

/// What a body says of a policy.
struct Draft {
    action: Action,
    effect: Option<Effect>,
    resource: String,
    subject: String,
}

fn draft(bytes: &[u8]) -> Outcome<Draft> {
    let object = fields(bytes, &["action", "effect", "resource", "subject"])?;
    let action = Action::parse(&required(&object, "action")?)
        .ok_or_else(|| Failure::invalid("action", "'action' must be \"read\" or \"write\"."))?;
    let effect = effect(&object)?;
    let resource = Some(required(&object, "resource")?).filter(|text| Policy::knows_resource(text)).ok_or_else(|| {
        let message = "'resource' must be \"model:<uuid>\", \"provider:<uuid>\", \"load-balancer:<uuid>\", one of these \
                       with * for the uuid, \"tenant\", \"policies\" or \"*\".";
        Failure::invalid("resource", message)
    })?;
    let subject = Some(required(&object, "subject")?).filter(|text| Policy::knows_subject(text)).ok_or_else(|| {
        Failure::invalid(
            "subject",
            "'subject' must be \"key:<id>\", \"*\" or another name, at most 200 visible ASCII characters.",
        )
    })?;
    Ok(Draft { action, effect, resource, subject })
}

fn effect(object: &Object<'_>) -> Outcome<Option<Effect>> {
    let Some(text) = string(object, "effect")? else { return Ok(None) };
    let known = Effect::parse(&text);
    known.map(Some).ok_or_else(|| Failure::invalid("effect", "'effect' must be \"allow\" or \"deny\"."))
}

/// `POST /v1/policies`: 201; 200 with the same object when there is the same policy already.
pub(super) async fn create<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let Draft { action, effect, resource, subject } = draft(&input.admin().await?)?;
    let (uuid, created) = write::born(exchange.platform());
    let effect = effect.unwrap_or(Effect::Allow);
    let policy = Policy { uuid, action, effect, resource, subject, created, rest: Map::new() };
    let config = tenancy::change(gateway, exchange, caller, &Change::AddPolicy(policy.clone())).await?;
    let stored = config.head().policies.iter().find(|known| known.same(&policy)).unwrap_or(&policy);
    let status = if stored.uuid == policy.uuid { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &stored.to_value())
}

/// `GET /v1/policies`: the oldest first.
pub(super) fn list(caller: &Caller) -> Outcome<Response<Bytes>> {
    let all: Vec<Value> = caller.config.head().policies.iter().map(Policy::to_value).collect();
    json(StatusCode::OK, &List::of(all))
}

/// `GET /v1/policies/{id}`.
pub(super) fn get(caller: &Caller, uuid: &str) -> Outcome<Response<Bytes>> {
    json(StatusCode::OK, &caller.config.head().policy(uuid).ok_or_else(no_policy)?.to_value())
}

/// `DELETE /v1/policies` with a body, as older SDKs of IBM have it: the policy of that action, resource and subject, of
/// either effect if none is named. 204.
pub(super) async fn delete_described<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let draft = draft(&input.admin().await?)?;
    let described = |policy: &&Policy| {
        policy.action == draft.action
            && policy.resource == draft.resource
            && policy.subject == draft.subject
            && draft.effect.is_none_or(|effect| effect == policy.effect)
    };
    let uuids = caller.config.head().policies.iter().filter(described).map(|policy| policy.uuid.clone()).collect();
    write::remove(gateway, exchange, caller, &Change::RemovePolicies(uuids)).await
}

/// Whether policies let the caller do something. The operator, and keys with both scopes, are not bound by them: else a
/// tenant could lock itself out.
pub(super) fn may(caller: &Caller, action: Action, resource: Resource<'_>) -> bool {
    let policies = &caller.config.head().policies;
    match &caller.key {
        Some(key) if !policies.is_empty() && !Scope::ALL.iter().all(|scope| key.may(*scope)) => {
            permits(policies, &key.id, action, resource)
        }
        _ => true,
    }
}

/// Whether the caller may call a model, and see it in lists.
pub(in crate::api) fn may_read(caller: &Caller, model: &Model) -> bool {
    may(caller, Action::Read, Resource::Model(&model.uuid))
        && may(caller, Action::Read, Resource::Provider(&model.provider))
}

/// Whether the caller may call by a load balancer, and see it in lists.
pub(in crate::api) fn may_use(caller: &Caller, balancer: &Balancer) -> bool {
    may(caller, Action::Read, Resource::LoadBalancer(&balancer.uuid))
}

/// Whether the caller may see a provider in lists.
pub(super) fn may_see_provider(caller: &Caller, uuid: &str) -> bool {
    may(caller, Action::Read, Resource::Provider(uuid))
}

/// Refuses a management call that policies do not allow. Lists leave out what may not be read by themselves.
pub(super) fn permit(caller: &Caller, route: &Route<'_>) -> Outcome<()> {
    let rule = |verb: &Verb| if *verb == Verb::Get { Action::Read } else { Action::Write };
    let (action, resource) = match route {
        Route::Tenant(verb) | Route::Keys(verb) | Route::RateLimits(verb) | Route::RateLimit(verb, _) => {
            (rule(verb), Resource::Tenant)
        }
        Route::ExportTenant | Route::Usage(_) => (Action::Read, Resource::Tenant),
        Route::Key(_) => (Action::Write, Resource::Tenant),
        Route::Policies(verb) | Route::Policy(verb, _) => (rule(verb), Resource::Policies),
        Route::Balancers(Verb::Post) => (Action::Write, Resource::LoadBalancer("")),
        Route::Balancer(verb, uuid) => (rule(verb), Resource::LoadBalancer(uuid)),
        Route::CreateProvider(_) => (Action::Write, Resource::Provider("")),
        Route::Provider(verb, uuid) => (rule(verb), Resource::Provider(uuid)),
        Route::ReplaceProvider(uuid, _) => (Action::Write, Resource::Provider(uuid)),
        Route::AvailableModels(uuid) => (Action::Read, Resource::Provider(uuid)),
        Route::ProviderModels(verb, uuid) => {
            if *verb != Verb::Get && !may(caller, Action::Write, Resource::Model("")) {
                return Err(refused());
            }
            (rule(verb), Resource::Provider(uuid))
        }
        Route::ProviderModel(_, _, uuid) | Route::Model(Verb::Delete, uuid) => {
            let provider = caller.config.head().model(uuid).map(|model| model.provider.as_str());
            if !provider.is_none_or(|provider| may(caller, Action::Write, Resource::Provider(provider))) {
                return Err(refused());
            }
            (Action::Write, Resource::Model(uuid))
        }
        // The operator's own, public, or decided model by model.
        Route::Health
        | Route::Ready
        | Route::Token
        | Route::CreateTenant
        | Route::Tenants
        | Route::ImportTenant
        | Route::Providers(_)
        | Route::Balancers(_)
        | Route::Models(_)
        | Route::Model(..)
        | Route::Data(_)
        | Route::Explain => return Ok(()),
    };
    if may(caller, action, resource) { Ok(()) } else { Err(refused()) }
}

/// A policy stands against it.
pub(in crate::api) fn refused() -> Failure {
    Failure::new(ErrorCode::PermissionDenied, "A policy of the tenant does not let this key do that.")
}
