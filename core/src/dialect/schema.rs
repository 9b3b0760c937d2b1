//! Schemas of answers, as providers of Claude want them.

use std::borrow::Cow;

use crate::json::after_string;

/// What a value within a schema is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A schema, or a list of them.
    Schema,
    /// An object whose members are schemas.
    Named,
    /// Anything else: no schema is looked for in it.
    Other,
}

/// An object or array that is being read.
struct Level {
    place: Place,
    array: bool,
    /// Where its content begins.
    start: usize,
    /// Whether `type` says that it is about objects, if there is one.
    typed: Option<bool>,
    properties: bool,
    closed: bool,
}

/// Says in every schema of an object that it has no more than its properties, unless it says something of the kind
/// itself; all else stays as it is, byte for byte. Anthropic takes no other schemas, and its own clients say it too.
/// `schema` must be a checked object. <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>
pub(crate) fn closed(schema: &str) -> Cow<'_, str> {
    let mut open: Vec<Level> = Vec::new();
    // Where to say it, and what the next value is.
    let mut gaps = Vec::new();
    let mut next = Place::Schema;
    let mut rest = schema.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let at = schema.len() - rest.len();
        match byte {
            b'{' | b'[' => {
                let array = *byte == b'[';
                next = if array && next == Place::Named { Place::Other } else { next };
                open.push(Level { place: next, array, start: at, typed: None, properties: false, closed: false });
            }
            b'}' | b']' => {
                if let Some(level) = open.pop()
                    && level.place == Place::Schema
                    && !level.closed
                    && level.typed.unwrap_or(level.properties)
                {
                    gaps.push(level.start);
                }
            }
            b',' => next = open.last().map_or(Place::Other, |level| level.place),
            b'"' => {
                rest = after_string(rest).unwrap_or_default();
                let end = schema.len() - rest.len();
                let value = schema.get(end..).unwrap_or_default().trim_start().strip_prefix(':');
                let (Some(level), Some(value)) = (open.last_mut().filter(|level| !level.array), value) else {
                    continue;
                };
                // A name that has escapes is read for what it means.
                let name: Cow<'_, str> = match schema.get(at..end - 1).unwrap_or_default() {
                    name if name.contains('\\') => {
                        serde_json::from_str::<String>(schema.get(at - 1..end).unwrap_or_default())
                            .unwrap_or_default()
                            .into()
                    }
                    name => name.into(),
                };
                next = match level.place {
                    Place::Schema => level.member(&name, value.trim_start()),
                    Place::Named => Place::Schema,
                    Place::Other => Place::Other,
                };
            }
            _ => {}
        }
    }
    if gaps.is_empty() {
        return Cow::Borrowed(schema);
    }
    gaps.sort_unstable();
    let mut out = String::with_capacity(schema.len() + 32 * gaps.len());
    let mut copied = 0;
    for gap in gaps {
        out.push_str(schema.get(copied..gap).unwrap_or_default());
        out.push_str(r#""additionalProperties":false,"#);
        copied = gap;
    }
    out.push_str(schema.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

impl Level {
    /// Takes note of a member of a schema; what its value is.
    fn member(&mut self, name: &str, value: &str) -> Place {
        match name {
            "type" => {
                let list = value.strip_prefix('[').and_then(|list| list.split(']').next());
                self.typed = Some(list.unwrap_or(value.get(..8).unwrap_or_default()).contains(r#""object""#));
                Place::Other
            }
            "properties" => {
                self.properties = true;
                Place::Named
            }
            "$defs" | "definitions" | "patternProperties" | "dependentSchemas" => Place::Named,
            "additionalProperties" => {
                self.closed = true;
                Place::Schema
            }
            "items" | "prefixItems" | "additionalItems" | "contains" | "anyOf" | "oneOf" | "allOf" | "not" | "if"
            | "then" | "else" => Place::Schema,
            _ => Place::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_objects_are_closed_and_nothing_else_changes() {
        let no = r#""additionalProperties":false,"#;
        for want in [
            r#"{N "type" : "object" }"#,
            r#"{N"properties":{"a":{"type":"string"}},"type":"object"}"#,
            r#"{N"properties":{}}"#,
            r#"{N"type":["null","object"]}"#,
            r#"{N"type":[ "object" ]}"#,
            // Said already, in whatever way.
            r#"{"type":"object","additionalProperties":false}"#,
            r#"{"type":"object","additionalProperties":true,"x":1}"#,
            r#"{"type":"object","additionalProperties":null}"#,
            r#"{"type":"object","additional\u0050roperties":false}"#,
            r#"{"additionalProperties":{N"type":"object"},"type":"object"}"#,
            // Below the root.
            r#"{N"type":"object","properties":{"a":{N"type":"object","properties":{"b":{N"type":"object"}}},"c":{}}}"#,
            r#"{"type":"array","items":{N"type":"object"}}"#,
            r#"{"items":[{N"type":"object"},{N"type":"object"}],"prefixItems":[{N"type":"object"}]}"#,
            r#"{"anyOf":[{N"type":"object"},{"type":"string"},{"oneOf":[{"allOf":[{N"type":"object"}]}]}]}"#,
            r##"{"$ref":"#/$defs/a","$defs":{"a":{N"type":"object"}},"definitions":{"b":{N"type":"object"}}}"##,
            r#"{"not":{N"type":"object"},"if":{N"type":"object"},"then":{N"type":"object"},"else":{N"type":"object"}}"#,
            r#"{"\u0069tems":{N"type":"object"}}"#,
            // Names and values that only look so.
            r#"{N"type":"object","properties":{"type":{"type":"string"},"properties":{N"type":"object"}}}"#,
            r#"{N"type":"object","properties":{"additionalProperties":{"type":"string"}}}"#,
            r#"{"type":"string","properties":{"a":{}}}"#,
            r#"{"type":"objective"}"#,
            r#"{"type":"string","description":"{\"type\":\"object\"}, [\\","enum":["type","object","é"]}"#,
            r#"{"const":{"type":"object"},"default":{"properties":{"a":{"type":"object"}}},"examples":[{"type":"object"}]}"#,
            r#"{"enum":[{"type":"object"}],"properties":[{"type":"object"}],"type":"string"}"#,
            r#"{"x":{"items":{"type":"object"}}}"#,
            r#"{"type":5}"#,
            r#"{"type":{"items":{"type":"object"}}}"#,
            "{}",
        ] {
            let (given, want) = (want.replace('N', ""), want.replace('N', no));
            let made = closed(&given);
            assert_eq!(made, want);
            assert_eq!(matches!(made, Cow::Borrowed(_)), given == want, "{given}");
            assert!(matches!(closed(&want), Cow::Borrowed(_)), "twice: {want}");
        }
    }

    #[test]
    fn what_is_no_schema_does_no_harm() {
        for odd in ["", "\"", "{\"", "]}", "[[{", "{\"type\":\"object\"", "{\"a\\\":1}", "{\"type\":é"] {
            assert_eq!(closed(odd), odd);
        }
    }
}
