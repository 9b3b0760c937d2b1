//! `/v1/providers`: connections to providers. Credentials go to the tenant's secrets manager and never come back.

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT, VARY};
use http::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::input::{Input, bad_name, fields, optional, required};
use super::models;
use super::policies::may_see_provider;
use super::repeat::Repeat;
use super::{List, Mount, json, no_content};
use crate::credentials;
use crate::dialect::failure::{self, constant};
use crate::egress::{self, Departure};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::model::{Change, CredentialRef, Head, ObjectName, Provider, TenantId, random_uuid};
use crate::ports::{Platform, RequestBody};
use crate::provider::{self, ProviderKind, Settings};
use crate::secret::Credential;
use crate::sweep::{self, Swept};
use crate::tenancy::{self, Caller, no_provider};
use crate::token;

#[derive(Serialize)]
struct Brief<'a> {
    uuid: &'a str,
    name: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_reference: Option<Resource<'a>>,
}

/// A secret of the tenant's own, as it was given.
#[derive(Serialize)]
struct Resource<'a> {
    resource: &'a str,
}

#[derive(Serialize)]
struct View<'a> {
    #[serde(flatten)]
    brief: Brief<'a>,
    created: u64,
    models: Vec<models::View<'a>>,
}

fn brief(provider: &Provider) -> Brief<'_> {
    let resource = provider.credential.resource.as_deref();
    Brief {
        uuid: &provider.uuid,
        name: provider.name.as_str(),
        r#type: &provider.type_name,
        data_reference: resource.map(|resource| Resource { resource }),
    }
}

fn view<'a>(head: &'a Head, provider: &'a Provider) -> View<'a> {
    let models = head
        .models
        .iter()
        .filter(|model| model.provider == provider.uuid)
        .map(|model| models::View::of(model, provider))
        .collect();
    View { brief: brief(provider), created: provider.created, models }
}

/// A body of create and replace, judged.
struct Draft {
    name: ObjectName,
    settings: Settings,
    source: Source,
}

/// Where a provider's credential comes from.
enum Source {
    /// The body.
    Given(Credential),
    /// A secret of the tenant's own.
    Referred(CredentialRef),
}

/// `id` is that of the credential, new each time.
async fn draft<P: Platform>(
    gateway: &Gateway,
    platform: &P,
    tenant: TenantId,
    kind: ProviderKind,
    id: &str,
    body: &[u8],
) -> Outcome<Draft> {
    let object = fields(body, &["name", "data", "data_reference"])?;
    let name = ObjectName::parse(&required(&object, "name")?).map_err(bad_name("name"))?;
    let allowed = &gateway.deployment.allowed;
    let Some(reference) = optional(&object, "data_reference") else {
        let data = optional(&object, "data").ok_or_else(|| Failure::invalid("data", "'data' is required."))?;
        let (settings, credential) = provider::parse_data(kind, data, allowed).map_err(|error| {
            let code = if error.unknown { ErrorCode::UnknownField } else { ErrorCode::InvalidRequest };
            Failure::new(code, error.message).with_param(error.param)
        })?;
        return Ok(Draft { name, settings, source: Source::Given(credential) });
    };
    let wrong = |what: &'static str| Failure::invalid("data_reference", what);
    if optional(&object, "data").is_some() {
        return Err(wrong("Send 'data' or 'data_reference', not both."));
    }
    let resource = fields(reference.get().as_bytes(), &["resource"])
        .and_then(|members| required(&members, "resource"))
        .map_err(|_| wrong("'data_reference' must be {\"resource\": \"<ARN or CRN of a secret>\"}."))?;
    let reference = credentials::refer(gateway, tenant, &resource, id.to_owned()).ok_or_else(|| {
        wrong(
            "No configured secrets manager covers this reference. Send the credential as 'data', or ask the operator to \
             add the manager to SECRETS_MANAGERS with its account; the name of the secret must begin with the prefix of \
             the manager and the id of the tenant.",
        )
    })?;
    let value = credentials::referred(gateway, platform, tenant, &reference).await?;
    let unfit = || wrong("The secret must be a JSON object as in 'data'.");
    let data: &RawValue = serde_json::from_str(value.open()).map_err(|_| unfit())?;
    // Which member is wrong is said by names of ours.
    let (settings, _) = provider::parse_data(kind, data, allowed)
        .map_err(|error| Failure::invalid("data_reference", format!("The secret cannot be used: {}", error.message)))?;
    Ok(Draft { name, settings, source: Source::Referred(reference) })
}

/// Where the credential is from now on; one that was given is written there first.
async fn settle<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    id: &str,
    source: Source,
) -> Outcome<CredentialRef> {
    match source {
        Source::Referred(reference) => Ok(reference),
        Source::Given(credential) => {
            let manager = &caller.config.head().tenant.manager;
            credentials::keep(gateway, exchange, caller.tenant, manager, id, &credential).await
        }
    }
}

fn kind_of(segment: &str) -> Outcome<ProviderKind> {
    ProviderKind::from_path(segment).ok_or_else(|| {
        let known = ProviderKind::ALL.map(ProviderKind::as_str).join(", ");
        Failure::new(ErrorCode::ProviderNotFound, format!("There is no such provider type. Known types: {known}."))
    })
}

