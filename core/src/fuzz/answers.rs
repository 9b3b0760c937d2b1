//! Targets for whole answers: read, written for the client, and errors of every status classified.

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::{Dice, Material, Target, none, requests, shape};
use crate::chat::{Destination, Expect, Inlined, JSON_TOOL};
use crate::dialect::openai_chat::{self, Envelope};
use crate::dialect::{
    anthropic, bedrock_converse, bedrock_invoke, nim_embeddings, openai_completions, openai_like, watsonx,
};
use crate::embed;
use crate::error::Failure;
use crate::model::Capabilities;
use crate::provider::{self, Endpoint, ProviderKind};
use crate::sign::iam;

pub(super) const OPENAI: Target = target("answer_openai", &[Material::Answers(&["openai", "azure-openai"])], |input| {
    for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings] {
        refused(openai_chat::read_answer(endpoint, input).err());
    }
    faults(&[ProviderKind::OpenAi], input);
});
pub(super) const ANTHROPIC: Target = target("answer_anthropic", &[Material::Answers(&["anthropic"])], |input| {
    chat(input, |expect| Ok(written(&anthropic::decode_response(input, expect)?, input)));
    faults(&[ProviderKind::Anthropic], input);
});
pub(super) const CONVERSE: Target = target("answer_converse", &[Material::Answers(&["bedrock"])], |input| {
    chat(input, |expect| Ok(written(&bedrock_converse::response::decode_response(input, expect)?, input)));
    faults(&[ProviderKind::Bedrock], input);
});
pub(super) const LIKE: Target = target("answer_like", &[Material::Answers(RELATIVES)], |input| {
    for kind in KINDS {
        chat(input, |expect| Ok(written(&openai_like::decode_response(*kind, input, expect)?, input)));
    }
    faults(KINDS, input);
});
pub(super) const COMPLETIONS: Target = target("answer_completions", &[Material::Answers(RELATIVES)], |input| {
    for kind in [ProviderKind::Cerebras, ProviderKind::Nim] {
        let whole = openai_completions::decode_response(kind, input, "a \"model\"");
        accept(whole.map(|whole| whole.body), input);
    }
    let echo = serde_json::value::to_raw_value("Say \"this\":").ok();
    let generated = watsonx::generation::decode(input, echo.as_deref())
        .map(|text| openai_completions::encode_response("cmpl-1", 1, "a \"model\"", &[text.choice], text.usage));
    accept(generated, input);
});
pub(super) const EMBEDDINGS: Target =
    target("answer_embeddings", &[Material::Answers(&["bedrock", "watsonxai", "nim"])], embeddings);
pub(super) const IAM: Target = Target {
    name: "answer_iam",
    material: &[Material::Answers(&["watsonxai"])],
    examples: || {
        let token = br#"{"access_token":"IAM.JWT","refresh_token":"x","token_type":"Bearer","expires_in":3600,"expiration":1760003600}"#;
        let fault = br#"{"errorCode":"BXNIM0415E","errorMessage":"Provided API key could not be found.","context":{}}"#;
        vec![token.to_vec(), fault.to_vec()]
    },
    run: |input| {
        let mut dice = Dice::of(input);
        let sent_ms = if dice.once_in(4) { dice.roll() >> 12 } else { 1_760_000_000_000 };
        for status in [StatusCode::OK, status(&mut dice)] {
            match iam::read(status, input, sent_ms) {
                Err(failure) => refused(Some(failure)),
                Ok(token) => {
                    assert!(sent_ms <= token.refresh_at_ms && token.refresh_at_ms <= token.expires_ms);
                    assert!(HeaderValue::from_str(token.value.open()).is_ok());
                }
            }
        }
    },
};

const RELATIVES: &[&str] = &["azure-openai", "watsonxai", "cerebras", "nim"];
const KINDS: &[ProviderKind] =
    &[ProviderKind::AzureOpenAi, ProviderKind::WatsonxAi, ProviderKind::Cerebras, ProviderKind::Nim];

const fn target(name: &'static str, material: &'static [Material], run: fn(&[u8])) -> Target {
    Target { name, material, examples: none, run }
}

fn chat(input: &[u8], read: impl FnOnce(&Expect) -> Result<Bytes, Failure>) {
    let mut dice = Dice::of(input);
    let expect = Expect {
        json_tool: dice.once_in(4).then_some(JSON_TOOL),
        no_tools: dice.once_in(8),
        free_calls: dice.once_in(2),
        renamed: vec![("get_weather".to_owned(), "weather \"now\"".to_owned())],
    };
    accept(read(&expect), input);
}

