//! A recorded stream of every dialect, cut at every byte, with another target at hand: before content that one answers, after
//! content one error event ends the stream, and what was whole ends well.

use super::golden::{Case, payloads, root};
use super::*;
use crate::ports::Platform;
use crate::testing::{Answer, Chunk};

const SPARE: &str = "the other target";

/// What a cut came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The other target answered.
    Spare,
    /// An error event.
    Broken,
    /// `[DONE]`.
    Whole,
}

struct Cuts {
    case: Case,
    bench: Bench,
    head: Answer,
    body: Bytes,
    recorded: Vec<Value>,
}

impl Cuts {
    fn of(path: &str) -> Self {
        let case = Case::read(&root().join(path)).unwrap();
        let mut bench = Bench::empty();
        let alias = &case.case["front_request"]["model"];
        let spare = json!({"apikey": "sk-spare", "base_url": "https://spare.example/v1"});
        for (provider, data, id, priority) in
            [(case.provider(), case.data(), case.model_id(), 0), ("openai", spare, "gpt-4o".to_owned(), 1)]
        {
            let made = bench.admin("POST", &format!("/v1/providers/{provider}"), json!({"name": id, "data": data}));
            bench.provider = made.1["uuid"].as_str().unwrap().to_owned();
            let model = json!({"id": id, "alias": alias, "priority": priority});
            assert_eq!(bench.admin("POST", &format!("/v1/providers/{}/models", bench.provider), model).0, 201);
        }
        let (_, answer) = case.calls()[0];
        let (head, body) = (case.answer(answer, 1), case.body(answer));
        let recorded = case.folder.join(case.case["front_response"]["body_file"].as_str().unwrap());
        let recorded = payloads(&std::fs::read_to_string(recorded).unwrap());
        assert_eq!(recorded.last().unwrap(), "[DONE]");
        Self { case, bench, head, body, recorded }
    }

    /// The stream cut after so many bytes; `breaks`: by a connection that breaks, else as if it were over.
    fn cut(&self, at: usize, breaks: bool) -> End {
        let mut body = vec![Chunk::Bytes(self.body.slice(..at))];
        body.extend(breaks.then_some(Chunk::Break));
        self.play(body, &format!("cut at {at} of {} ({breaks})", self.body.len()))
    }

    /// The stream with one byte that is another one.
    fn damaged(&self, at: usize) -> End {
        let mut body = self.body.to_vec();
        body[at] ^= 0x55;
        self.play(vec![Chunk::Bytes(body.into())], &format!("damaged at {at}"))
    }

    fn play(&self, body: Vec<Chunk>, how: &str) -> End {
        let (bench, http) = (self.bench.fresh(), self.bench.world.http());
        http.clear();
        if self.case.provider() == "watsonxai" {
            let token = json!({"access_token": "JWT", "expires_in": 3600, "expiration": 1_760_003_600});
            http.push(Answer::json(200, token.to_string()));
        }
        let Answer::Head { status, headers, .. } = &self.head else { panic!("{:?}", self.head) };
        http.push(Answer::Head { status: *status, headers: headers.clone(), body });
        let event = |choice: Value| format!("data: {}\n\n", json!({"choices": [choice]}));
        let text = event(json!({"index": 0, "delta": {"content": SPARE}, "finish_reason": null}));
        let stop = event(json!({"index": 0, "delta": {}, "finish_reason": "stop"})) + "data: [DONE]\n\n";
        http.push(Answer::stream(vec![text.as_str().into(), stop.as_str().into()]));
        http.take_sent();

        let front = self.case.case["front_request"].to_string();
        let (status, text) = bench.read(bench.send(&bench.key, "POST", "/v1/chat/completions", front));
        let spare_called = http.take_sent().iter().any(|sent| sent.target.contains("spare.example"));
        self.judge(status, &text, spare_called)
            .unwrap_or_else(|fault| panic!("{} {how}: {fault}\n{text}", self.case.name))
    }

