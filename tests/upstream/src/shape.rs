//! Request bodies as tables: which members an object has, of which kind, within which bounds.
//!
//! The tables stand with the dialects; this file walks them and words the refusals as OpenAI does.

use serde_json::{Map, Value};

/// Members that belong to a gateway. A provider that receives one was sent something it should never see.
const GATEWAY_ONLY: &[&str] =
    &["cache", "cache_control", "input_type", "reasoning_content", "router", "thinking_blocks"];
/// Members with this prefix are accepted anywhere by OpenAI's own tables, to test that unknown members survive.
pub(crate) const FREE_PREFIX: &str = "x_";

/// Codes of refusals that providers word in their own ways.
pub(crate) const UNKNOWN: &str = "unknown_parameter";
pub(crate) const MISSING: &str = "missing_required_parameter";
pub(crate) const WRONG_TYPE: &str = "invalid_type";

/// What an object may hold.
pub(crate) struct Shape(pub(crate) &'static [Member]);

/// One member of an object.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    kind: Kind,
    required: bool,
    nullable: bool,
}

/// What a value may be.
pub(crate) enum Kind {
    Any,
    Bool,
    Text,
    /// A string of at most that many characters.
    Short(usize),
    Int(i64, i64),
    Num(f64, f64),
    OneOf(&'static [&'static str]),
    Object(&'static Shape),
    /// An object with exactly one of these members.
    Union(&'static Shape),
    /// An object whose members nobody looks at.
    Free,
    /// So many values of one kind.
    List(&'static Self, usize, usize),
    Either(&'static [Self]),
    /// An object whose shape the value of one member decides.
    Tagged(&'static str, &'static [(&'static str, &'static Shape)]),
    /// A rule of its own.
    Rule(fn(&Value, &str) -> Result<(), Refusal>),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
    /// The gateway should have known better, whatever its client sent.
    pub(crate) violation: bool,
}

/// A rule of its own as a function: name, objection, and what must hold.
macro_rules! rule {
    ($name:ident, $objection:expr, $holds:expr) => {
        fn $name(value: &serde_json::Value, path: &str) -> Result<(), $crate::shape::Refusal> {
            let holds: fn(&serde_json::Value) -> bool = $holds;
            match holds(value) {
                true => Ok(()),
                false => Err($crate::shape::Refusal::plain(path, $objection)),
            }
        }
    };
}
pub(crate) use rule;

/// A member that must be there.
pub(crate) const fn needed(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: true, nullable: false }
}

/// A member that must be there and may be null.
pub(crate) const fn needed_or_null(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: true, nullable: true }
}

/// A member that may be absent or null.
pub(crate) const fn optional(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: false, nullable: true }
}

/// A member that may be absent but not null.
pub(crate) const fn set(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: false, nullable: false }
}

impl Refusal {
    pub(crate) fn of(param: &str, code: &'static str, message: String) -> Self {
        Self { message, param: Some(param.to_owned()), code: Some(code), violation: false }
    }

    /// A refusal without a code of its own.
    pub(crate) fn plain(param: &str, message: &str) -> Self {
        Self { message: message.to_owned(), param: Some(param.to_owned()), code: None, violation: false }
    }

    /// The place and the objection as services built with Pydantic word them.
    pub(crate) fn pydantic(&self) -> (String, &str) {
        let place = self.param.as_deref().unwrap_or_default().replace('[', ".").replace(']', "");
        let objection = match self.code {
            Some(UNKNOWN) => "Extra inputs are not permitted",
            Some(MISSING) => "Field required",
            _ => &self.message,
        };
        (place, objection)
    }

    fn kind(param: &str, expected: &str, value: &Value) -> Self {
        let message = format!("Invalid type for '{param}': expected {expected}, but got {} instead.", kind_of(value));
        Self::of(param, WRONG_TYPE, message)
    }

    fn bound(param: &str, code: &'static str, what: &str, bound: &str, value: &str) -> Self {
        Self::of(
            param,
            code,
            format!("Invalid '{param}': {what} value. Expected a value {bound}, but got {value} instead."),
        )
    }
}

impl Shape {
    /// Checks an object at `path` (empty for the body itself); members with the free prefix may be in it.
    pub(crate) fn check(&self, object: &Map<String, Value>, path: &str) -> Result<(), Refusal> {
        self.walk(object, path, false)
    }

    /// Checks a body that a gateway made itself: no unknown member may be in it, and one that is counts against the gateway.
    pub(crate) fn check_made(&self, body: &Map<String, Value>) -> Result<(), Refusal> {
        self.walk(body, "", true)
    }

    fn walk(&self, object: &Map<String, Value>, path: &str, made: bool) -> Result<(), Refusal> {
        for (name, value) in object {
            let here = join(path, name);
            match self.0.iter().find(|member| member.name == name) {
                Some(member) if value.is_null() && member.nullable => {}
                Some(member) => member.kind.walk(value, &here, made)?,
                None if name.starts_with(FREE_PREFIX) && !made => {}
                None => {
                    let mut refusal = Refusal::of(&here, UNKNOWN, format!("Unknown parameter: '{here}'."));
                    refusal.violation = made || GATEWAY_ONLY.contains(&name.as_str());
                    return Err(refusal);
                }
            }
        }
        match self.0.iter().find(|member| member.required && !object.contains_key(member.name)) {
            Some(missing) => {
                let here = join(path, missing.name);
                Err(Refusal::of(&here, MISSING, format!("Missing required parameter: '{here}'.")))
            }
            None => Ok(()),
        }
    }
}

