//! Request headers that a gateway must never send to a provider.

use crate::{http::Head, provider::Provider};

/// Never forwarded, whatever their value, unless they are the provider's own.
const FORBIDDEN: &[&str] = &[
    "anthropic-beta",
    "anthropic-version",
    "api-key",
    "cookie",
    "forwarded",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "via",
    "x-api-key",
    "x-real-ip",
];
const FORBIDDEN_PREFIXES: &[&str] = &["x-forwarded-", "x-stainless-", "x-amz-", "x-amzn-", "x-gateway-"];

/// One sentence for each rule that the headers of a request break.
pub(crate) fn violations(head: &Head, provider: Provider, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, (name, value)) in head.headers.iter().enumerate() {
        let forbidden = FORBIDDEN.contains(&name.as_str()) || FORBIDDEN_PREFIXES.iter().any(|p| name.starts_with(p));
        if forbidden && !provider.headers().contains(&name.as_str()) {
            found.push(format!("header {name} must not be forwarded"));
        }
        if head.headers.iter().take(at).any(|(earlier, _)| earlier == name) {
            found.push(format!("header {name} is sent more than once"));
        }
        match name.as_str() {
            "accept-encoding" if !value.eq_ignore_ascii_case("identity") => {
                found.push(format!("accept-encoding is {value:?}, not identity"));
            }
            "connection" => found.extend(connection_options(value, head)),
            _ => {}
        }
    }
    if head.value("host").is_none() {
        found.push("header host is missing".to_owned());
    }
    let wanted = provider.content_type(path);
    if head.method == "POST" && !head.value("content-type").is_some_and(|sent| is_type(sent, wanted)) {
        found.push(format!("content-type is not {wanted}"));
    }
    let known = provider.query(path);
    let unknown = |pair: &&str| !known.contains(&pair.split('=').next().unwrap_or_default());
    match head.target.split_once('?') {
        Some((_, query)) if known.is_empty() || query.split('&').any(|pair| unknown(&pair)) => {
            found.push("the URL has a query".to_owned());
        }
        _ => {}
    }
    found
}

fn connection_options(value: &str, head: &Head) -> Vec<String> {
    let options = value.split(',').map(|option| option.trim().to_ascii_lowercase());
    options
        .filter(|option| !matches!(option.as_str(), "keep-alive" | "close"))
        .map(|option| match head.value(&option) {
            Some(_) => format!("header {option} is named by connection and was forwarded"),
            None => format!("connection names {option}"),
        })
        .collect()
}

fn is_type(content_type: &str, wanted: &str) -> bool {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    parts.next().as_deref() == Some(wanted) && parts.all(|parameter| parameter == "charset=utf-8")
}
