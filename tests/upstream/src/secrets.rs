//! IBM Cloud Secrets Manager, API version 2: key-value and arbitrary secrets, their versions, the search, and the tokens
//! of IBM's identity service beside it.
//!
//! API: <https://cloud.ibm.com/apidocs/secrets-manager/secrets-manager-v2>

use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, Body},
    dialect::{Ask, Checked, Problem, Refused, object, string},
    shape::{Kind, Shape, needed, optional, rule},
    text,
    watsonx::{self, token},
};

const SECRETS: &str = "/api/v2/secrets";
const MORE: &str = "https://cloud.ibm.com/apidocs/secrets-manager/secrets-manager-v2";
/// The account and the instance that stand in CRNs.
const CRN: &str = "crn:v1:bluemix:public:secrets-manager:us-south:a/791f5fb10986423e97aa8512f18b7e65:\
    e415e570-f073-423a-abdc-55de9b58f54e:secret";

/// One secret with all its versions, the current one last.
#[derive(Debug, Clone)]
pub(crate) struct Secret {
    id: String,
    name: String,
    group: String,
    kind: String,
    description: Option<String>,
    created: i64,
    versions: Vec<Value>,
}

rule!(name_rule, "should match the pattern of names", |value| {
    let name = value.as_str().unwrap_or_default();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let ends = |at: Option<char>| at.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    (2..=256).contains(&name.len()) && plain && ends(name.chars().next()) && !name.ends_with(['-', '.', '_'])
});
rule!(data_rule, "should be an object that is not empty", |value| {
    value.as_object().is_some_and(|data| !data.is_empty())
});
rule!(payload_rule, "should be a text of 4 to 1048576 characters", |value| {
    value.as_str().is_some_and(|text| (4..=1_048_576).contains(&text.len()))
});

const KV: Shape = Shape(&[
    needed("secret_type", Kind::OneOf(&["kv"])),
    needed("name", Kind::Rule(name_rule)),
    needed("data", Kind::Rule(data_rule)),
    optional("secret_group_id", Kind::Text),
    optional("description", Kind::Text),
    optional("labels", Kind::List(&Kind::Text, 0, 30)),
    optional("custom_metadata", Kind::Free),
    optional("version_custom_metadata", Kind::Free),
]);
const ARBITRARY: Shape = Shape(&[
    needed("secret_type", Kind::OneOf(&["arbitrary"])),
    needed("name", Kind::Rule(name_rule)),
    needed("payload", Kind::Rule(payload_rule)),
    optional("secret_group_id", Kind::Text),
    optional("description", Kind::Text),
    optional("labels", Kind::List(&Kind::Text, 0, 30)),
    optional("expiration_date", Kind::Text),
    optional("custom_metadata", Kind::Free),
    optional("version_custom_metadata", Kind::Free),
]);

/// Checks token, path and body.
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    if ask.path == watsonx::TOKEN_PATH {
        return token::check(ask);
    }
    token::known(ask)?;
    let rest = ask.path.strip_prefix(SECRETS).unwrap_or("?");
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    match (ask.method(), rest, parts.as_slice()) {
        ("POST", "", _) => creation(ask),
        ("GET", "", _) => search(ask),
        ("GET", _, [id]) => one(ask, id, |secret| Answer::json(200, &secret.shown(true))),
        ("GET", _, [id, "metadata"]) => one(ask, id, |secret| Answer::json(200, &secret.shown(false))),
        ("DELETE", _, [id]) => {
            let id = (*id).to_owned();
            known(ask, &id)?;
            Ok(Box::new(move |_| {
                ask.account.secrets(|secrets| secrets.retain(|secret| secret.id != id));
                Answer { status: 204, headers: Vec::new(), body: Body::Empty }
            }))
        }
        ("POST", _, [id, "versions"]) => version(ask, id),
        _ => Err(ask.refuse(Problem::of(404, "The requested resource could not be found.").code("not_found"), true)),
    }
}

