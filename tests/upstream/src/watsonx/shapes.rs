//! The bodies as tables, after the interfaces of IBM's SDKs.

use crate::{
    openai::shapes::{
        BARE_TEXT_PART, BIG, FUNCTION_CALL, LOOSE_FUNCTION_TOOL, MANY, NAME, NAMED_FUNCTION, RESPONSE_FORMAT, ROLE,
        TYPE,
    },
    shape::{Kind, Member, Shape, needed, rule, set},
};

use Kind::{Any, Bool, Either, Free, Int, List, Num, Object, OneOf, Rule, Tagged, Text};

/// `POST /ml/v1/text/chat` and `/chat_stream`; whether it streams is in the path only.
pub(super) static CHAT: Shape = Shape(&[
    MODEL,
    PROJECT,
    SPACE,
    needed("messages", List(&MESSAGE, 1, MANY)),
    set("chat_template_kwargs", Free),
    set("context", Text),
    set("crypto", Free),
    set("frequency_penalty", Num(-2.0, 2.0)),
    set("guided_choice", List(&Text, 1, MANY)),
    set("guided_grammar", Text),
    set("guided_json", Any),
    set("guided_regex", Text),
    set("include_reasoning", Bool),
    set("length_penalty", Num(0.0, 100.0)),
    set("logit_bias", Free),
    set("logprobs", Bool),
    set("max_completion_tokens", Int(0, BIG)),
    set("max_tokens", Int(0, BIG)),
    set("n", Int(1, 128)),
    set("presence_penalty", Num(-2.0, 2.0)),
    set("reasoning_effort", OneOf(&["low", "medium", "high"])),
    set("repetition_penalty", Num(0.0, 100.0)),
    set("response_format", RESPONSE_FORMAT),
    set("seed", Int(i64::MIN, BIG)),
    // A string alone is refused.
    set("stop", List(&Text, 0, 4)),
    set("temperature", Num(0.0, 2.0)),
    set("time_limit", Int(1, BIG)),
    set("tool_choice", Object(&NAMED_FUNCTION)),
    set("tool_choice_option", OneOf(&["none", "auto", "required"])),
    set("tools", List(&Object(&LOOSE_FUNCTION_TOOL), 1, 128)),
    set("top_logprobs", Int(0, 20)),
    set("top_p", Num(0.0, 1.0)),
]);

/// `POST /ml/v1/text/generation` and `/generation_stream`.
pub(super) static GENERATION: Shape = Shape(&[
    MODEL,
    PROJECT,
    SPACE,
    needed("input", Rule(filled)),
    set("moderations", Free),
    set(
        "parameters",
        Object(&Shape(&[
            set("decoding_method", OneOf(&["greedy", "sample"])),
            set("include_stop_sequence", Bool),
            set("length_penalty", Free),
            set("max_new_tokens", Int(0, BIG)),
            set("min_new_tokens", Int(0, BIG)),
            set("prompt_variables", Free),
            set("random_seed", Int(1, BIG)),
            set("repetition_penalty", Num(1.0, 2.0)),
            set("return_options", Free),
            set("stop_sequences", List(&Text, 0, 6)),
            set("temperature", Num(0.0, 2.0)),
            set("time_limit", Int(1, BIG)),
            set("top_k", Int(1, 100)),
            set("top_p", Num(0.0, 1.0)),
            set("truncate_input_tokens", Int(0, BIG)),
        ])),
    ),
]);

/// `POST /ml/v1/text/embeddings`.
pub(super) static EMBEDDINGS: Shape = Shape(&[
    MODEL,
    PROJECT,
    SPACE,
    needed("inputs", List(&Text, 1, 1000)),
    set("crypto", Free),
    set(
        "parameters",
        Object(&Shape(&[
            set("truncate_input_tokens", Int(-1, BIG)),
            set("return_options", Object(&Shape(&[set("input_text", Bool)]))),
        ])),
    ),
]);

/// Which of these must be there depends on the path.
const MODEL: Member = set("model_id", Text);
const PROJECT: Member = set("project_id", Text);
const SPACE: Member = set("space_id", Text);

static MESSAGE: Kind = Tagged(
    "role",
    &[
        // Lists of parts are for users alone.
        ("system", &Shape(&[ROLE, NAME, needed("content", Text)])),
        ("user", &Shape(&[ROLE, NAME, needed("content", Either(&[Text, List(&USER_PART, 1, MANY)]))])),
        (
            "assistant",
            &Shape(&[
                ROLE,
                NAME,
                set("content", Text),
                set("refusal", Text),
                set("tool_calls", List(&Object(&FUNCTION_CALL), 1, 128)),
            ]),
        ),
        ("tool", &Shape(&[ROLE, needed("tool_call_id", Text), needed("content", Text)])),
        // Granite's switch for thinking.
        ("control", &Shape(&[ROLE, needed("content", Text)])),
    ],
);

const USER_PART: Kind = Tagged(
    "type",
    &[
        ("text", &BARE_TEXT_PART),
        (
            "image_url",
            &Shape(&[
                TYPE,
                needed(
                    "image_url",
                    Object(&Shape(&[needed("url", Rule(data_url)), set("detail", OneOf(&["auto", "low", "high"]))])),
                ),
            ]),
        ),
        ("video_url", &Shape(&[TYPE, needed("video_url", Object(&Shape(&[needed("url", Text)])))])),
        (
            "input_audio",
            &Shape(&[TYPE, needed("input_audio", Object(&Shape(&[needed("data", Text), needed("format", Text)])))]),
        ),
    ],
);

rule!(filled, "input must not be empty", |value| value.as_str().is_some_and(|text| !text.is_empty()));
// Images are documented as base64 only.
rule!(data_url, "expected a base64 data URL of an image", |value| {
    value.as_str().is_some_and(|url| {
        let data = url.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
        data.is_some_and(|(_, data)| crate::text::is_base64(data))
    })
});
