//! The request bodies as tables, after OpenAI's API reference.

use serde_json::Value;

use crate::shape::{Kind, Member, Refusal, Shape, needed, needed_or_null, optional, set};

use Kind::{Any, Bool, Either, Free, Int, List, Num, Object, OneOf, Rule, Short, Tagged, Text};

pub(crate) const MANY: usize = 100_000;
pub(crate) const BIG: i64 = i64::MAX;

/// `POST /v1/chat/completions`.
pub(crate) static CHAT: Shape = Shape(&[
    needed("model", Text),
    needed("messages", List(&MESSAGE, 1, MANY)),
    set("audio", Object(&AUDIO_OUT)),
    optional("frequency_penalty", Num(-2.0, 2.0)),
    set("function_call", Either(&[OneOf(&["none", "auto"]), Object(&Shape(&[needed("name", FUNCTION_NAME)]))])),
    set("functions", List(&Object(&FUNCTION), 1, 128)),
    optional("logit_bias", Rule(logit_bias)),
    optional("logprobs", Bool),
    optional("max_completion_tokens", Int(1, BIG)),
    optional("max_tokens", Int(1, BIG)),
    optional("metadata", Rule(metadata)),
    optional("modalities", List(&OneOf(&["text", "audio"]), 1, 2)),
    optional("moderation", Free),
    optional("n", Int(1, 128)),
    set("parallel_tool_calls", Bool),
    optional("prediction", Object(&Shape(&[needed("type", OneOf(&["content"])), needed("content", TEXT_OR_PARTS)]))),
    optional("presence_penalty", Num(-2.0, 2.0)),
    set("prompt_cache_key", Text),
    set(
        "prompt_cache_options",
        Object(&Shape(&[set("mode", OneOf(&["implicit", "explicit"])), set("ttl", OneOf(&["30m"]))])),
    ),
    optional("prompt_cache_retention", OneOf(&["in_memory", "24h"])),
    optional("reasoning_effort", OneOf(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    set("response_format", RESPONSE_FORMAT),
    set("safety_identifier", Short(64)),
    optional("seed", Int(i64::MIN, BIG)),
    optional("service_tier", OneOf(&["auto", "default", "flex", "scale", "priority", "fast"])),
    STOP,
    optional("store", Bool),
    optional("stream", Bool),
    STREAM_OPTIONS,
    optional("temperature", Num(0.0, 2.0)),
    set(
        "tool_choice",
        Either(&[
            OneOf(&["none", "auto", "required"]),
            Tagged(
                "type",
                &[
                    ("function", &Shape(&[TYPE, needed("function", Object(&Shape(&[needed("name", FUNCTION_NAME)])))])),
                    ("custom", &Shape(&[TYPE, needed("custom", Object(&Shape(&[needed("name", FUNCTION_NAME)])))])),
                    ("allowed_tools", &Shape(&[TYPE, needed("allowed_tools", Object(&ALLOWED_TOOLS))])),
                ],
            ),
        ]),
    ),
    set(
        "tools",
        List(
            &Tagged(
                "type",
                &[
                    ("function", &Shape(&[TYPE, needed("function", Object(&FUNCTION))])),
                    ("custom", &Shape(&[TYPE, needed("custom", Object(&CUSTOM_TOOL))])),
                ],
            ),
            1,
            128,
        ),
    ),
    optional("top_logprobs", Int(0, 20)),
    optional("top_p", Num(0.0, 1.0)),
    set("user", Text),
    optional("verbosity", OneOf(&["low", "medium", "high"])),
    set(
        "web_search_options",
        Object(&Shape(&[
            set("search_context_size", OneOf(&["low", "medium", "high"])),
            optional("user_location", Free),
        ])),
    ),
]);

/// `POST /v1/completions`.
pub(crate) static COMPLETIONS: Shape = Shape(&[
    needed("model", Text),
    needed_or_null("prompt", PROMPT),
    optional("best_of", Int(1, 20)),
    optional("echo", Bool),
    optional("frequency_penalty", Num(-2.0, 2.0)),
    optional("logit_bias", Rule(logit_bias)),
    optional("logprobs", Int(0, 5)),
    optional("max_tokens", Int(0, BIG)),
    optional("n", Int(1, 128)),
    optional("presence_penalty", Num(-2.0, 2.0)),
    optional("seed", Int(i64::MIN, BIG)),
    STOP,
    optional("stream", Bool),
    STREAM_OPTIONS,
    optional("suffix", Text),
    optional("temperature", Num(0.0, 2.0)),
    optional("top_p", Num(0.0, 1.0)),
    set("user", Text),
]);

/// `POST /v1/embeddings`.
pub(crate) static EMBEDDINGS: Shape = Shape(&[
    needed("model", Text),
    needed(
        "input",
        Either(&[
            Rule(filled_text),
            List(&Rule(filled_text), 1, 2048),
            List(&TOKEN, 1, 8192),
            List(&List(&TOKEN, 1, 8192), 1, 2048),
        ]),
    ),
    set("dimensions", Int(1, 3072)),
    set("encoding_format", OneOf(&["float", "base64"])),
    set("user", Text),
]);

/// What the providers of this dialect have in common.
pub(crate) const PROMPT: Kind =
    Either(&[Text, List(&Text, 1, 2048), List(&TOKEN, 1, MANY), List(&List(&TOKEN, 1, MANY), 1, 2048)]);
pub(crate) const RESPONSE_FORMAT: Kind =
    Tagged("type", &[("text", &BARE), ("json_object", &BARE), ("json_schema", &JSON_SCHEMA)]);
/// `stream_options` without what only OpenAI has.
pub(crate) const USAGE_OPTION: Member = optional("stream_options", Object(&Shape(&[set("include_usage", Bool)])));
pub(crate) static IMAGE_URL: Shape =
    Shape(&[needed("url", Rule(image_url)), set("detail", OneOf(&["auto", "low", "high"]))]);
pub(crate) const TEXT_OR_BARE_PARTS: Kind =
    Either(&[Text, List(&Tagged("type", &[("text", &BARE_TEXT_PART)]), 1, MANY)]);
pub(crate) static BARE_TEXT_PART: Shape = Shape(&[TYPE, needed("text", Text)]);
pub(crate) static NAMED_FUNCTION: Shape = Shape(&[
    needed("type", OneOf(&["function"])),
    needed("function", Object(&Shape(&[needed("name", FUNCTION_NAME)]))),
]);
pub(crate) static FUNCTION_TOOL: Shape =
    Shape(&[needed("type", OneOf(&["function"])), needed("function", Object(&FUNCTION))]);
/// A tool whose function has no `strict`.
pub(crate) static LOOSE_FUNCTION_TOOL: Shape = Shape(&[
    needed("type", OneOf(&["function"])),
    needed(
        "function",
        Object(&Shape(&[needed("name", FUNCTION_NAME), set("description", Text), set("parameters", Free)])),
    ),
]);
pub(crate) static FUNCTION_CALL: Shape =
    Shape(&[needed("type", OneOf(&["function"])), needed("id", Text), needed("function", Object(&CALLED_FUNCTION))]);

pub(crate) const TYPE: Member = needed("type", Text);
const TOKEN: Kind = Int(0, 400_000);
const FUNCTION_NAME: Kind = Rule(function_name);
pub(crate) const STOP: Member = optional("stop", Either(&[Text, List(&Text, 1, 4)]));
const STREAM_OPTIONS: Member =
    optional("stream_options", Object(&Shape(&[set("include_usage", Bool), set("include_obfuscation", Bool)])));
pub(crate) const TEXT_OR_PARTS: Kind = Either(&[Text, List(&Tagged("type", &[("text", &TEXT_PART)]), 1, MANY)]);
const BREAKPOINT: Member =
    set("prompt_cache_breakpoint", Object(&Shape(&[needed("mode", OneOf(&["explicit"])), set("ttl", Text)])));

static BARE: Shape = Shape(&[TYPE]);
static TEXT_PART: Shape = Shape(&[TYPE, needed("text", Text), BREAKPOINT]);
static JSON_SCHEMA: Shape = Shape(&[
    TYPE,
    needed(
        "json_schema",
        Object(&Shape(&[
            needed("name", FUNCTION_NAME),
            set("description", Text),
            set("schema", Free),
            optional("strict", Bool),
        ])),
    ),
]);
static FUNCTION: Shape = Shape(&[
    needed("name", FUNCTION_NAME),
    set("description", Text),
    set("parameters", Free),
    optional("strict", Bool),
]);
static CUSTOM_TOOL: Shape = Shape(&[needed("name", FUNCTION_NAME), set("description", Text), set("format", Free)]);
static ALLOWED_TOOLS: Shape =
    Shape(&[needed("mode", OneOf(&["auto", "required"])), needed("tools", List(&Free, 1, 128))]);
static AUDIO_OUT: Shape =
    Shape(&[needed("format", OneOf(&["wav", "aac", "mp3", "flac", "opus", "pcm16"])), needed("voice", Any)]);

static MESSAGE: Kind = Tagged(
    "role",
    &[
        ("developer", &INSTRUCTION),
        ("system", &INSTRUCTION),
        ("user", &Shape(&[ROLE, NAME, needed("content", Either(&[Text, List(&USER_PART, 1, MANY)]))])),
        (
            "assistant",
            &Shape(&[
                ROLE,
                NAME,
                optional(
                    "content",
                    Either(&[
                        Text,
                        List(
                            &Tagged(
                                "type",
                                &[("text", &TEXT_PART), ("refusal", &Shape(&[TYPE, needed("refusal", Text)]))],
                            ),
                            1,
                            MANY,
                        ),
                    ]),
                ),
                optional("refusal", Text),
                // Its own messages come back as they were given out.
                optional("annotations", List(&Free, 0, MANY)),
                optional("audio", Object(&Shape(&[needed("id", Text)]))),
                optional("function_call", Object(&CALLED_FUNCTION)),
                set(
                    "tool_calls",
                    List(
                        &Tagged(
                            "type",
                            &[
                                (
                                    "function",
                                    &Shape(&[TYPE, needed("id", Text), needed("function", Object(&CALLED_FUNCTION))]),
                                ),
                                (
                                    "custom",
                                    &Shape(&[
                                        TYPE,
                                        needed("id", Text),
                                        needed(
                                            "custom",
                                            Object(&Shape(&[needed("name", Text), needed("input", Text)])),
                                        ),
                                    ]),
                                ),
                            ],
                        ),
                        1,
                        128,
                    ),
                ),
            ]),
        ),
        ("tool", &Shape(&[ROLE, needed("tool_call_id", Text), needed("content", TEXT_OR_PARTS)])),
        ("function", &Shape(&[ROLE, needed("name", Text), needed_or_null("content", Text)])),
    ],
);

pub(crate) const ROLE: Member = needed("role", Text);
pub(crate) const NAME: Member = set("name", Text);
static INSTRUCTION: Shape = Shape(&[ROLE, NAME, needed("content", TEXT_OR_PARTS)]);
static CALLED_FUNCTION: Shape = Shape(&[needed("name", Text), needed("arguments", Text)]);

const USER_PART: Kind = Tagged(
    "type",
    &[
        ("text", &TEXT_PART),
        (
            "image_url",
            &Shape(&[
                TYPE,
                BREAKPOINT,
                needed(
                    "image_url",
                    Object(&Shape(&[
                        needed("url", Rule(image_url)),
                        set("detail", OneOf(&["auto", "low", "high", "original"])),
                    ])),
                ),
            ]),
        ),
        (
            "input_audio",
            &Shape(&[
                TYPE,
                BREAKPOINT,
                needed(
                    "input_audio",
                    Object(&Shape(&[needed("data", Text), needed("format", OneOf(&["wav", "mp3"]))])),
                ),
            ]),
        ),
        (
            "file",
            &Shape(&[
                TYPE,
                BREAKPOINT,
                needed("file", Object(&Shape(&[set("file_data", Text), set("file_id", Text), set("filename", Text)]))),
            ]),
        ),
    ],
);

fn function_name(value: &Value, path: &str) -> Result<(), Refusal> {
    let name = value.as_str().unwrap_or_default();
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if letters && (1..=64).contains(&name.len()) {
        return Ok(());
    }
    let message = format!("Invalid '{path}': expected up to 64 letters, digits, '_' or '-'.");
    Err(Refusal::of(path, "invalid_value", message))
}

fn filled_text(value: &Value, path: &str) -> Result<(), Refusal> {
    match value.as_str() {
        Some("") => Err(Refusal::plain(path, &format!("Invalid '{path}': input cannot be an empty string."))),
        Some(_) => Ok(()),
        None => Err(Refusal::of(path, "invalid_type", format!("Invalid type for '{path}': expected a string."))),
    }
}

pub(crate) fn image_url(value: &Value, path: &str) -> Result<(), Refusal> {
    let url = value.as_str().unwrap_or_default();
    let embedded = url.starts_with("data:image/") && url.contains(";base64,");
    if embedded || url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    Err(Refusal::of(
        path,
        "invalid_image_url",
        format!("Invalid '{path}': expected a URL or a base64 data URL of an image."),
    ))
}

fn logit_bias(value: &Value, path: &str) -> Result<(), Refusal> {
    let entries = value.as_object().into_iter().flatten();
    let good = value.is_object()
        && entries.into_iter().all(|(token, bias)| {
            token.bytes().all(|b| b.is_ascii_digit()) && bias.as_f64().is_some_and(|b| (-100.0..=100.0).contains(&b))
        });
    if good {
        Ok(())
    } else {
        Err(Refusal::of(
            path,
            "invalid_value",
            format!("Invalid '{path}': expected token ids with a bias of -100 to 100."),
        ))
    }
}

fn metadata(value: &Value, path: &str) -> Result<(), Refusal> {
    let fits = |(name, value): (&String, &Value)| {
        name.chars().count() <= 64 && value.as_str().is_some_and(|text| text.chars().count() <= 512)
    };
    match value.as_object() {
        Some(pairs) if pairs.len() <= 16 && pairs.iter().all(fits) => Ok(()),
        _ => Err(Refusal::of(
            path,
            "invalid_value",
            format!("Invalid '{path}': expected up to 16 pairs of strings (64 and 512 characters)."),
        )),
    }
}