fn written(answer: &crate::chat::Answer<'_>, input: &[u8]) -> Bytes {
    let mut dice = Dice::of(input);
    let envelope = Envelope {
        id: "chatcmpl-1".to_owned(),
        created: 1,
        model: (!dice.once_in(4)).then(|| "a \"model\"".to_owned()),
        legacy_functions: dice.once_in(4),
        include_usage: false,
    };
    Bytes::from(openai_chat::encode_response(answer, &envelope))
}

/// An answer is JSON and not much longer than the provider's; a failure is the provider's.
fn accept(outcome: Result<Bytes, Failure>, input: &[u8]) {
    match outcome {
        Err(failure) => refused(Some(failure)),
        Ok(body) => {
            assert!(body.len() <= 4096 + input.len() * 64, "{} bytes became {}", input.len(), body.len());
            shape::object(&body);
        }
    }
}

fn refused(failure: Option<Failure>) {
    if let Some(failure) = failure {
        assert!(failure.status().as_u16() >= 400, "{failure:?}");
        shape::error(&failure.body());
    }
}

fn status(dice: &mut Dice) -> StatusCode {
    const USUAL: &[u16] = &[301, 400, 401, 402, 403, 404, 408, 409, 413, 422, 424, 429, 500, 503, 504, 529, 599, 999];
    let any = u16::try_from(100 + dice.below(900)).unwrap_or(500);
    let status = if dice.once_in(4) { any } else { dice.pick(USUAL).copied().unwrap_or(500) };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The body as an error of any status, with headers that say how long to wait.
fn faults(kinds: &[ProviderKind], input: &[u8]) {
    let mut dice = Dice::of(input);
    let mut headers = HeaderMap::new();
    let tail = input.get(input.len().saturating_sub(12)..).unwrap_or_default();
    for name in
        ["retry-after", "retry-after-ms", "x-amzn-errortype", "anthropic-ratelimit-requests-reset", "x-should-retry"]
    {
        let usual =
            ["1", "86400000000", "Wed, 21 Oct 2026 07:28:00 GMT", "2026-01-01T00:00:00Z", "-1", "1e400", "true"];
        let usual = dice.pick(&usual).copied().unwrap_or("1").as_bytes();
        let value = if dice.once_in(3) { tail } else { usual };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    for kind in kinds {
        let mut failure = provider::classify(*kind, status(&mut dice), &headers, input);
        let secret = String::from_utf8_lossy(tail).into_owned();
        crate::dialect::failure::scrub(&mut failure, [secret.as_str()].into_iter());
        refused(Some(failure));
    }
}

/// A request and the answers to its calls, all of them the input.
fn embeddings(input: &[u8]) {
    let mut dice = Dice::of(input);
    for (kind, model) in [
        (ProviderKind::Bedrock, "amazon.titan-embed-text-v2:0"),
        (ProviderKind::Bedrock, "cohere.embed-english-v3"),
        (ProviderKind::Bedrock, "cohere.embed-v4:0"),
        (ProviderKind::WatsonxAi, "ibm/slate-125m-english-rtrvr"),
        (ProviderKind::Nim, "nvidia/nv-embedqa-e5-v5"),
    ] {
        let several = if dice.once_in(2) { r#"["a","b"]"# } else { r#""a""# };
        let format = if dice.once_in(2) { "base64" } else { "float" };
        let body = format!(r#"{{"model":"m","input":{several},"encoding_format":"{format}"}}"#);
        let (settings, can, inlined) =
            (requests::settings(kind), Capabilities::of(kind, model, None), Inlined::default());
        let exchange = Exchange { kind, settings: &settings, model, can: &can, inlined: &inlined, strict: false };
        let to = Destination { kind, model, can: &can, settings: &settings, inlined: &inlined };
        let outcome = openai_chat::read_call(Endpoint::Embeddings, body.as_bytes()).and_then(|call| {
            let request = embed::decode_request(call.object())?;
            let mut answer = embed::Answer::new(&request);
            for call in exchange.embeddings(&request, &to)? {
                let headers = HeaderMap::new();
                let vectors = match kind {
                    ProviderKind::Bedrock => bedrock_invoke::decode(can.family, &headers, input),
                    ProviderKind::WatsonxAi => watsonx::embeddings::decode(&headers, input),
                    _ => nim_embeddings::decode(&headers, input),
                }?;
                answer.take(&call, &vectors)?;
            }
            answer.write("a \"model\"")
        });
        accept(outcome.map(|(body, _)| body), input);
    }
}