/// `POST /v1/providers/{type}`: the secret first, the head last. 201, also for a repeat of the same request.
pub(super) async fn create<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    kind: &str,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let kind = kind_of(kind)?;
    let platform = exchange.platform();
    let headers = input.headers();
    let body = input.admin().await?;
    let route = format!("providers/{}", kind.as_str());
    let repeat = Repeat::read(gateway, headers, caller.tenant, &route, &body)?;
    let head = caller.config.head();
    let mut random = [0_u8; 16];
    platform.fill_random(&mut random);
    let (uuid, id) = match &repeat {
        None => {
            let uuid = random_uuid(random).to_string();
            (uuid.clone(), uuid)
        }
        Some(repeat) => {
            let uuid = repeat.id();
            if let Some(made) = head.provider(&uuid) {
                repeat.same(&made.rest)?;
                return json(StatusCode::CREATED, &brief(made));
            }
            // The uuid may have been another provider's that is gone; its credential's id must be new.
            let id = format!("{uuid}.{:08x}", u128::from_be_bytes(random) >> 96);
            (uuid, id)
        }
    };
    let draft = draft(gateway, platform, caller.tenant, kind, &id, &body).await?;
    let mut provider = Provider {
        uuid: uuid.clone(),
        name: draft.name,
        type_name: kind.as_str().to_owned(),
        settings: draft.settings,
        credential: CredentialRef::new(head.tenant.manager.clone(), id.clone()),
        created: platform.now_ms() / 1000,
        rest: Map::new(),
    };
    if let Some(repeat) = &repeat {
        repeat.note(&mut provider.rest);
    }
    // A conflict that is known now costs no secret.
    head.apply(Change::AddProvider(provider.clone())).map_err(tenancy::conflict)?;
    provider.credential = settle(gateway, exchange, caller, &id, draft.source).await?;
    if let Err(failure) = commit(gateway, exchange, caller, &provider, Change::AddProvider(provider.clone())).await {
        let Some(repeat) = repeat.filter(|_| failure.code == ErrorCode::Conflict) else { return Err(failure) };
        // The same request may have come through first.
        let newest = tenancy::newest(gateway, exchange, caller.tenant).await?;
        let made = newest.as_ref().and_then(|config| config.head().provider(&uuid)).ok_or(failure)?;
        repeat.same(&made.rest)?;
        return json(StatusCode::CREATED, &brief(made));
    }
    // Housekeeping while we are here; a fault in it is none of the caller's.
    let _ = sweep::tenant(gateway, exchange, caller.tenant, &mut Swept::default()).await;
    json(StatusCode::CREATED, &brief(&provider))
}

/// Changes the head to a provider whose secret was just written; takes the secret back if that fails for sure.
async fn commit<P: Platform>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    provider: &Provider,
    change: Change,
) -> Outcome<()> {
    let Err(failure) = tenancy::change(gateway, exchange, caller, &change).await else { return Ok(()) };
    if failure.code == ErrorCode::StoreUnavailable {
        // The outcome may be unknown; what is true is what the store says now.
        match tenancy::newest(gateway, exchange, caller.tenant).await {
            Ok(Some(config))
                if config.head().provider(&provider.uuid).is_some_and(|p| p.credential == provider.credential) =>
            {
                return Ok(());
            }
            Ok(_) => {}
            // Still unknown: the sweep will judge.
            Err(_) => return Err(failure),
        }
    }
    let _ = credentials::discard(gateway, exchange, caller.tenant, &provider.credential).await;
    Err(failure)
}

/// `PUT /v1/providers/{id}/{type}`: another name, settings and credential; uuid and models stay. 200.
pub(super) async fn replace<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &Exchange<P>,
    caller: &Caller,
    uuid: &str,
    kind: &str,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let head = caller.config.head();
    let old = head.provider(uuid).ok_or_else(no_provider)?;
    let kind = kind_of(kind)?;
    if old.type_name != kind.as_str() {
        return Err(Failure::invalid("type", "The type of a provider cannot be changed."));
    }
    let platform = exchange.platform();
    let mut random = [0_u8; 4];
    platform.fill_random(&mut random);
    // A new id each time: the old secret stays whole until the head points to the new one.
    let id = format!("{uuid}.{:08x}", u32::from_be_bytes(random));
    let body = input.admin().await?;
    let draft = draft(gateway, platform, caller.tenant, kind, &id, &body).await?;
    let mut provider = Provider { name: draft.name, settings: draft.settings, ..old.clone() };
    head.apply(Change::ReplaceProvider(provider.clone())).map_err(tenancy::conflict)?;
    provider.credential = settle(gateway, exchange, caller, &id, draft.source).await?;
    commit(gateway, exchange, caller, &provider, Change::ReplaceProvider(provider.clone())).await?;
    let _ = credentials::discard(gateway, exchange, caller.tenant, &old.credential).await;
    json(StatusCode::OK, &brief(&provider))
}