    fn judge(&self, status: u16, text: &str, spare_called: bool) -> Result<End, String> {
        let seen = payloads(text);
        let (Some((last, before)), 200) = (seen.split_last(), status) else { return Err(format!("status {status}")) };
        let errors = seen.iter().filter(|payload| payload.get("error").is_some()).count();
        if text.contains(SPARE) {
            let own = seen.iter().filter(|payload| payload["choices"][0]["delta"]["content"].as_str() == Some(SPARE));
            return match (own.count(), errors, last == "[DONE]", spare_called) {
                (1, 0, true, true) if before.len() <= 3 => Ok(End::Spare),
                other => Err(format!("a mixed stream: {other:?}")),
            };
        }
        if spare_called {
            return Err("another target was called for nothing".to_owned());
        }
        if last == "[DONE]" {
            return if errors == 0 { Ok(End::Whole) } else { Err("an error and an end mark".to_owned()) };
        }
        if errors != 1 || last.get("error").is_none() {
            return Err(format!("{errors} errors, and the last event is {last}"));
        }
        // What came before it is what was recorded, as far as it goes.
        let spoken = |payloads: &[Value]| -> String {
            let deltas = payloads.iter().map(|payload| &payload["choices"][0]["delta"]);
            let text = |delta: &Value| delta["content"].as_str().unwrap_or_default().to_owned();
            deltas.map(text).collect()
        };
        if !spoken(&self.recorded).starts_with(&spoken(before)) || before.len() > self.recorded.len() {
            return Err("other text than was recorded".to_owned());
        }
        Ok(End::Broken)
    }

    fn all(&self) {
        let ends: Vec<End> = (0..=self.body.len()).map(|at| self.cut(at, true)).collect();
        for (at, end) in ends.iter().enumerate().step_by(5) {
            // At an end an event is whole that would have waited for its blank line.
            assert!(self.cut(at, false) >= *end, "{}: an early end at {at}", self.case.name);
        }
        let turns = (1..ends.len()).filter(|at| ends[at - 1] != ends[*at]).map(|at| (at, ends[at]));
        assert!(ends.is_sorted(), "{}: {:?}", self.case.name, turns.collect::<Vec<_>>());
        for end in [End::Spare, End::Broken, End::Whole] {
            assert!(ends.contains(&end), "{}: never {end:?}", self.case.name);
        }
    }
}

#[test]
fn a_damaged_frame_ends_an_answer_unless_all_of_it_was_there() {
    let cuts = Cuts::of("bedrock/stream_text_then_two_tools.json");
    let whole_at = (0..cuts.body.len()).find(|at| cuts.cut(*at, true) == End::Whole).unwrap();
    for at in 0..cuts.body.len() {
        let end = cuts.damaged(at);
        assert_eq!(end == End::Whole, at >= whole_at, "{at}: {end:?}, whole at {whole_at}");
    }
}

/// Fault matrix: U17, U20, U21.
#[test]
fn openai_text() {
    Cuts::of("openai_chat/stream_text_usage.json").all();
}

macro_rules! cuts {
    ($($name:ident: $path:literal,)+) => {$(
        #[test]
        fn $name() {
            Cuts::of($path).all();
        }
    )+};
}

cuts! {
    anthropic_text_and_calls: "anthropic/stream_text_then_two_tools.json",
    anthropic_thinking: "anthropic/stream_thinking.json",
    azure_openai: "azure_openai/stream_prompt_filter_and_async_filter.json",
    bedrock_text_and_calls: "bedrock/stream_text_then_two_tools.json",
    bedrock_reasoning: "bedrock/stream_reasoning.json",
    cerebras: "cerebras/stream_reasoning_usage.json",
    nim: "nim/stream_usage.json",
    openai_calls: "openai_chat/stream_tool_calls.json",
    watsonx_text: "watsonxai/chat_stream.json",
    watsonx_calls: "watsonxai/chat_stream_tools.json",
}
