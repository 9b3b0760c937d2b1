//! Messages, with all that Anthropic's own answers have around the text.

use super::{Asked, TEXT, now_ns};

pub(super) fn whole() -> String {
    let now = now_ns();
    format!(
        "{{\"model\":\"claude-sonnet-4-6\",\"id\":\"msg_01BenchBenchBenchBenchBe\",\"type\":\"message\",\
         \"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"{TEXT}@{now}\"}}],\
         \"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{{{INPUT},\"output_tokens\":30}}}}"
    )
}

/// The message, its block of text and a ping, `max_tokens` texts, and at last the ends of the block and of the message.
pub(super) fn piece(asked: &Asked, number: u32) -> Option<String> {
    let texts = asked.max_tokens;
    if number == 0 {
        return Some(event(
            "message_start",
            &format!(
                "\"message\":{{\"model\":\"claude-sonnet-4-6\",\"id\":\"msg_01BenchBenchBenchBenchBe\",\
                 \"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\
                 \"stop_sequence\":null,\"usage\":{{{INPUT},\"output_tokens\":1}}}}"
            ),
        ));
    }
    if number == 1 {
        let block = event("content_block_start", "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
        return Some(block + "event: ping\ndata: {\"type\": \"ping\"}\n\n");
    }
    let number = number - 1;
    if number <= texts {
        let text = format!("\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"@{}#{number}\"}}", now_ns());
        return Some(event("content_block_delta", &text));
    }
    let end = || {
        let delta = format!(
            "\"delta\":{{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}},\"usage\":{{{INPUT},\"output_tokens\":{texts}}}"
        );
        event("content_block_stop", "\"index\":0") + &event("message_delta", &delta) + MESSAGE_STOP
    };
    (number == texts + 1).then(end)
}

fn event(kind: &str, members: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{members}   }}\n\n")
}

const MESSAGE_STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"      }\n\n";
const INPUT: &str = "\"input_tokens\":19,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\
    \"cache_creation\":{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":0},\"service_tier\":\"standard\",\
    \"inference_geo\":\"not_available\"";
