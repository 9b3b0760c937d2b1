//! Targets for what clients send: read, and written for each type of provider.

use super::exchange::Exchange;
use super::{Dice, Material, Target, none, shape};
use crate::chat::{ImageKind, Inlined};
use crate::egress::url::AllowedOrigins;
use crate::model::{Capabilities, Overrides};
use crate::provider::{self, Endpoint, ProviderKind, Settings};

pub(super) const OPENAI: Target = target("request_openai", |input| run(ProviderKind::OpenAi, input));
pub(super) const AZURE: Target = target("request_azure_openai", |input| run(ProviderKind::AzureOpenAi, input));
pub(super) const ANTHROPIC: Target = target("request_anthropic", |input| run(ProviderKind::Anthropic, input));
pub(super) const BEDROCK: Target = target("request_bedrock", |input| run(ProviderKind::Bedrock, input));
pub(super) const WATSONX: Target = target("request_watsonxai", |input| run(ProviderKind::WatsonxAi, input));
pub(super) const CEREBRAS: Target = target("request_cerebras", |input| run(ProviderKind::Cerebras, input));
pub(super) const NIM: Target = target("request_nim", |input| run(ProviderKind::Nim, input));

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, material: &[Material::Requests], examples: none, run }
}

/// What a body says of streaming.
#[derive(serde::Deserialize)]
struct Stream {
    stream: Option<bool>,
}

/// Ids of models that are treated differently.
fn models(kind: ProviderKind) -> &'static [&'static str] {
    match kind {
        ProviderKind::OpenAi => &["gpt-4o"],
        ProviderKind::AzureOpenAi => &["my-deployment"],
        ProviderKind::Anthropic => &[
            "claude-3-5-haiku-20241022",
            "claude-3-7-sonnet-20250219",
            "claude-sonnet-4-5",
            "claude-opus-4-5-20251101",
            "claude-opus-4-6",
            "claude-opus-4-7",
        ],
        ProviderKind::Bedrock => &[
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "amazon.nova-lite-v1:0",
            "openai.gpt-oss-120b-1:0",
            "meta.llama3-3-70b-instruct-v1:0",
            "amazon.titan-embed-text-v1",
            "amazon.titan-embed-text-v2:0",
            "cohere.embed-english-v3",
            "cohere.embed-v4:0",
        ],
        ProviderKind::WatsonxAi => {
            &["ibm/granite-3-8b-instruct", "deployment/my-deployment", "ibm/slate-125m-english-rtrvr"]
        }
        ProviderKind::Cerebras => &["llama-3.3-70b", "gpt-oss-120b", "qwen-3-32b", "zai-glm-4.6"],
        ProviderKind::Nim => &["meta/llama-3.1-8b-instruct", "openai/gpt-oss-20b", "nvidia/nv-embedqa-e5-v5"],
    }
}

/// The least `data` that a type takes.
pub(super) fn settings(kind: ProviderKind) -> Settings {
    let data = match kind {
        ProviderKind::AzureOpenAi => r#"{"apikey":"a","resource_name":"my-res"}"#,
        ProviderKind::Bedrock => r#"{"api_key":"a","region":"us-east-1"}"#,
        ProviderKind::WatsonxAi => r#"{"apikey":"a","project_id":"11111111-aaaa-4bbb-8ccc-222222222222"}"#,
        ProviderKind::OpenAi | ProviderKind::Anthropic | ProviderKind::Cerebras | ProviderKind::Nim => {
            r#"{"apikey":"a"}"#
        }
    };
    let data = serde_json::from_str(data).ok();
    let parsed = data.and_then(|data| provider::parse_data(kind, data, &AllowedOrigins::default()).ok());
    assert!(parsed.is_some(), "the settings of {} are wrong", kind.as_str());
    parsed.map(|(settings, _)| settings).unwrap_or_default()
}

fn run(kind: ProviderKind, input: &[u8]) {
    let mut dice = Dice::of(input);
    let model = dice.pick(models(kind)).copied().unwrap_or("m");
    let overrides = dice.once_in(4).then(|| overrides(&mut dice));
    let can = Capabilities::of(kind, model, overrides.as_ref());
    let mut inlined = Inlined::default();
    for url in ["https://example.com/cat.png", "https://images.example.com/cat.png"] {
        inlined.put(url, ImageKind::Png, b"\x89PNG");
    }
    let settings = settings(kind);
    let exchange = Exchange { kind, settings: &settings, model, can: &can, inlined: &inlined, strict: dice.once_in(2) };
    for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings] {
        if !kind.serves(endpoint) {
            continue;
        }
        match exchange.prepare(endpoint, input) {
            Err(failure) => {
                assert!(failure.status().is_client_error(), "{failure:?}");
                shape::error(&failure.body());
            }
            Ok(prepared) => {
                let written: usize = prepared.bodies.iter().map(bytes::Bytes::len).sum();
                let most = 4096 * (1 + prepared.bodies.len()) + input.len() * 16;
                assert!(written <= most, "{} bytes became {written}", input.len());
                for body in &prepared.bodies {
                    shape::object(body);
                }
                let asked = serde_json::from_slice::<Stream>(input).is_ok_and(|asked| asked.stream == Some(true));
                assert_eq!(
                    prepared.stream.is_some(),
                    asked && endpoint != Endpoint::Embeddings,
                    "a stream not asked for"
                );
            }
        }
    }
}

fn overrides(dice: &mut Dice) -> Overrides {
    const FLAGS: [&str; 10] = [
        "sampling",
        "top_p_with_temperature",
        "structured_output",
        "forced_tool_choice",
        "prompt_caching",
        "images",
        "audio",
        "text_beside_tool_results",
        "system_role",
        "multiple_choices",
    ];
    let mut members = serde_json::Map::new();
    for name in FLAGS {
        if dice.once_in(2) {
            members.insert(name.to_owned(), dice.once_in(2).into());
        }
    }
    for name in ["max_output_tokens", "default_max_tokens"] {
        if dice.once_in(2) {
            members.insert(name.to_owned(), if dice.once_in(2) { 1 } else { u64::MAX }.into());
        }
    }
    Overrides::of(members).unwrap_or_default()
}
