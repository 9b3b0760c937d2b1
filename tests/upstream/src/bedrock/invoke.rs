//! InvokeModel for embeddings: each family has its own body.

use serde_json::{Map, Value, json};

use crate::{
    answer::Answer,
    dialect::{Ask, count, items, object, string, usage},
    shape::{Kind, Shape, needed, rule, set},
    step::Step,
    text,
};

use Kind::{Bool, Int, List, OneOf, Rule, Short, Text};

/// The body that an embedding model takes; none for any other model.
pub(super) fn table(id: &str) -> Option<&'static Shape> {
    let families = [
        ("titan-embed-text-v1", &TITAN_V1),
        ("titan-embed-g1-text", &TITAN_V1),
        ("titan-embed-text-v2", &TITAN_V2),
        ("cohere.embed-english-v3", &COHERE_V3),
        ("cohere.embed-multilingual-v3", &COHERE_V3),
        ("cohere.embed-v4", &COHERE_V4),
    ];
    families.into_iter().find(|(family, _)| id.contains(family)).map(|(_, table)| table)
}

pub(super) fn answer(ask: &Ask<'_>, id: &str, body: &Map<String, Value>, step: &Step) -> Answer {
    if id.contains("titan") { titan(id, body, step) } else { cohere(ask, id, body, step) }
}

fn titan(id: &str, body: &Map<String, Value>, step: &Step) -> Answer {
    let input = string(body, "inputText");
    let first = id.contains("v1") || id.contains("g1");
    let vector = vector(input, count(body, "dimensions").unwrap_or(if first { 1536 } else { 1024 }));
    let kinds: Vec<&str> = items(body, "embeddingTypes").iter().filter_map(Value::as_str).collect();
    let by_type = kinds.iter().map(|kind| match *kind {
        "binary" => ("binary", vector.iter().map(|part| json!(i32::from(*part > 0.0))).collect()),
        _ => ("float", json!(vector)),
    });
    let by_type = (!first).then(|| if kinds.is_empty() { json!({"float": vector}) } else { Value::from_iter(by_type) });
    let float = kinds.is_empty() || kinds.contains(&"float");
    let tokens = usage(json!(text::tokens(input)), step);
    let answer =
        [("embedding", float.then(|| json!(vector))), ("embeddingsByType", by_type), ("inputTextTokenCount", tokens)];
    Answer::json(200, &object(answer))
}

fn cohere(ask: &Ask<'_>, id: &str, body: &Map<String, Value>, step: &Step) -> Answer {
    let texts: Vec<&str> = items(body, "texts").iter().filter_map(Value::as_str).collect();
    let usual = if id.contains("v4") { 1536 } else { 1024 };
    let size = count(body, "output_dimension").unwrap_or(usual);
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| vector(text, size)).collect();
    let kinds: Vec<&str> = items(body, "embedding_types").iter().filter_map(Value::as_str).collect();
    let whole = |scale: f32, shift: f32| -> Value {
        let number = |part: &f32| json!((part * scale + shift).round());
        vectors.iter().map(|vector| vector.iter().map(number).collect::<Value>()).collect()
    };
    let one = |kind: &&str| match *kind {
        "int8" => ("int8", whole(127.0, 0.0)),
        "uint8" => ("uint8", whole(127.0, 128.0)),
        _ => ("float", json!(vectors)),
    };
    // Without types the vectors stand in a list, with them under their names.
    let (response_type, embeddings) = match kinds.as_slice() {
        [] => ("embeddings_floats", json!(vectors)),
        kinds => ("embeddings_by_type", Value::from_iter(kinds.iter().map(one))),
    };
    let id = format!("{:016x}", ask.seed());
    let answer =
        Answer::json(200, &json!({"id": id, "response_type": response_type, "embeddings": embeddings, "texts": texts}));
    let tokens: u64 = texts.iter().map(|input| text::tokens(input)).sum();
    match usage(json!(tokens), step) {
        Some(tokens) => answer.add("x-amzn-bedrock-input-token-count", &tokens.to_string()),
        None => answer,
    }
}

fn vector(input: &str, size: usize) -> Vec<f32> {
    text::vector(text::hash(input.as_bytes()), size)
}

const INPUT_TYPE: Kind = OneOf(&["search_document", "search_query", "classification", "clustering"]);

static TITAN_V1: Shape = Shape(&[needed("inputText", Rule(input_text))]);

static TITAN_V2: Shape = Shape(&[
    needed("inputText", Rule(input_text)),
    set("dimensions", Rule(titan_size)),
    set("normalize", Bool),
    set("embeddingTypes", List(&OneOf(&["float", "binary"]), 1, 2)),
]);

static COHERE_V3: Shape = Shape(&[
    needed("texts", List(&Short(2048), 1, 96)),
    needed("input_type", INPUT_TYPE),
    set("truncate", OneOf(&["NONE", "START", "END"])),
    set("embedding_types", List(&OneOf(&["float", "int8", "uint8", "binary", "ubinary"]), 1, 5)),
]);

static COHERE_V4: Shape = Shape(&[
    needed("texts", List(&Text, 1, 96)),
    needed("input_type", INPUT_TYPE),
    set("embedding_types", List(&OneOf(&["float", "int8", "uint8", "binary", "ubinary"]), 1, 5)),
    set("output_dimension", Rule(cohere_size)),
    set("max_tokens", Int(1, 128_000)),
    // The words are not those of the version before.
    set("truncate", OneOf(&["NONE", "LEFT", "RIGHT"])),
]);

rule!(input_text, "expected minLength: 1, actual: 0", |value| value.as_str().is_some_and(|text| !text.is_empty()));
rule!(titan_size, "expected one of 256, 512, 1024", |value| matches!(value.as_u64(), Some(256 | 512 | 1024)));
rule!(cohere_size, "expected one of 256, 512, 1024, 1536", |value| matches!(
    value.as_u64(),
    Some(256 | 512 | 1024 | 1536)
));
