//! The endpoints: one file each, reached through one table of routes.

mod balancers;
mod data;
pub(crate) mod health;
mod input;
mod keys;
mod models;
mod policies;
mod providers;
mod rate_limits;
mod repeat;
mod router;
mod tenant;
pub(crate) mod token;
mod transfer;
mod usage;
mod write;

use bytes::Bytes;
use http::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::{Gateway, Reply};
use crate::model::{Change, Scope};
use crate::ports::{Platform, RequestBody};
use crate::tenancy::{self, Caller, Identity};

pub(crate) use router::{Found, Mount, Route, Verb, Whose, route};

/// Dispatches an authenticated request.
pub(crate) async fn serve<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    route: &Route<'_>,
    identity: Identity,
    head: &http::request::Parts,
    body: B,
) -> Outcome<Reply<P>> {
    let body = input::Input::new(head, body);
    if matches!(route, Route::CreateTenant | Route::Tenants | Route::ImportTenant) {
        operator(&identity)?;
        return operate(gateway, exchange, route, body).await.map(Reply::Full);
    }
    let manages = !matches!(route, Route::Data(_) | Route::Explain);
    let caller = tenancy::act(gateway, exchange, identity, &head.headers, manages).await?;
    match route {
        Route::Data(endpoint) => {
            caller.require(Scope::Inference)?;
            return data::call(gateway, exchange, caller, *endpoint, body).await;
        }
        Route::Explain => {
            caller.require(Scope::Inference)?;
            return data::explain(gateway, exchange, caller, body).await.map(Reply::Full);
        }
        _ => {}
    }
    match route {
        Route::Models(mount) => return models::list(&caller, *mount).map(Reply::Full),
        Route::Model(Verb::Get, name) => return models::get(&caller, name).map(Reply::Full),
        Route::Usage(Whose::Key) => return usage::get(exchange, &caller, Whose::Key, head).await.map(Reply::Full),
        _ => {}
    }
    caller.require(Scope::Admin)?;
    policies::permit(&caller, route)?;
    // Of its own in memory: what data calls hold of the stack is not made larger by what management would.
    Box::pin(manage(gateway, exchange, route, &caller, head, body)).await.map(Reply::Full)
}

/// The operator's own routes.
async fn operate<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    route: &Route<'_>,
    body: input::Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    match route {
        Route::CreateTenant => tenant::create(gateway, exchange, body).await,
        Route::ImportTenant => transfer::import(gateway, exchange, body).await,
        _ => tenant::list(exchange).await,
    }
}

/// Management of a tenant.
async fn manage<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    route: &Route<'_>,
    caller: &Caller,
    head: &http::request::Parts,
    body: input::Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    if let Some(change) = removal(route) {
        return write::remove(gateway, exchange, caller, &change).await;
    }
    match route {
        Route::Tenant(Verb::Get) => tenant::get(caller),
        Route::Tenant(Verb::Delete) => tenant::delete(gateway, exchange, caller).await,
        Route::Tenant(_) => tenant::change(gateway, exchange, caller, body).await,
        Route::ExportTenant => transfer::export(gateway, exchange, caller, body).await,
        Route::Providers(mount) => providers::list(caller, *mount, head),
        Route::CreateProvider(kind) => providers::create(gateway, exchange, caller, kind, body).await,
        Route::Provider(Verb::Delete, uuid) => providers::delete(gateway, exchange, caller, uuid).await,
        Route::Provider(_, uuid) => providers::get(caller, uuid),
        Route::ReplaceProvider(uuid, kind) => providers::replace(gateway, exchange, caller, uuid, kind, body).await,
        Route::AvailableModels(uuid) => providers::available(gateway, exchange, caller, uuid).await,
        Route::ProviderModels(Verb::Post, uuid) => models::enable(gateway, exchange, caller, uuid, body).await,
        Route::ProviderModels(_, uuid) => models::list_of_provider(caller, uuid),
        Route::ProviderModel(verb, provider, uuid) => {
            models::change(gateway, exchange, caller, *verb, provider, uuid, body).await
        }
        Route::Keys(Verb::Post) => keys::create(gateway, exchange, caller, body).await,
        Route::Keys(_) => keys::list(exchange, caller).await,
        Route::Balancers(Verb::Post) => balancers::create(gateway, exchange, caller, body).await,
        Route::Balancers(_) => balancers::list(exchange, caller),
        Route::Balancer(Verb::Put, uuid) => balancers::replace(gateway, exchange, caller, uuid, body).await,
        Route::Balancer(_, uuid) => balancers::get(exchange, caller, uuid),
        Route::Key(id) => keys::revoke(gateway, exchange, caller, id).await,
        Route::RateLimits(Verb::Post) => rate_limits::create(gateway, exchange, caller, body).await,
        Route::RateLimits(_) => rate_limits::list(caller),
        Route::RateLimit(Verb::Put, uuid) => rate_limits::replace(gateway, exchange, caller, uuid, body).await,
        Route::RateLimit(_, uuid) => rate_limits::get(caller, uuid),
        Route::Policies(Verb::Post) => policies::create(gateway, exchange, caller, body).await,
        Route::Policies(Verb::Delete) => policies::delete_described(gateway, exchange, caller, body).await,
        Route::Policies(_) => policies::list(caller),
        Route::Policy(_, uuid) => policies::get(caller, uuid),
        Route::Usage(whose) => usage::get(exchange, caller, *whose, head).await,
        Route::Health
        | Route::Ready
        | Route::Token
        | Route::CreateTenant
        | Route::Tenants
        | Route::ImportTenant
        | Route::Data(_)
        | Route::Explain
        | Route::Models(_)
        | Route::Model(..) => Err(Failure::internal("route served elsewhere")),
    }
}

/// What a route takes out of the head, if it does nothing else.
fn removal(route: &Route<'_>) -> Option<Change> {
    let text = |uuid: &&str| String::from(*uuid);
    Some(match route {
        // A uuid only, since a name may stand for several.
        Route::Model(Verb::Delete, uuid) => Change::RemoveModel { uuid: text(uuid), provider: None },
        Route::ProviderModel(Verb::Delete, provider, uuid) => {
            Change::RemoveModel { uuid: text(uuid), provider: Some(text(provider)) }
        }
        Route::Balancer(Verb::Delete, uuid) => Change::RemoveBalancer(text(uuid)),
        Route::RateLimit(Verb::Delete, uuid) => Change::RemoveRateLimit(text(uuid)),
        Route::Policy(Verb::Delete, uuid) => Change::RemovePolicies(vec![text(uuid)]),
        _ => return None,
    })
}

fn operator(identity: &Identity) -> Outcome<()> {
    match identity {
        Identity::Operator => Ok(()),
        Identity::Tenant(_) => Err(Failure::new(
            ErrorCode::PermissionDenied,
            "This endpoint needs the operator key of the deployment (GATEWAY_ADMIN_KEY).",
        )),
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Outcome<Response<Bytes>> {
    let bytes = serde_json::to_vec(value).map_err(|_| Failure::internal("answer cannot be encoded"))?;
    Ok(json_bytes(status, Bytes::from(bytes)))
}

/// A JSON answer that is encoded already.
pub(crate) fn json_bytes(status: StatusCode, bytes: Bytes) -> Response<Bytes> {
    let mut response = Response::new(bytes);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 204 without a body.
pub(crate) fn no_content() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The shape of every list.
#[derive(Serialize)]
pub(crate) struct List<T> {
    object: &'static str,
    data: T,
}

impl<T> List<T> {
    pub(crate) const fn of(data: T) -> Self {
        Self { object: "list", data }
    }
}
