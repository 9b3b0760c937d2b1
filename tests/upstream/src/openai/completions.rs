//! `POST /v1/completions`, the form before chats: one choice per prompt, and `n` of each.

use serde_json::{Map, Value, json};

use super::{
    Turn, chat, choice, shapes,
    stream::{self, Frame, Parts},
};
use crate::{
    answer::Answer,
    dialect::{count, flag},
    mind::{self, Why},
    shape::Refusal,
    step::Step,
    text,
};

/// The limit of an answer when the request names none.
const DEFAULT_MAX_TOKENS: usize = 16;

struct Completion {
    words: Vec<String>,
    finish_reason: String,
}

pub(super) fn check(body: &Map<String, Value>) -> Result<(), Refusal> {
    shapes::COMPLETIONS.check(body, "")?;
    check_rules(body)
}

/// The rules between the members that hold for every provider of this dialect.
pub(crate) fn check_rules(body: &Map<String, Value>) -> Result<(), Refusal> {
    chat::check_stream_options(body)?;
    let (n, best_of) = (count(body, "n").unwrap_or(1), count(body, "best_of"));
    match best_of {
        Some(best_of) if best_of < n => Err(Refusal::plain(
            "best_of",
            "You requested that the server return more choices than it will generate (HINT: 'best_of' must be at least 'n').",
        )),
        Some(best_of) if best_of > n && flag(body, "stream") => {
            Err(Refusal::plain("best_of", "Results with 'best_of' greater than 'n' cannot be streamed."))
        }
        _ => Ok(()),
    }
}

pub(super) fn answer(turn: Turn<'_>) -> Answer {
    let Turn { ask, body, step, .. } = turn;
    let prompts = prompts(body.get("prompt"));
    let n = count(body, "n").unwrap_or(1);
    let each = prompts.iter().flat_map(|prompt| (0..n).map(move |variant| (prompt, variant)));
    let all: Vec<Completion> = each.map(|((prompt, _), variant)| completion(body, step, prompt, variant)).collect();

    let said = all.iter().map(|one| u64::try_from(one.words.len()).unwrap_or_default()).sum();
    let usage = chat::usage_of(prompts.iter().map(|(_, tokens)| tokens).sum(), said, 0);
    let frame = Frame::of(turn, "text_completion", usage);
    let top = count(body, "logprobs");
    if stream::streamed(body, step) {
        return frame.stream(turn, parts(&all, top, ask.content_chunks(step)));
    }
    let choices = all.iter().enumerate().map(|(index, one)| {
        json!({"text": one.words.concat(), "index": index, "logprobs": top.map(|top| logprobs(&one.words, 0, top)), "finish_reason": one.finish_reason})
    });
    frame.whole(turn, choices.collect())
}

fn completion(body: &Map<String, Value>, step: &Step, prompt: &str, variant: usize) -> Completion {
    let mut said = match &step.text {
        Some(text) => text.clone(),
        None => format!(" Hello from the simulated provider. You said: {prompt}"),
    };
    if variant > 0 {
        said = format!(" (choice {}){said}", variant + 1);
    }
    let most = count(body, "max_tokens").unwrap_or(DEFAULT_MAX_TOKENS);
    let (mut words, why) = mind::limited(&said, &choice::stops(body), Some(most));
    let mut finish_reason = if why == Why::Length { "length" } else { "stop" };
    if let Some(reason) = &step.finish_reason {
        finish_reason = reason;
    }
    if flag(body, "echo") {
        words.insert(0, prompt.to_owned());
    }
    Completion { words, finish_reason: finish_reason.to_owned() }
}

fn parts(all: &[Completion], top: Option<usize>, chunks: Option<usize>) -> Parts {
    let mut parts = Parts { before: Vec::new(), content: Vec::new(), finish: Vec::new() };
    for (index, one) in all.iter().enumerate() {
        let groups = match chunks {
            Some(count) => text::regroup(one.words.clone(), count),
            None => one.words.clone(),
        };
        let mut offset = 0;
        for group in groups {
            let logprobs = top.map(|top| logprobs(std::slice::from_ref(&group), offset, top));
            offset += group.chars().count();
            parts.content.push(json!({"text": group, "index": index, "logprobs": logprobs, "finish_reason": null}));
        }
        parts.finish.push(json!({"text": "", "index": index, "logprobs": null, "finish_reason": one.finish_reason}));
    }
    parts
}

fn logprobs(words: &[String], mut offset: usize, top: usize) -> Value {
    let mut offsets = Vec::new();
    for word in words {
        offsets.push(offset);
        offset += word.chars().count();
    }
    let tops: Vec<Value> =
        words.iter().map(|word| Value::from_iter((0..top.min(1)).map(|_| (word.clone(), -0.01)))).collect();
    json!({"tokens": words, "token_logprobs": vec![-0.01; words.len()], "top_logprobs": tops, "text_offset": offsets})
}

/// The prompts as texts, with their numbers of tokens.
fn prompts(prompt: Option<&Value>) -> Vec<(String, u64)> {
    let tokens = |list: &[Value]| {
        let names: Vec<String> = list.iter().map(Value::to_string).collect();
        (format!("tokens {}", names.join(" ")), u64::try_from(list.len()).unwrap_or_default())
    };
    let text = |text: &str| (text.to_owned(), text::tokens(text));
    match prompt {
        Some(Value::String(one)) => vec![text(one)],
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => {
            vec![tokens(list)]
        }
        Some(Value::Array(list)) => {
            let one = |item: &Value| match item {
                Value::Array(list) => tokens(list),
                other => text(other.as_str().unwrap_or_default()),
            };
            list.iter().map(one).collect()
        }
        _ => vec![text("<|endoftext|>")],
    }
}
