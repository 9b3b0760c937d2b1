//! Chat completions.

use super::{Asked, TEXT, now_ns};

pub(super) fn whole() -> String {
    let now = now_ns();
    format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1790000000,\"model\":\"gpt-4o-mini\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{TEXT}\",\"refusal\":null,\
         \"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":19,\
         \"completion_tokens\":30,\"total_tokens\":49,\"prompt_tokens_details\":{{\"cached_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0}}}},\"system_fingerprint\":\"fp_{now}\"}}"
    )
}

/// The role, `max_tokens` texts, and at last the reason of the end, usage if asked for, and the mark of the end.
pub(super) fn piece(asked: &Asked, number: u32) -> Option<String> {
    let texts = asked.max_tokens;
    if number == 0 {
        return Some(chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null"));
    }
    if number <= texts {
        return Some(chunk(&format!("{{\"content\":\"@{}#{number}\"}}", now_ns()), "null"));
    }
    let usage = if asked.stream_options.include_usage {
        let total = texts + 19;
        let usage = format!("{{\"prompt_tokens\":19,\"completion_tokens\":{texts},\"total_tokens\":{total}}}");
        event(&format!("[],\"usage\":{usage}"))
    } else {
        String::new()
    };
    (number == texts + 1).then(|| format!("{}{usage}data: [DONE]\n\n", chunk("{}", "\"stop\"")))
}

fn chunk(delta: &str, reason: &str) -> String {
    event(&format!("[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{reason}}}]"))
}

fn event(choices: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
         \"model\":\"gpt-4o-mini\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":{choices}}}\n\n"
    )
}
