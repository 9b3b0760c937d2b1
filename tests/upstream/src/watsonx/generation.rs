//! Text generation, the form before chats, and embeddings.

use serde_json::{Map, Value, json};

use super::chat;
use crate::{
    answer::Answer,
    dialect::{Ask, count, items, object, string, usage},
    mind::{self, Why},
    step::Step,
    text,
};

/// The limit of an answer when the request names none.
const DEFAULT_MAX_TOKENS: usize = 20;

pub(super) fn answer(ask: &Ask<'_>, body: &Map<String, Value>, model: &str, step: &Step, stream: bool) -> Answer {
    let nothing = Map::new();
    let parameters = body.get("parameters").and_then(Value::as_object).unwrap_or(&nothing);
    let input = string(body, "input");
    let said = match &step.text {
        Some(text) => text.clone(),
        None => format!(" Hello from the simulated provider. You said: {input}"),
    };
    let stops: Vec<&str> = items(parameters, "stop_sequences").iter().filter_map(Value::as_str).collect();
    let (mut words, why) =
        mind::limited(&said, &stops, Some(count(parameters, "max_new_tokens").unwrap_or(DEFAULT_MAX_TOKENS)));
    let reason = match &why {
        Why::Length => "max_tokens",
        Why::Stop(stop) => {
            // The stop text is part of the answer unless the request says otherwise.
            if parameters.get("include_stop_sequence") != Some(&json!(false)) {
                words.push(stop.clone());
            }
            "stop_sequence"
        }
        Why::Done | Why::Calls | Why::Refused => "eos_token",
    };
    let reason = step.finish_reason.as_deref().unwrap_or(reason);
    let model = step.model.as_deref().unwrap_or(model);
    let whole = |result: Value| json!({"model_id": model, "model_version": "1.0.0", "created_at": super::created_at(ask), "results": [result]});
    let input_tokens = text::tokens(input);
    if !step.stream.unwrap_or(stream) {
        let counts = counts(step, input_tokens, words.len());
        return Answer::json(200, &whole(result(&words.concat(), counts, reason)));
    }
    let groups = match ask.content_chunks(step) {
        Some(count) => text::regroup(words.clone(), count),
        None => words.clone(),
    };
    let all = groups.len();
    // Counts are cumulative; those of the input are told once.
    let mut results: Vec<Value> = groups
        .iter()
        .enumerate()
        .map(|(at, group)| {
            whole(result(group, counts(step, if at == 0 { input_tokens } else { 0 }, at + 1), "not_finished"))
        })
        .collect();
    if !step.no_finish {
        results.push(whole(result("", counts(step, 0, all), reason)));
    }
    if let Some((after, error)) = ask.error_event(step, chat::failure) {
        results.truncate(after);
        results.push(error);
    }
    Answer::events(results.iter().enumerate().map(|(at, payload)| chat::event(at, payload)).collect())
}

pub(super) fn embeddings(ask: &Ask<'_>, body: &Map<String, Value>, step: &Step) -> Answer {
    let model = string(body, "model_id");
    let inputs: Vec<&str> = items(body, "inputs").iter().filter_map(Value::as_str).collect();
    let echoes = body.get("parameters").and_then(|parameters| parameters.pointer("/return_options/input_text"))
        == Some(&json!(true));
    let one = |input: &&str| {
        let embedding = json!(text::vector(text::hash(input.as_bytes()), 768));
        object([("embedding", Some(embedding)), ("input", echoes.then(|| json!(input)))])
    };
    let results: Value = inputs.iter().map(one).collect();
    let tokens: u64 = inputs.iter().map(|input| text::tokens(input)).sum();
    let answer = [
        ("model_id", Some(json!(step.model.as_deref().unwrap_or(model)))),
        ("created_at", Some(json!(super::created_at(ask)))),
        ("results", Some(results)),
        ("input_token_count", usage(json!(tokens), step)),
    ];
    Answer::json(200, &object(answer))
}

fn result(said: &str, counts: Option<(usize, u64)>, reason: &str) -> Value {
    object([
        ("generated_text", Some(json!(said))),
        ("generated_token_count", counts.map(|(generated, _)| json!(generated))),
        ("input_token_count", counts.map(|(_, input)| json!(input))),
        ("stop_reason", Some(json!(reason))),
    ])
}

/// Tokens said and heard, unless the step leaves them out.
fn counts(step: &Step, input: u64, said: usize) -> Option<(usize, u64)> {
    usage(Value::Null, step).map(|_| (said, input))
}
