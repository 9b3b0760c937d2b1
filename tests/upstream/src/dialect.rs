//! What the dialects of the providers have in common: a call as they see it, and how they accept or refuse it.

use serde_json::{Map, Value};

use crate::{
    account::{self, Account},
    answer::Answer,
    http::Head,
    json as strict,
    provider::Provider,
    step::{EchoKey, Settings, Step},
    text,
};

/// One call to an account.
pub(crate) struct Ask<'a> {
    pub(crate) head: &'a Head,
    /// As received, without the account's name and without the query.
    pub(crate) path: &'a str,
    pub(crate) name: &'a str,
    pub(crate) number: u64,
    pub(crate) body: &'a [u8],
    pub(crate) settings: &'a Settings,
    pub(crate) account: &'a Account,
    pub(crate) provider: Provider,
}

/// What answers an accepted call, once its step is known.
pub(crate) type Reply<'a> = Box<dyn FnOnce(&Step) -> Answer + Send + 'a>;

/// A call that was accepted, or why not.
pub(crate) type Checked<'a> = Result<Reply<'a>, Box<Refused>>;

/// A call that did not pass.
pub(crate) struct Refused {
    pub(crate) answer: Answer,
    pub(crate) message: String,
    pub(crate) violation: bool,
}

/// An error before a provider puts it into its own shape.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Problem<'a> {
    pub(crate) status: u16,
    /// Absent: what the provider usually says with this status.
    pub(crate) message: Option<&'a str>,
    pub(crate) param: Option<&'a str>,
    /// The provider's own word for the kind of error, where it is not the usual one of the status.
    pub(crate) code: Option<&'a str>,
}

impl<'a> Problem<'a> {
    pub(crate) fn of(status: u16, message: &'a str) -> Self {
        Self { status, message: Some(message), ..Self::default() }
    }

    pub(crate) fn code(self, code: &'a str) -> Self {
        Self { code: Some(code), ..self }
    }
}

impl<'a> Ask<'a> {
    pub(crate) fn method(&self) -> &'a str {
        &self.head.method
    }

    pub(crate) fn key(&self) -> Option<&'a str> {
        self.provider.key(self.head)
    }

    /// Whether the account takes this key.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.settings.keys.as_ref().is_none_or(|keys| keys.iter().any(|known| known == key))
    }

    /// Whether the account offers this model.
    pub(crate) fn offers(&self, model: &str) -> bool {
        self.settings.models.as_ref().is_none_or(|models| models.iter().any(|known| known == model))
    }

    /// The models of the account, or those of the provider.
    pub(crate) fn models(&self, usual: &[&str]) -> Vec<String> {
        match &self.settings.models {
            Some(models) => models.clone(),
            None => usual.iter().map(|&id| id.to_owned()).collect(),
        }
    }

    /// A member of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&'a str> {
        let pairs = self.head.query().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
    }

    /// The same for the same call on the same account.
    pub(crate) fn seed(&self) -> u64 {
        text::hash(format!("{} {} {}", self.name, self.number, text::hash(self.body)).as_bytes())
    }

    pub(crate) fn created(&self) -> i64 {
        self.settings.created.unwrap_or_else(account::unix_seconds)
    }

    /// How many content chunks the step or the account asks for.
    pub(crate) fn content_chunks(&self, step: &Step) -> Option<usize> {
        step.chunks.or(self.settings.chunks)
    }

    /// The body as a JSON object, or what is wrong with it.
    pub(crate) fn object(&self) -> Result<Map<String, Value>, String> {
        match strict::parse(self.body) {
            Ok(Value::Object(body)) => Ok(body),
            Ok(_) => Err("the body must be a JSON object".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Refuses the call in the shape of its provider.
    pub(crate) fn refuse(&self, problem: Problem<'_>, violation: bool) -> Box<Refused> {
        let answer = self.provider.error(self, problem);
        Box::new(Refused { answer, message: problem.message.unwrap_or("refused").to_owned(), violation })
    }

    /// The error that a step puts in a stream, and after how many events.
    pub(crate) fn error_event(&self, step: &Step, usual: impl FnOnce(Option<&str>) -> Value) -> Option<(usize, Value)> {
        let after = step.error_event.as_ref().map(|event| event.after);
        if step.echo_key == Some(EchoKey::Event) {
            let message = format!("Something is wrong with key {}.", self.key().unwrap_or_default());
            return Some((after.unwrap_or(2), usual(Some(&message))));
        }
        let event = step.error_event.as_ref()?;
        Some((event.after, event.error.clone().unwrap_or_else(|| usual(None))))
    }
}

/// The usage of an answer, unless the step has its own; `"absent"` there means none.
pub(crate) fn usage(real: Value, step: &Step) -> Option<Value> {
    match &step.usage {
        None => Some(real),
        Some(Value::String(absent)) if absent == "absent" => None,
        Some(other) => Some(other.clone()),
    }
}

/// An object of the members that are there.
pub(crate) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    Value::from_iter(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// Sets a member of an object.
pub(crate) fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// A member that is a string, or nothing.
pub(crate) fn member<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member that is a list, or an empty one.
pub(crate) fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of a message or of a tool's result.
pub(crate) fn texts(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter(|part| member(part, "type") == "text");
            texts.map(|part| member(part, "text")).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// A member of a body that is a string, or nothing.
pub(crate) fn string<'a>(body: &'a Map<String, Value>, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member of a body that is a list, or an empty one.
pub(crate) fn items<'a>(body: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    body.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a member is there and not null.
pub(crate) fn given(body: &Map<String, Value>, name: &str) -> bool {
    body.get(name).is_some_and(|value| !value.is_null())
}

pub(crate) fn flag(body: &Map<String, Value>, name: &str) -> bool {
    body.get(name).and_then(Value::as_bool).unwrap_or_default()
}

pub(crate) fn count(body: &Map<String, Value>, name: &str) -> Option<usize> {
    body.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}