fn creation<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    let body = parsed(ask)?;
    let shape = if string(&body, "secret_type") == "arbitrary" { &ARBITRARY } else { &KV };
    shape.check_made(&body).map_err(|refusal| {
        let (place, objection) = refusal.pydantic();
        invalid(ask, &format!("{place} {objection}"))
    })?;
    let group = match string(&body, "secret_group_id") {
        "" => "default",
        group => group,
    };
    if !ask.offers(group) {
        return Err(ask.refuse(Problem::of(400, "The secret group does not exist.").code("bad_request"), false));
    }
    let group = group.to_owned();
    let taken = |secret: &Secret| {
        secret.name == string(&body, "name") && secret.kind == string(&body, "secret_type") && secret.group == group
    };
    if ask.account.secrets(|secrets| secrets.iter().any(taken)) {
        let message = "A secret with the same name already exists.";
        return Err(ask.refuse(Problem::of(409, message).code("conflict"), false));
    }
    Ok(Box::new(move |_| {
        let kind = string(&body, "secret_type");
        let secret = Secret {
            id: id(ask),
            name: string(&body, "name").to_owned(),
            group,
            kind: kind.to_owned(),
            description: body.get("description").and_then(Value::as_str).map(str::to_owned),
            created: ask.created(),
            versions: vec![value(&body, kind)],
        };
        let shown = secret.shown(true);
        ask.account.secrets(|secrets| secrets.push(secret));
        Answer::json(201, &shown)
    }))
}

fn version<'a>(ask: &'a Ask<'a>, id: &str) -> Checked<'a> {
    let secret = known(ask, id)?;
    let body = parsed(ask)?;
    let member = if secret.kind == "kv" { "data" } else { "payload" };
    let fits = match secret.kind.as_str() {
        "kv" => data_rule(&body.get(member).cloned().unwrap_or_default(), member).is_ok(),
        _ => payload_rule(&body.get(member).cloned().unwrap_or_default(), member).is_ok(),
    };
    if !fits {
        return Err(invalid(ask, &format!("{member} is required")));
    }
    Ok(Box::new(move |_| {
        let value = value(&body, &secret.kind);
        let count = ask.account.secrets(|secrets| {
            let kept = secrets.iter_mut().find(|kept| kept.id == secret.id);
            kept.map_or(0, |kept| {
                kept.versions.push(value.clone());
                kept.versions.len()
            })
        });
        let mut shown = json!({"id": format!("version-{count}"), "secret_id": secret.id, "secret_type": secret.kind,
            "alias": "current", "created_by": "iam-ServiceId-simulated", "created_at": text::rfc3339(ask.created()),
            "secret_group_id": secret.group, "secret_name": secret.name, "payload_available": true, "downloaded": false});
        crate::dialect::put(&mut shown, member, value);
        Answer::json(201, &shown)
    }))
}

fn search<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    let number = |name: &str, usual: usize| match ask.query(name) {
        None => Ok(usual),
        Some(text) => text.parse().map_err(|_| invalid(ask, &format!("{name} must be a number"))),
    };
    let (offset, limit) = (number("offset", 0)?, number("limit", 200)?);
    if !(1..=1000).contains(&limit) {
        return Err(invalid(ask, "limit should be from 1 to 1000"));
    }
    let words = |name: &str| ask.query(name).map(text::unescaped);
    let (wanted, groups) = (words("search"), words("groups"));
    Ok(Box::new(move |_| {
        let fits = |secret: &&Secret| {
            let group = groups.as_deref().is_none_or(|groups| groups.split(',').any(|group| group == secret.group));
            // Fields that hold the text, not just names that are it.
            let found =
                wanted.as_deref().is_none_or(|wanted| secret.name.contains(wanted) || secret.id.contains(wanted));
            group && found
        };
        let found: Vec<Value> =
            ask.account.secrets(|secrets| secrets.iter().filter(fits).map(|secret| secret.shown(false)).collect());
        let page: Vec<&Value> = found.iter().skip(offset).take(limit).collect();
        let href = |offset: usize| json!({"href": format!("https://simulated{SECRETS}?offset={offset}&limit={limit}")});
        let last = found.len().saturating_sub(1) / limit * limit;
        let next = (offset + limit < found.len()).then(|| href(offset + limit));
        let mut list = json!({"total_count": found.len(), "limit": limit, "offset": offset, "first": href(0),
            "last": href(last), "secrets": page});
        if let Some(next) = next {
            crate::dialect::put(&mut list, "next", next);
        }
        Answer::json(200, &list)
    }))
}

