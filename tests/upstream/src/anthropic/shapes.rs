//! The body of a message as a table, after the types of Anthropic's SDK.
//!
//! Left out, and so refused, is what no translated chat can hold: server tools and their results, containers' files.

use serde_json::Value;

use crate::shape::{Kind, Member, Shape, needed, optional, rule, set};

use Kind::{Any, Bool, Either, Free, Int, List, Num, Object, OneOf, Rule, Tagged, Text};

const MANY: usize = 100_000;

/// `POST /v1/messages`.
pub(super) static MESSAGES: Shape = Shape(&[
    needed("model", Text),
    needed("max_tokens", Int(0, 128_000)),
    needed("messages", List(&MESSAGE, 1, MANY)),
    CACHE,
    optional("container", Any),
    optional("diagnostics", Free),
    optional("inference_geo", Text),
    set("metadata", Object(&Shape(&[optional("user_id", Rule(user_id))]))),
    set(
        "output_config",
        Object(&Shape(&[
            optional("effort", OneOf(&["low", "medium", "high", "xhigh", "max"])),
            optional(
                "format",
                Tagged("type", &[("json_schema", &Shape(&[TYPE, needed("schema", Rule(closed_schema))]))]),
            ),
        ])),
    ),
    set("service_tier", OneOf(&["auto", "standard_only"])),
    optional("speed", OneOf(&["standard", "fast"])),
    set("stop_sequences", List(&Rule(stop_sequence), 0, 8191)),
    set("stream", Bool),
    set("system", Either(&[Rule(filled), List(&Tagged("type", &[("text", &TEXT_BLOCK)]), 0, MANY)])),
    set("temperature", Num(0.0, 1.0)),
    set(
        "thinking",
        Tagged(
            "type",
            &[
                ("enabled", &Shape(&[TYPE, needed("budget_tokens", Int(1024, i64::MAX)), DISPLAY])),
                ("adaptive", &Shape(&[TYPE, DISPLAY])),
                ("between_tools", &Shape(&[TYPE])),
                ("disabled", &Shape(&[TYPE])),
            ],
        ),
    ),
    set(
        "tool_choice",
        Tagged(
            "type",
            &[
                ("auto", &Shape(&[TYPE, ONE_CALL])),
                ("any", &Shape(&[TYPE, ONE_CALL])),
                ("tool", &Shape(&[TYPE, ONE_CALL, needed("name", Text)])),
                ("none", &Shape(&[TYPE])),
            ],
        ),
    ),
    set("tools", List(&Object(&TOOL), 0, 10_000)),
    set("top_k", Int(0, i64::MAX)),
    set("top_p", Num(0.0, 1.0)),
]);

const TYPE: Member = needed("type", Text);
const DISPLAY: Member = optional("display", OneOf(&["summarized", "omitted"]));
const ONE_CALL: Member = set("disable_parallel_tool_use", Bool);
const CACHE: Member = optional(
    "cache_control",
    Object(&Shape(&[needed("type", OneOf(&["ephemeral"])), set("ttl", OneOf(&["5m", "1h"]))])),
);

static TOOL: Shape = Shape(&[
    needed("name", Rule(tool_name)),
    needed("input_schema", Rule(object_schema)),
    set("allowed_callers", List(&Text, 0, 8)),
    CACHE,
    set("defer_loading", Bool),
    set("description", Text),
    optional("eager_input_streaming", Bool),
    set("input_examples", List(&Free, 0, 100)),
    set("strict", Bool),
    optional("type", OneOf(&["custom"])),
]);

/// Role `system` is in the SDK's types, but few models take it; these do not.
static MESSAGE: Kind = Tagged(
    "role",
    &[
        ("user", &Shape(&[ROLE, needed("content", Either(&[Rule(filled), List(&USER_BLOCK, 1, MANY)]))])),
        ("assistant", &Shape(&[ROLE, needed("content", Either(&[Rule(filled), List(&ASSISTANT_BLOCK, 1, MANY)]))])),
    ],
);

const ROLE: Member = needed("role", Text);

const USER_BLOCK: Kind = Tagged(
    "type",
    &[
        ("text", &TEXT_BLOCK),
        ("image", &IMAGE),
        ("document", &DOCUMENT),
        ("search_result", &SEARCH_RESULT),
        (
            "tool_result",
            &Shape(&[
                TYPE,
                CACHE,
                needed("tool_use_id", Rule(tool_id)),
                set("content", Either(&[Text, List(&RESULT_BLOCK, 0, MANY)])),
                set("is_error", Bool),
            ]),
        ),
    ],
);

const ASSISTANT_BLOCK: Kind = Tagged(
    "type",
    &[
        ("text", &TEXT_BLOCK),
        ("document", &DOCUMENT),
        ("thinking", &Shape(&[TYPE, needed("thinking", Text), needed("signature", Rule(signature))])),
        ("redacted_thinking", &Shape(&[TYPE, needed("data", Text)])),
        (
            "tool_use",
            &Shape(&[TYPE, CACHE, needed("id", Rule(tool_id)), needed("name", Rule(tool_name)), needed("input", Free)]),
        ),
    ],
);

