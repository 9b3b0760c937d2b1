//! Raw path and method to route. The path is matched once and as it came: nothing is decoded or normalised but one
//! doubled slash before `/v1` and one slash at the end.

use http::Method;

use crate::provider::Endpoint;

/// A route with its path parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Health,
    Ready,
    Token,
    CreateTenant,
    Tenant(Verb),
    Tenants,
    ExportTenant,
    ImportTenant,
    Providers(Mount),
    CreateProvider(&'a str),
    Provider(Verb, &'a str),
    ReplaceProvider(&'a str, &'a str),
    AvailableModels(&'a str),
    ProviderModels(Verb, &'a str),
    ProviderModel(Verb, &'a str, &'a str),
    Models(Mount),
    Model(Verb, &'a str),
    Keys(Verb),
    Key(&'a str),
    RateLimits(Verb),
    RateLimit(Verb, &'a str),
    Policies(Verb),
    Policy(Verb, &'a str),
    Balancers(Verb),
    Balancer(Verb, &'a str),
    Data(Endpoint),
    Explain,
    Usage(Whose),
}

/// Whose usage is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The tenant's.
    Tenant,
    /// That of the key which asks.
    Key,
}

/// Under which of the two prefixes a route was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mount {
    /// `/v1`: the seed's API.
    Plain,
    /// `/ml/gateway/v1`: the shape IBM's SDKs insist on.
    Ibm,
}

/// The methods that routes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// What a method and a path stand for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Route(Route<'a>),
    /// The path exists with these methods.
    Methods(&'static str),
    Nothing,
}

impl Route<'_> {
    /// For the log: the route without its parameters.
    pub(crate) const fn template(&self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Token => "/identity/token",
            Self::CreateTenant | Self::Tenant(_) => "/v1/tenant",
            Self::Tenants => "/v1/tenants",
            Self::ExportTenant => "/v1/tenant/export",
            Self::ImportTenant => "/v1/tenants/import",
            Self::Providers(_) => "/v1/providers",
            Self::CreateProvider(_) => "/v1/providers/{type}",
            Self::Provider(..) => "/v1/providers/{provider_id}",
            Self::ReplaceProvider(..) => "/v1/providers/{provider_id}/{type}",
            Self::AvailableModels(_) => "/v1/providers/{provider_id}/models/available",
            Self::ProviderModels(..) => "/v1/providers/{provider_id}/models",
            Self::ProviderModel(..) => "/v1/providers/{provider_id}/models/{model_uuid}",
            Self::Models(_) => "/v1/models",
            Self::Model(..) => "/v1/models/{model}",
            Self::Keys(_) => "/v1/keys",
            Self::Key(_) => "/v1/keys/{key_id}",
            Self::RateLimits(_) => "/v1/rate-limits",
            Self::RateLimit(..) => "/v1/rate-limits/{rate_limit_id}",
            Self::Policies(_) => "/v1/policies",
            Self::Policy(..) => "/v1/policies/{policy_id}",
            Self::Balancers(_) => "/v1/load-balancers",
            Self::Balancer(..) => "/v1/load-balancers/{load_balancer_id}",
            Self::Explain => "/v1/route/explain",
            Self::Usage(Whose::Tenant) => "/v1/usage",
            Self::Usage(Whose::Key) => "/v1/usage/user",
            Self::Data(Endpoint::Chat) => "/v1/chat/completions",
            Self::Data(Endpoint::Completions) => "/v1/completions",
            Self::Data(Endpoint::Embeddings) => "/v1/embeddings",
        }
    }
}

/// Finds the route of a raw path.
pub(crate) fn route<'a>(method: &Method, path: &'a str) -> Found<'a> {
    match path {
        "/healthz" => return only(method, &[Verb::Get], "GET, HEAD", |_| Route::Health),
        "/identity/token" => return only(method, &[Verb::Post], "POST", |_| Route::Token),
        "/readyz" => return only(method, &[Verb::Get], "GET, HEAD", |_| Route::Ready),
        // Where IBM's SDKs look for usage, and for nothing else.
        "/ml/v1/usage" => return usage(method, Whose::Tenant),
        "/ml/v1/usage/user" => return usage(method, Whose::Key),
        _ => {}
    }
    let (mount, rest) = match path.strip_prefix("/ml/gateway") {
        Some(rest) => (Mount::Ibm, rest),
        None => (Mount::Plain, path),
    };
    let rest = rest.strip_prefix("//v1/").or_else(|| rest.strip_prefix("/v1/"));
    let Some(rest) = rest else { return Found::Nothing };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // A model's name may hold slashes.
    if let Some(name) = rest.strip_prefix("models/") {
        if name.is_empty() {
            return Found::Nothing;
        }
        return only(method, &[Verb::Get, Verb::Delete], "GET, HEAD, DELETE", |verb| Route::Model(verb, name));
    }
    let mut parts = rest.split('/');
    let segments = [parts.next(), parts.next(), parts.next(), parts.next()];
    if parts.next().is_some() || segments.iter().flatten().any(|part| part.is_empty()) {
        return Found::Nothing;
    }
    match segments {
        [Some("tenant"), None, ..] => only(
            method,
            &[Verb::Get, Verb::Post, Verb::Put, Verb::Patch, Verb::Delete],
            "GET, HEAD, POST, PUT, PATCH, DELETE",
            |verb| if verb == Verb::Post { Route::CreateTenant } else { Route::Tenant(verb) },
        ),
        [Some("tenant"), Some("export"), None, _] => only(method, &[Verb::Post], "POST", |_| Route::ExportTenant),
        [Some("load-balancers"), None, ..] => {
            only(method, &[Verb::Get, Verb::Post], "GET, HEAD, POST", Route::Balancers)
        }
        [Some("load-balancers"), Some(id), None, _] => {
            only(method, &[Verb::Get, Verb::Put, Verb::Delete], "GET, HEAD, PUT, DELETE", |verb| {
                Route::Balancer(verb, id)
            })
        }
        [Some("tenants"), None, ..] => only(method, &[Verb::Get], "GET, HEAD", |_| Route::Tenants),
        [Some("tenants"), Some("import"), None, _] => only(method, &[Verb::Post], "POST", |_| Route::ImportTenant),
        [Some("providers"), None, ..] => only(method, &[Verb::Get], "GET, HEAD", |_| Route::Providers(mount)),
        [Some("providers"), Some(id), None, _] => {
            only(method, &[Verb::Get, Verb::Post, Verb::Delete], "GET, HEAD, POST, DELETE", |verb| match verb {
                Verb::Post => Route::CreateProvider(id),
                verb => Route::Provider(verb, id),
            })
        }
        [Some("providers"), Some(id), Some("models"), None] => {
            only(method, &[Verb::Get, Verb::Post], "GET, HEAD, POST", |verb| Route::ProviderModels(verb, id))
        }
        [Some("providers"), Some(id), Some("models"), Some("available")] => {
            only(method, &[Verb::Get], "GET, HEAD", |_| Route::AvailableModels(id))
        }
        [Some("providers"), Some(id), Some("models"), Some(model)] => {
            only(method, &[Verb::Put, Verb::Patch, Verb::Delete], "PUT, PATCH, DELETE", |verb| {
                Route::ProviderModel(verb, id, model)
            })
        }
        [Some("providers"), Some(id), Some(kind), None] => {
            only(method, &[Verb::Put], "PUT", |_| Route::ReplaceProvider(id, kind))
        }
        [Some("models"), None, ..] => only(method, &[Verb::Get], "GET, HEAD", |_| Route::Models(mount)),
        [Some("keys"), None, ..] => only(method, &[Verb::Get, Verb::Post], "GET, HEAD, POST", Route::Keys),
        [Some("keys"), Some(id), None, _] => only(method, &[Verb::Delete], "DELETE", |_| Route::Key(id)),
        [Some("rate-limits"), None, ..] => only(method, &[Verb::Get, Verb::Post], "GET, HEAD, POST", Route::RateLimits),
        [Some("rate-limits"), Some(id), None, _] => {
            only(method, &[Verb::Get, Verb::Put, Verb::Delete], "GET, HEAD, PUT, DELETE", |verb| {
                Route::RateLimit(verb, id)
            })
        }
        [Some("policies"), None, ..] => {
            only(method, &[Verb::Get, Verb::Post, Verb::Delete], "GET, HEAD, POST, DELETE", Route::Policies)
        }
        [Some("policies"), Some(id), None, _] => {
            only(method, &[Verb::Get, Verb::Delete], "GET, HEAD, DELETE", |verb| Route::Policy(verb, id))
        }
        [Some("chat"), Some("completions"), None, _] => data(method, Endpoint::Chat),
        [Some("completions"), None, ..] => data(method, Endpoint::Completions),
        [Some("embeddings"), None, ..] => data(method, Endpoint::Embeddings),
        [Some("usage"), None, ..] => usage(method, Whose::Tenant),
        [Some("usage"), Some("user"), None, _] => usage(method, Whose::Key),
        [Some("route"), Some("explain"), None, _] => only(method, &[Verb::Post], "POST", |_| Route::Explain),
        _ => Found::Nothing,
    }
}

fn usage<'a>(method: &Method, whose: Whose) -> Found<'a> {
    only(method, &[Verb::Get], "GET, HEAD", |_| Route::Usage(whose))
}

fn data<'a>(method: &Method, endpoint: Endpoint) -> Found<'a> {
    only(method, &[Verb::Post], "POST", |_| Route::Data(endpoint))
}

fn only<'a>(method: &Method, verbs: &[Verb], allow: &'static str, make: impl FnOnce(Verb) -> Route<'a>) -> Found<'a> {
    let verb = match *method {
        Method::GET | Method::HEAD => Some(Verb::Get),
        Method::POST => Some(Verb::Post),
        Method::PUT => Some(Verb::Put),
        Method::PATCH => Some(Verb::Patch),
        Method::DELETE => Some(Verb::Delete),
        _ => None,
    };
    match verb.filter(|verb| verbs.contains(verb)) {
        Some(verb) => Found::Route(make(verb)),
        None => Found::Methods(allow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_found_under_both_mounts() {
        use Route as R;
        for (method, path, want) in [
            ("POST", "tenant", R::CreateTenant),
            ("GET", "tenant", R::Tenant(Verb::Get)),
            ("PATCH", "tenant", R::Tenant(Verb::Patch)),
            ("POST", "tenant/export", R::ExportTenant),
            ("GET", "tenants", R::Tenants),
            ("POST", "tenants/import", R::ImportTenant),
            ("POST", "providers/openai", R::CreateProvider("openai")),
            ("GET", "providers/u", R::Provider(Verb::Get, "u")),
            ("DELETE", "providers/u", R::Provider(Verb::Delete, "u")),
            ("PUT", "providers/u/openai", R::ReplaceProvider("u", "openai")),
            ("GET", "providers/u/models/available", R::AvailableModels("u")),
            ("POST", "providers/u/models", R::ProviderModels(Verb::Post, "u")),
            ("PUT", "providers/u/models/m", R::ProviderModel(Verb::Put, "u", "m")),
            ("GET", "models/azure/gpt-4o", R::Model(Verb::Get, "azure/gpt-4o")),
            ("DELETE", "models/m", R::Model(Verb::Delete, "m")),
            ("GET", "keys", R::Keys(Verb::Get)),
            ("DELETE", "keys/k", R::Key("k")),
            ("POST", "rate-limits", R::RateLimits(Verb::Post)),
            ("PUT", "rate-limits/r", R::RateLimit(Verb::Put, "r")),
            ("DELETE", "policies", R::Policies(Verb::Delete)),
            ("GET", "policies/p", R::Policy(Verb::Get, "p")),
            ("POST", "chat/completions", R::Data(Endpoint::Chat)),
            ("POST", "completions", R::Data(Endpoint::Completions)),
            ("POST", "embeddings", R::Data(Endpoint::Embeddings)),
            ("POST", "route/explain", R::Explain),
            ("POST", "load-balancers", R::Balancers(Verb::Post)),
            ("GET", "load-balancers/b", R::Balancer(Verb::Get, "b")),
            ("PUT", "load-balancers/b", R::Balancer(Verb::Put, "b")),
            ("GET", "usage", R::Usage(Whose::Tenant)),
            ("GET", "usage/user", R::Usage(Whose::Key)),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for prefix in ["/v1/", "//v1/", "/ml/gateway/v1/", "/ml/gateway//v1/"] {
                for end in ["", "/"] {
                    let full = format!("{prefix}{path}{end}");
                    assert_eq!(route(&method, &full), Found::Route(want), "{full}");
                }
            }
        }
        assert_eq!(route(&Method::GET, "/v1/models"), Found::Route(R::Models(Mount::Plain)));
        assert_eq!(route(&Method::GET, "/ml/v1/usage"), Found::Route(R::Usage(Whose::Tenant)));
        assert_eq!(route(&Method::GET, "/ml/v1/usage/user"), Found::Route(R::Usage(Whose::Key)));
        assert_eq!(route(&Method::GET, "/ml/gateway/v1/models"), Found::Route(R::Models(Mount::Ibm)));
        assert_eq!(route(&Method::GET, "/ml/gateway/v1/providers"), Found::Route(R::Providers(Mount::Ibm)));
    }

    #[test]
    fn tricks_with_paths_lead_nowhere() {
        for path in [
            "",
            "/",
            "/v1",
            "/v1/",
            "v1/models",
            "///v1/models",
            "/V1/models",
            "/v1//models",
            "/v1/models//",
            "/v1/./models",
            "/v1/%6dodels",
            "/v1/models%2f",
            "/v1;x/models",
            "/x/v1/models",
            "/ml/v1/models",
            "/ml/gateway/ml/gateway/v1/models",
            "/v1/providers//models",
            "/v1/tenant/x",
            "/v1/keys/a/b",
            "/v1/providers/a/models/b/c",
            "/healthz/",
            "/v1/healthz",
            "/v1/chat",
            "/v1/route",
            "/v1/usage/x",
            "/v1/usage/user/x",
            "/v1/chat/completions/x",
        ] {
            assert_eq!(route(&Method::GET, path), Found::Nothing, "{path}");
        }
        assert_eq!(route(&Method::GET, "/v1/chat/completions"), Found::Methods("POST"));
        assert_eq!(route(&Method::TRACE, "/v1/models"), Found::Methods("GET, HEAD"));
        assert_eq!(route(&Method::PUT, "/v1/providers/u/models"), Found::Methods("GET, HEAD, POST"));
        assert_eq!(route(&Method::PUT, "/v1/policies/p"), Found::Methods("GET, HEAD, DELETE"));
        assert_eq!(route(&Method::PATCH, "/v1/rate-limits/r"), Found::Methods("GET, HEAD, PUT, DELETE"));
    }
}
