//! The body of Converse as a table, after botocore's model of the runtime.
//!
//! Null is refused where botocore would leave a member out; what the service does with it is not written anywhere.

use serde_json::Value;

use crate::shape::{Kind, Member, Shape, needed, rule, set};

use Kind::{Any, Bool, Free, Int, List, Num, Object, OneOf, Rule, Short, Text, Union};

const MANY: usize = 100_000;

/// `POST /model/{id}/converse` and `/converse-stream`.
pub(super) static CONVERSE: Shape = Shape(&[
    // Optional in the model for the sake of stored prompts, which have no place here.
    needed("messages", List(&Object(&MESSAGE), 1, MANY)),
    set("system", List(&Union(&Shape(&[set("text", Rule(filled)), GUARD, CACHE_POINT])), 0, MANY)),
    set(
        "inferenceConfig",
        Object(&Shape(&[
            set("maxTokens", Int(1, i64::MAX)),
            set("temperature", Num(0.0, 1.0)),
            set("topP", Num(0.0, 1.0)),
            set("stopSequences", List(&Rule(not_empty), 0, 2500)),
        ])),
    ),
    set(
        "toolConfig",
        Object(&Shape(&[needed("tools", List(&Union(&TOOL), 1, MANY)), set("toolChoice", Union(&TOOL_CHOICE))])),
    ),
    set("guardrailConfig", Free),
    set("additionalModelRequestFields", Free),
    set("additionalModelResponseFieldPaths", List(&Short(256), 0, 10)),
    set("promptVariables", Free),
    set("requestMetadata", Rule(metadata)),
    set("performanceConfig", Object(&Shape(&[set("latency", OneOf(&["standard", "optimized"]))]))),
    set("serviceTier", Object(&Shape(&[needed("type", OneOf(&["priority", "default", "flex", "reserved"]))]))),
    set(
        "outputConfig",
        Object(&Shape(&[
            set(
                "textFormat",
                Object(&Shape(&[
                    needed("type", OneOf(&["json_schema"])),
                    needed(
                        "structure",
                        Union(&Shape(&[set(
                            "jsonSchema",
                            Object(&Shape(&[
                                needed("schema", Rule(json_text)),
                                set("name", Text),
                                set("description", Text),
                            ])),
                        )])),
                    ),
                ])),
            ),
            set("effort", Short(16)),
        ])),
    ),
]);

/// Role `system` is in botocore's enumeration; the models here do not take it.
static MESSAGE: Shape =
    Shape(&[needed("role", OneOf(&["user", "assistant"])), needed("content", List(&Union(&BLOCK), 1, MANY))]);

static BLOCK: Shape = Shape(&[
    set("text", Rule(filled)),
    IMAGE,
    DOCUMENT,
    VIDEO,
    set(
        "audio",
        Object(&Shape(&[
            needed(
                "format",
                OneOf(&[
                    "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga",
                    "pcm", "webm",
                ]),
            ),
            needed("source", SOURCE),
        ])),
    ),
    set(
        "toolUse",
        Object(&Shape(&[needed("toolUseId", Rule(tool_id)), needed("name", Rule(tool_name)), needed("input", Free)])),
    ),
    set(
        "toolResult",
        Object(&Shape(&[
            needed("toolUseId", Rule(tool_id)),
            needed("content", List(&Union(&RESULT), 0, MANY)),
            set("status", OneOf(&["success", "error"])),
        ])),
    ),
    GUARD,
    CACHE_POINT,
    set(
        "reasoningContent",
        Union(&Shape(&[
            set("reasoningText", Object(&Shape(&[needed("text", Text), set("signature", Text)]))),
            set("redactedContent", Rule(base64)),
        ])),
    ),
    set("citationsContent", Free),
    set("searchResult", Free),
]);

static RESULT: Shape =
    Shape(&[set("text", Text), set("json", Free), IMAGE, DOCUMENT, VIDEO, set("searchResult", Free)]);

const IMAGE: Member =
    set("image", Object(&Shape(&[needed("format", OneOf(&["png", "jpeg", "gif", "webp"])), needed("source", SOURCE)])));