/// `DELETE /v1/providers/{id}`: its models go with it. 204, also when the secret has to wait for the sweep.
pub(super) async fn delete<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    caller: &Caller,
    uuid: &str,
) -> Outcome<Response<Bytes>> {
    let reference = caller.config.head().provider(uuid).ok_or_else(no_provider)?.credential.clone();
    tenancy::change(gateway, exchange, caller, &Change::RemoveProvider(uuid.to_owned())).await?;
    if let Err(error) = credentials::discard(gateway, exchange, caller.tenant, &reference).await {
        exchange.line().cause = Some(format!("secret left to the sweep: {error}"));
    }
    Ok(no_content())
}

/// `GET /v1/providers/{id}`.
pub(super) fn get(caller: &Caller, uuid: &str) -> Outcome<Response<Bytes>> {
    let head = caller.config.head();
    let provider = head.provider(uuid).ok_or_else(no_provider)?;
    json(StatusCode::OK, &view(head, provider))
}

/// `GET /v1/providers`: a bare array for the seed's `jq '.[]'`, a list object for IBM's SDKs; `?format=` decides
/// over both, `?name=` filters.
pub(super) fn list(caller: &Caller, mount: Mount, request: &http::request::Parts) -> Outcome<Response<Bytes>> {
    let query = request.uri.query().unwrap_or_default();
    let parameter = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let curl = request.headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"curl/"));
    let array = match parameter("format").as_deref() {
        Some("array") => true,
        Some("list") => false,
        Some(_) => return Err(Failure::invalid("format", "'format' must be \"array\" or \"list\".")),
        None => mount == Mount::Plain || curl,
    };
    let head = caller.config.head();
    let name = parameter("name");
    let views: Vec<View<'_>> = head
        .providers
        .iter()
        .filter(|p| may_see_provider(caller, &p.uuid))
        .filter(|p| name.as_ref().is_none_or(|name| p.name.as_str().eq_ignore_ascii_case(name)))
        .map(|p| view(head, p))
        .collect();
    let mut response = if array { json(StatusCode::OK, &views)? } else { json(StatusCode::OK, &List::of(views))? };
    if mount == Mount::Ibm {
        response.headers_mut().insert(VARY, HeaderValue::from_static("User-Agent"));
    }
    Ok(response)
}

/// `GET /v1/providers/{id}/models/available`: what the provider itself lists; `data: null` if it cannot be asked.
pub(super) async fn available<P: Platform>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    caller: &Caller,
    uuid: &str,
) -> Outcome<Response<Bytes>> {
    let provider = caller.config.head().provider(uuid).ok_or_else(no_provider)?;
    let Some(kind) = provider.kind() else { return json(StatusCode::OK, &List::of(Value::Null)) };
    let credential = credentials::read(gateway, exchange, caller.tenant, &provider.credential).await?;
    let platform = exchange.platform().clone();
    let deadline = platform.now_ms().saturating_add(gateway.deployment.timeouts.first_content_ms);
    let settings = &provider.settings;
    let (uri, private_allowed) = provider::models_address(kind, settings, &gateway.deployment.allowed)?;
    let token = match kind {
        ProviderKind::WatsonxAi => Some(token::bearer(gateway, &platform, settings, &credential, deadline).await?),
        _ => None,
    };
    let mut headers = provider::models_headers(kind);
    let identity = provider::Identity { credential: &credential, settings, token: token.as_ref(), stream: false };
    provider::authenticate(kind, &identity, &Method::GET, &uri, &mut headers, b"", platform.now_ms())?;
    exchange.sent().add();
    let departure = Departure { method: Method::GET, uri: &uri, private_allowed, headers, body: None };
    let response = egress::send(&platform, departure, deadline).await?;
    let (head, mut body) = response.into_parts();
    exchange.line().upstream_status = Some(head.status.as_u16());
    if head.status != StatusCode::OK {
        let bytes = egress::read_all(&platform, &mut body, limits::UPSTREAM_ERROR_BYTES, deadline).await;
        let mut failure = provider::classify(kind, head.status, &head.headers, &bytes.unwrap_or_default());
        if failure.status().is_client_error() && failure.status() != StatusCode::TOO_MANY_REQUESTS {
            // The caller's request holds nothing that the provider could have refused.
            failure = constant(ErrorCode::UpstreamError);
        }
        failure::scrub(&mut failure, credential.values().map(crate::secret::Secret::open));
        return Err(failure);
    }
    let bytes = egress::read_all(&platform, &mut body, limits::UPSTREAM_BODY_BYTES, deadline).await?;
    let known = provider::read_models(kind, &bytes)
        .ok_or_else(|| constant(ErrorCode::UpstreamProtocol).caused_by("list of models"))?;
    #[derive(Serialize)]
    struct Entry<'a> {
        id: String,
        object: &'static str,
        created: u64,
        owned_by: &'a str,
    }
    let owned_by = models::owner(provider);
    let data: Vec<Entry<'_>> =
        known.into_iter().map(|(id, created)| Entry { id, object: "model", created, owned_by: &owned_by }).collect();
    json(StatusCode::OK, &List::of(data))
}