impl Kind {
    fn walk(&self, value: &Value, path: &str, made: bool) -> Result<(), Refusal> {
        match (self, value) {
            (Self::Any, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::String(_))
            | (Self::Free, Value::Object(_)) => Ok(()),
            (Self::Rule(rule), _) => rule(value, path),
            (Self::Short(most), Value::String(text)) => match text.chars().count() {
                length if length > *most => Err(Refusal::of(
                    path,
                    "string_above_max_length",
                    format!(
                        "Invalid '{path}': string too long. Expected a string with maximum length {most}, but got a string with length {length} instead."
                    ),
                )),
                _ => Ok(()),
            },
            (Self::Int(low, high), Value::Number(number)) => match number.as_i64() {
                Some(n) if n < *low => Err(Refusal::bound(
                    path,
                    "integer_below_min_value",
                    "integer below minimum",
                    &format!(">= {low}"),
                    &n.to_string(),
                )),
                Some(n) if n > *high => Err(Refusal::bound(
                    path,
                    "integer_above_max_value",
                    "integer above maximum",
                    &format!("<= {high}"),
                    &n.to_string(),
                )),
                Some(_) => Ok(()),
                None => Err(Refusal::kind(path, self.name(), value)),
            },
            (Self::Num(low, high), Value::Number(number)) => match number.as_f64() {
                Some(n) if n < *low => Err(Refusal::bound(
                    path,
                    "decimal_below_min_value",
                    "decimal below minimum",
                    &format!(">= {low}"),
                    &n.to_string(),
                )),
                Some(n) if n > *high => Err(Refusal::bound(
                    path,
                    "decimal_above_max_value",
                    "decimal above maximum",
                    &format!("<= {high}"),
                    &n.to_string(),
                )),
                Some(_) => Ok(()),
                None => Err(Refusal::kind(path, self.name(), value)),
            },
            (Self::OneOf(allowed), Value::String(text)) => one_of(allowed.iter().copied(), text, path),
            (Self::Union(_), Value::Object(object)) if object.len() != 1 => {
                Err(Refusal::plain(path, "exactly one of the members of this union must be set"))
            }
            (Self::Object(shape) | Self::Union(shape), Value::Object(object)) => shape.walk(object, path, made),
            (Self::List(kind, least, most), Value::Array(list)) => {
                if list.len() < *least {
                    return Err(Refusal::of(
                        path,
                        "empty_array",
                        format!(
                            "Invalid '{path}': empty array. Expected an array with minimum length {least}, but got {} instead.",
                            list.len()
                        ),
                    ));
                }
                if list.len() > *most {
                    return Err(Refusal::of(
                        path,
                        "array_above_max_length",
                        format!(
                            "Invalid '{path}': array too long. Expected an array with maximum length {most}, but got {} instead.",
                            list.len()
                        ),
                    ));
                }
                list.iter().enumerate().try_for_each(|(at, item)| kind.walk(item, &format!("{path}[{at}]"), made))
            }
            (Self::Either(kinds), _) => either(kinds, value, path, made),
            (Self::Tagged(tag, shapes), Value::Object(object)) => {
                let here = join(path, tag);
                let Some(found) = object.get(*tag) else {
                    return Err(Refusal::of(&here, MISSING, format!("Missing required parameter: '{here}'.")));
                };
                let Value::String(name) = found else {
                    return Err(Refusal::kind(&here, "a string", found));
                };
                match shapes.iter().find(|(tag, _)| tag == name) {
                    Some((_, shape)) => shape.walk(object, path, made),
                    None => one_of(shapes.iter().map(|(tag, _)| *tag), name, &here),
                }
            }
            _ => Err(Refusal::kind(path, self.name(), value)),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Any | Self::Rule(_) => "a value",
            Self::Bool => "a boolean",
            Self::Text | Self::Short(_) | Self::OneOf(_) => "a string",
            Self::Int(..) => "an integer",
            Self::Num(..) => "a decimal",
            Self::Object(_) | Self::Union(_) | Self::Free | Self::Tagged(..) => "an object",
            Self::List(..) => "an array",
            Self::Either(_) => "one of several types",
        }
    }
}

/// Passes if any kind accepts the value; else the objection of a kind that at least has its JSON type.
fn either(kinds: &[Kind], value: &Value, path: &str, made: bool) -> Result<(), Refusal> {
    let mut objection: Option<Refusal> = None;
    for kind in kinds {
        match kind.walk(value, path, made) {
            Ok(()) => return Ok(()),
            Err(refusal) if refusal.code == Some(WRONG_TYPE) && refusal.param.as_deref() == Some(path) => {}
            // Rules among several kinds are for texts.
            Err(_) if matches!(kind, Kind::Rule(_)) && !value.is_string() => {}
            // An objection to a value says more than one to a type.
            Err(_) if objection.as_ref().is_some_and(|earlier| earlier.code != Some(WRONG_TYPE)) => {}
            Err(refusal) => objection = Some(refusal),
        }
    }
    let names: Vec<&str> = kinds.iter().map(Kind::name).collect();
    Err(objection.unwrap_or_else(|| Refusal::kind(path, &format!("one of {}", names.join(" or ")), value)))
}

fn one_of<'a>(allowed: impl Iterator<Item = &'a str>, found: &str, path: &str) -> Result<(), Refusal> {
    let allowed: Vec<&str> = allowed.collect();
    if allowed.contains(&found) {
        return Ok(());
    }
    let list: Vec<String> = allowed.iter().map(|name| format!("'{name}'")).collect();
    Err(Refusal::of(
        path,
        "invalid_value",
        format!("Invalid value: '{found}'. Supported values are: {}.", list.join(", ")),
    ))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
