//! Streams as the providers write them.

use bytes::Bytes;
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use gateway_core::testing::Answer;
use serde_json::{Value, json};

/// A provider and its stream.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) data: Value,
    pub(super) model: &'static str,
    /// What its token service answers, if it has one.
    pub(super) token: Option<Answer>,
    form: Form,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Anthropic,
    Bedrock,
    /// In OpenAI's shape: what precedes the data, and the members before `choices`.
    OpenAi {
        before: &'static str,
        head: &'static str,
    },
}

impl Provider {
    pub(super) fn all() -> Vec<Self> {
        let key = || json!({"apikey": "sk-bench"});
        let like = |name, kind, data, model, before, head| {
            let form = Form::OpenAi { before, head };
            Self { name, kind, data, model, token: None, form }
        };
        let token = json!({"access_token": "token", "token_type": "Bearer", "expires_in": 3600});
        vec![
            Self {
                name: "Anthropic",
                kind: "anthropic",
                data: key(),
                model: "claude-sonnet-4-6",
                token: None,
                form: Form::Anthropic,
            },
            Self {
                name: "Bedrock",
                kind: "bedrock",
                data: json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret", "region": "us-east-1"}),
                model: "us.anthropic.claude-sonnet-4-6",
                token: None,
                form: Form::Bedrock,
            },
            like("Cerebras", "cerebras", key(), "gpt-oss-120b", "", CEREBRAS),
            like("NVIDIA NIM", "nim", key(), "meta/llama-3.3-70b-instruct", "", NIM),
            Self {
                token: Some(Answer::json(200, token.to_string())),
                ..like(
                    "watsonx.ai",
                    "watsonxai",
                    json!({"apikey": "sk-bench", "project_id": "11111111-aaaa-4bbb-8ccc-222222222222"}),
                    "meta-llama/llama-3-3-70b-instruct",
                    "id: 7\nevent: message\n",
                    WATSONX,
                )
            },
            like("OpenAI (passed on)", "openai", key(), "gpt-4o-mini", "", OPENAI),
        ]
    }

    pub(super) fn content_type(&self) -> &'static str {
        if self.form == Form::Bedrock { "application/vnd.amazon.eventstream" } else { "text/event-stream" }
    }

    /// What precedes the first text.
    pub(super) fn begin(&self) -> Bytes {
        Bytes::from(match self.form {
            Form::Anthropic => ANTHROPIC_BEGIN.as_bytes().to_vec(),
            Form::Bedrock => frame("messageStart", r#"{"p":"abcdefgh","role":"assistant"}"#),
            Form::OpenAi { before, head } => openai(before, head, r#"{"role":"assistant","content":""}"#),
        })
    }

    /// The event of a text, which is of a token's length.
    pub(super) fn event(&self, number: usize) -> Bytes {
        let text = WORDS.get(number % WORDS.len()).copied().unwrap_or_default();
        Bytes::from(match self.form {
            Form::Anthropic => format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}     }}\n\n"
            )
            .into_bytes(),
            Form::Bedrock => {
                let padding = PADDING.get(..7 + number * 7 % 40).unwrap_or_default();
                let payload =
                    format!("{{\"contentBlockIndex\":0,\"delta\":{{\"text\":\"{text}\"}},\"p\":\"{padding}\"}}");
                frame("contentBlockDelta", &payload)
            }
            Form::OpenAi { before, head } => openai(before, head, &format!("{{\"content\":\"{text}\"}}")),
        })
    }

    pub(super) fn events(&self, count: usize) -> Vec<Bytes> {
        (0..count).map(|number| self.event(number)).collect()
    }
}

fn openai(before: &str, head: &str, delta: &str) -> Vec<u8> {
    format!(
        "{before}data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
         \"finish_reason\":null}}]}}\n\n"
    )
    .into_bytes()
}

/// A frame of an AWS event stream.
fn frame(kind: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")] {
        headers.push(low_bytes::<1>(name.len())[0]);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&low_bytes::<2>(value.len()));
        headers.extend_from_slice(value.as_bytes());
    }
    let mut frame = low_bytes::<4>(16 + headers.len() + payload.len()).to_vec();
    frame.extend_from_slice(&low_bytes::<4>(headers.len()));
    frame.extend_from_slice(&CRC32.checksum(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&CRC32.checksum(&frame).to_be_bytes());
    frame
}

/// A small number, the highest byte first.
fn low_bytes<const N: usize>(number: usize) -> [u8; N] {
    std::array::from_fn(|place| (number >> (8 * (N - 1 - place)) & 0xff) as u8)
}

const CRC32: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);
const WORDS: [&str; 8] = [" the", " gateway", ",", " reads", " \\\"this\\\"", " über", "\\n\\n", " again"];
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const CEREBRAS: &str = "\"id\":\"chatcmpl-8f6a2f4e-0f5b-4b0e-8f3c-2f0c8a1b2c3d\",\"created\":1790000000,\
    \"model\":\"gpt-oss-120b\",\"system_fingerprint\":\"fp_70185065a4\",\"object\":\"chat.completion.chunk\"";
const NIM: &str = "\"id\":\"chat-2f0c8a1b2c3d4e5f8f6a2f4e0f5b4b0e\",\"object\":\"chat.completion.chunk\",\
    \"created\":1790000000,\"model\":\"meta/llama-3.3-70b-instruct\"";
const WATSONX: &str = "\"id\":\"chatcmpl-8f6a2f4e0f5b4b0e8f3c2f0c8a1b2c3d\",\"object\":\"chat.completion.chunk\",\
    \"model_id\":\"meta-llama/llama-3-3-70b-instruct\",\"model\":\"meta-llama/llama-3-3-70b-instruct\",\
    \"model_version\":\"3.3.0\",\"created\":1790000000,\"created_at\":\"2026-09-21T13:33:20.000Z\"";
const OPENAI: &str = "\"id\":\"chatcmpl-CqBenchBenchBenchBenchBenchBe\",\"object\":\"chat.completion.chunk\",\
    \"created\":1790000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\
    \"system_fingerprint\":\"fp_0123456789\"";
const ANTHROPIC_BEGIN: &str = "event: message_start\n\
    data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-6\",\"id\":\"msg_01BenchBenchBenchBenchBe\",\
    \"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
    \"usage\":{\"input_tokens\":19,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}\n\n\
    event: content_block_start\n\
    data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
    event: ping\ndata: {\"type\": \"ping\"}\n\n";