fn one<'a>(ask: &'a Ask<'a>, id: &str, show: fn(&Secret) -> Answer) -> Checked<'a> {
    let secret = known(ask, id)?;
    Ok(Box::new(move |_| show(&secret)))
}

fn known(ask: &Ask<'_>, id: &str) -> Result<Secret, Box<Refused>> {
    let found = ask.account.secrets(|secrets| secrets.iter().find(|secret| secret.id == id).cloned());
    found.ok_or_else(|| {
        let message = format!("The secret '{id}' could not be found.");
        ask.refuse(Problem::of(404, &message).code("secret_not_found"), false)
    })
}

impl Secret {
    /// As answers show it, with its value or without.
    fn shown(&self, value: bool) -> Value {
        let member = if self.kind == "kv" { "data" } else { "payload" };
        let time = text::rfc3339(self.created);
        let mut shown = object([
            ("id", Some(json!(self.id))),
            ("name", Some(json!(self.name))),
            ("description", self.description.as_ref().map(|text| json!(text))),
            ("secret_type", Some(json!(self.kind))),
            ("secret_group_id", Some(json!(self.group))),
            ("state", Some(json!(1))),
            ("state_description", Some(json!("active"))),
            ("crn", Some(json!(format!("{CRN}:{}", self.id)))),
            ("created_by", Some(json!("iam-ServiceId-simulated"))),
            ("created_at", Some(json!(time))),
            ("updated_at", Some(json!(time))),
            ("labels", Some(json!([]))),
            ("custom_metadata", Some(json!({}))),
            ("downloaded", Some(json!(value))),
            ("locks_total", Some(json!(0))),
            ("versions_total", Some(json!(self.versions.len()))),
        ]);
        if let (true, Some(current)) = (value, self.versions.last()) {
            crate::dialect::put(&mut shown, member, current.clone());
        }
        shown
    }
}

/// An error in the service's shape, or in that of the identity service.
pub(crate) fn error(ask: &Ask<'_>, problem: Problem<'_>) -> Answer {
    if ask.path == watsonx::TOKEN_PATH {
        return token::error(problem);
    }
    let Problem { status, message, code, .. } = problem;
    let (usual, said) = match status {
        401 => ("unauthorized", "The token is missing, not valid or expired."),
        403 => ("forbidden", "The identity is not authorized for this action."),
        404 => ("not_found", "The requested resource could not be found."),
        429 => ("too_many_requests", "Too many requests."),
        400..=499 => ("bad_request", "The request is refused by the script."),
        _ => ("internal_error", "Internal server error."),
    };
    let error = json!({"code": code.unwrap_or(usual), "message": message.unwrap_or(said), "more_info": MORE});
    Answer::json(status, &json!({"status_code": status, "trace": format!("{:032x}", ask.seed()), "errors": [error]}))
}

fn parsed(ask: &Ask<'_>) -> Result<Map<String, Value>, Box<Refused>> {
    ask.object().map_err(|why| ask.refuse(Problem::of(400, &why).code("bad_request"), true))
}

fn invalid(ask: &Ask<'_>, message: &str) -> Box<Refused> {
    ask.refuse(Problem::of(400, message).code("bad_request"), true)
}

fn value(body: &Map<String, Value>, kind: &str) -> Value {
    body.get(if kind == "kv" { "data" } else { "payload" }).cloned().unwrap_or_default()
}

/// A new id in the form of a UUID.
fn id(ask: &Ask<'_>) -> String {
    let (a, b) = (ask.seed(), text::hash(&ask.seed().to_be_bytes()));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 48 & 0xfff,
        b & 0xffff_ffff_ffff
    )
}