const RESULT_BLOCK: Kind = Tagged(
    "type",
    &[("text", &TEXT_BLOCK), ("image", &IMAGE), ("document", &DOCUMENT), ("search_result", &SEARCH_RESULT)],
);

static TEXT_BLOCK: Shape =
    Shape(&[TYPE, CACHE, needed("text", Rule(filled)), optional("citations", List(&Free, 0, MANY))]);

static IMAGE: Shape = Shape(&[
    TYPE,
    CACHE,
    needed(
        "source",
        Tagged(
            "type",
            &[
                (
                    "base64",
                    &Shape(&[
                        TYPE,
                        needed("media_type", OneOf(&["image/jpeg", "image/png", "image/gif", "image/webp"])),
                        needed("data", Rule(base64)),
                    ]),
                ),
                ("url", &URL_SOURCE),
                ("file", &FILE_SOURCE),
            ],
        ),
    ),
]);

static DOCUMENT: Shape = Shape(&[
    TYPE,
    CACHE,
    optional("citations", Object(&CITATIONS)),
    optional("context", Text),
    optional("title", Text),
    needed(
        "source",
        Tagged(
            "type",
            &[
                (
                    "base64",
                    &Shape(&[TYPE, needed("media_type", OneOf(&["application/pdf"])), needed("data", Rule(base64))]),
                ),
                ("text", &Shape(&[TYPE, needed("media_type", OneOf(&["text/plain"])), needed("data", Rule(filled))])),
                ("content", &Shape(&[TYPE, needed("content", Any)])),
                ("url", &URL_SOURCE),
                ("file", &FILE_SOURCE),
            ],
        ),
    ),
]);

static SEARCH_RESULT: Shape = Shape(&[
    TYPE,
    CACHE,
    needed("source", Text),
    needed("title", Text),
    needed("content", List(&Tagged("type", &[("text", &TEXT_BLOCK)]), 1, MANY)),
    set("citations", Object(&CITATIONS)),
]);

static URL_SOURCE: Shape = Shape(&[TYPE, needed("url", Rule(https))]);
static FILE_SOURCE: Shape = Shape(&[TYPE, needed("file_id", Text)]);
static CITATIONS: Shape = Shape(&[set("enabled", Bool)]);

rule!(filled, "text content blocks must contain non-whitespace text", |value| text(value)
    .is_some_and(|text| !text.trim().is_empty()));
rule!(stop_sequence, "each stop sequence must contain non-whitespace", |value| text(value)
    .is_some_and(|stop| !stop.trim().is_empty()));
rule!(tool_id, "String should match pattern '^[a-zA-Z0-9_-]+$'", |value| text(value)
    .is_some_and(|id| !id.is_empty() && id.bytes().all(is_name)));
rule!(tool_name, "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'", |value| {
    text(value).is_some_and(|name| (1..=128).contains(&name.len()) && name.bytes().all(is_name))
});
rule!(signature, "Invalid `signature` in `thinking` block", |value| text(value)
    .is_some_and(|signature| !signature.is_empty()));
rule!(base64, "Input should be valid base64", |value| text(value).is_some_and(crate::text::is_base64));
// The service fetches what it is shown, over TLS only.
rule!(https, "Only HTTPS URLs are supported.", |value| text(value).is_some_and(|url| url.starts_with("https://")));
rule!(object_schema, "input_schema: `type` must be \"object\"", |value| value.get("type").and_then(Value::as_str)
    == Some("object"));
// The pattern is our inference; that addresses are refused is not.
rule!(user_id, "user_id appears to contain an email address or a phone number", |value| {
    text(value).is_some_and(|id| {
        let phone =
            id.len() >= 8 && id.bytes().all(|b| b.is_ascii_digit() || b"+-() ".contains(&b)) && id.starts_with('+');
        id.len() <= 256 && !id.split_once('@').is_some_and(|(_, host)| host.contains('.')) && !phone
    })
});
// Documented, and the SDK adds it to every object before it sends a schema.
rule!(closed_schema, "For 'object' type, 'additionalProperties' must be explicitly set to false", is_closed);

fn is_closed(schema: &Value) -> bool {
    let Some(members) = schema.as_object() else { return schema.is_boolean() };
    let object = members.get("type").and_then(Value::as_str) == Some("object");
    let closed = !object || members.get("additionalProperties") == Some(&Value::Bool(false));
    let inner = ["properties", "$defs", "definitions"].into_iter().filter_map(|name| members.get(name)?.as_object());
    let alone = members.get("items").filter(|items| items.is_object());
    let lists = ["anyOf", "allOf"].into_iter().filter_map(|name| members.get(name)?.as_array()).flatten();
    closed && inner.flat_map(|inner| inner.values()).chain(alone).chain(lists).all(is_closed)
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}