const VIDEO: Member = set(
    "video",
    Object(&Shape(&[
        needed("format", OneOf(&["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"])),
        needed("source", SOURCE),
    ])),
);
const DOCUMENT: Member = set(
    "document",
    Object(&Shape(&[
        set("format", OneOf(&["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"])),
        needed("name", Rule(document_name)),
        needed(
            "source",
            Union(&Shape(&[set("bytes", Rule(base64)), S3, set("text", Text), set("content", List(&Any, 1, MANY))])),
        ),
        set("context", Text),
        set("citations", Object(&Shape(&[needed("enabled", Bool)]))),
    ])),
);
const GUARD: Member = set("guardContent", Free);
const CACHE_POINT: Member =
    set("cachePoint", Object(&Shape(&[needed("type", OneOf(&["default"])), set("ttl", OneOf(&["5m", "1h"]))])));
const SOURCE: Kind = Union(&Shape(&[set("bytes", Rule(base64)), S3]));
const S3: Member = set("s3Location", Object(&Shape(&[needed("uri", Rule(s3_uri)), set("bucketOwner", Text)])));

static TOOL: Shape = Shape(&[
    set(
        "toolSpec",
        Object(&Shape(&[
            needed("name", Rule(tool_name)),
            set("description", Rule(not_empty)),
            needed("inputSchema", Union(&Shape(&[set("json", Rule(object_schema))]))),
            set("strict", Bool),
        ])),
    ),
    CACHE_POINT,
]);

/// There is no choice of none.
static TOOL_CHOICE: Shape = Shape(&[
    set("auto", Object(&Shape(&[]))),
    set("any", Object(&Shape(&[]))),
    set("tool", Object(&Shape(&[needed("name", Rule(tool_name))]))),
]);

rule!(
    filled,
    "The text field in the ContentBlock object is blank. Add text to the text field, and try again.",
    |value| { value.as_str().is_some_and(|text| !text.trim().is_empty()) }
);
rule!(not_empty, "Member must have length greater than or equal to 1", |value| value
    .as_str()
    .is_some_and(|text| !text.is_empty()));
rule!(base64, "Member must be base64-encoded and not empty", |value| value
    .as_str()
    .is_some_and(crate::text::is_base64));
rule!(
    tool_id,
    "Member must satisfy regular expression pattern: [a-zA-Z0-9_.:-]+ and have length at most 64",
    |value| { value.as_str().is_some_and(|id| is_name(id, b"_.:-")) }
);
rule!(
    tool_name,
    "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+ and have length at most 64",
    |value| { value.as_str().is_some_and(|name| is_name(name, b"_-")) }
);
rule!(
    s3_uri,
    "Member must satisfy regular expression pattern: s3://[a-z0-9][.\\-a-z0-9]{1,61}[a-z0-9](/.*)?",
    |value| { value.as_str().is_some_and(|uri| uri.starts_with("s3://") && uri.len() <= 1024) }
);
rule!(
    document_name,
    "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace character",
    |value| {
        value.as_str().is_some_and(|name| {
            let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "-()[]".contains(c);
            let pairs = name.chars().zip(name.chars().skip(1));
            (1..=200).contains(&name.chars().count())
                && name.chars().all(allowed)
                && !pairs.into_iter().any(|(a, b)| a.is_whitespace() && b.is_whitespace())
        })
    }
);
rule!(object_schema, "The value at toolSpec.inputSchema.json.type must be one of the following: object.", |value| {
    value.get("type").and_then(Value::as_str) == Some("object")
});
rule!(json_text, "The schema must be a string that holds a JSON schema", |value| {
    value.as_str().is_some_and(|text| serde_json::from_str::<Value>(text).is_ok_and(|schema| schema.is_object()))
});
rule!(metadata, "Member must have 1 to 16 pairs of [a-zA-Z0-9\\s:_@$#=/+,-.]{0,256}", |value| {
    let fits = |text: &str| {
        text.chars().count() <= 256
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_whitespace() || ":_@$#=/+,-.".contains(c))
    };
    let pair = |(name, value): (&String, &Value)| !name.is_empty() && fits(name) && value.as_str().is_some_and(fits);
    value.as_object().is_some_and(|pairs| (1..=16).contains(&pairs.len()) && pairs.iter().all(pair))
});

fn is_name(text: &str, more: &[u8]) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}
