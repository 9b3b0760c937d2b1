//! Legacy completions on watsonx.ai: `/ml/v1/text/generation`, one prompt in each call.
//! <https://cloud.ibm.com/apidocs/watsonx-ai#text-generation>

use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::embeddings::write_model;
use crate::account::{Usage, tokens};
use crate::chat::{Delta, Destination, Drops, Event, Finish, FinishReason, Identity, Literal};
use crate::dialect::failure::constant;
use crate::dialect::openai_completions::{Request, TextChoice, to_literal};
use crate::dialect::openai_like;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::frame::sse;
use crate::json::read_object;
use crate::limits;
use crate::provider::ProviderKind;

/// OpenAI's default for the length of a text; the service's own is 20.
const MAX_TOKENS: u64 = 16;

/// The calls of a request.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// One for each prompt, in their order. They do not depend on each other, and the first failure fails the request.
    pub calls: Vec<GenerationCall<'a>>,
    /// Headers that belong to the wire format, the same for all calls.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What was left out.
    pub drops: Drops,
}

/// One call.
#[derive(Debug)]
pub(crate) struct GenerationCall<'a> {
    /// The JSON body.
    pub body: Bytes,
    /// The prompt, a JSON string, if the client wants it repeated.
    pub echo: Option<&'a RawValue>,
}

/// Writes the calls of a request. A stream has one call: its texts could not be told apart in the client's SDK as they
/// come.
///
/// # Errors
/// A code of status 400 for what the service cannot take.
pub(crate) fn encode<'a>(request: &Request<'a>, to: &Destination<'_>) -> Outcome<Batch<'a>> {
    let prompts = request.prompts.texts("prompt", to.kind)?;
    let several = |what: &str| {
        let message = format!("{what} by provider type '{}'.", to.kind.as_str());
        Failure::new(ErrorCode::UnsupportedValue, message).with_param("prompt")
    };
    if request.stream && prompts.len() > 1 {
        return Err(several("Several prompts in one stream are not supported"));
    }
    if prompts.len() > limits::PROMPT_CALLS {
        return Err(several("More than 100 prompts in one request are not supported"));
    }
    let mut drops = request.judge(to)?;
    let denied = |name: &str| to.can.unsupported_parameters.iter().any(|denied| denied == name);
    // Less than 1 is no seed there (the service's reference, not verified live).
    let seed = request.seed.filter(|_| !denied("seed"));
    if seed.is_some_and(|seed| seed < 1) {
        drops.note("seed");
    }
    let parameters = parameters(request, to, seed.filter(|seed| *seed >= 1), &denied);
    let call = |prompt: &&'a RawValue| {
        let mut body = vec![b'{'];
        if !to.can.deployment {
            write_model(&mut body, to.model, to.settings);
        }
        for part in [r#""input":"#, prompt.get(), r#","parameters":"#, &parameters, "}"] {
            body.extend_from_slice(part.as_bytes());
        }
        GenerationCall { body: Bytes::from(body), echo: request.echo.then_some(*prompt) }
    };
    let calls = prompts.iter().map(call).collect();
    let accept = if request.stream { "text/event-stream" } else { "application/json" };
    Ok(Batch { calls, headers: vec![(ACCEPT, HeaderValue::from_static(accept))], drops })
}

fn parameters(
    request: &Request<'_>,
    to: &Destination<'_>,
    seed: Option<i64>,
    denied: &impl Fn(&str) -> bool,
) -> String {
    let temperature = request.temperature.as_ref().filter(|_| to.can.sampling && !denied("temperature"));
    // The most likely token each time: nothing is drawn, so nothing of drawing is said.
    let greedy = temperature.and_then(serde_json::Number::as_f64).is_some_and(|value| value == 0.0);
    let mut out = format!(
        r#"{{"decoding_method":"{}","max_new_tokens":{}"#,
        if greedy { "greedy" } else { "sample" },
        request.max_tokens.filter(|_| !denied("max_tokens")).or(to.can.default_max_tokens).unwrap_or(MAX_TOKENS)
    );
    if !greedy {
        let top_p = request.top_p.as_ref().filter(|_| to.can.sampling && !denied("top_p"));
        let numbers = [
            ("temperature", temperature.map(ToString::to_string)),
            ("top_p", top_p.map(ToString::to_string)),
            ("random_seed", seed.map(|seed| seed.to_string())),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                out.push_str(&format!(r#","{name}":{number}"#));
            }
        }
    }
    if !request.stop.is_empty() && !denied("stop") {
        let stops = request.stop.iter().map(|stop| stop.get()).collect::<Vec<_>>().join(",");
        // Unlike OpenAI, the service would give out the sequence that stopped it.
        out.push_str(&format!(r#","stop_sequences":[{stops}],"include_stop_sequence":false"#));
    }
    out.push('}');
    out
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model_id: Option<&'a RawValue>,
    #[serde(borrow)]
    results: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    generated_text: Option<&'a RawValue>,
    #[serde(borrow)]
    generated_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    input_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
}

impl Wire<'_> {
    fn model(&self) -> Option<String> {
        self.model_id.and_then(|raw| serde_json::from_str(raw.get()).ok())
    }
}

impl Entry<'_> {
    /// Why the text ended; `None` if it has not, or does not say. The words come in either case.
    ///
    /// # Errors
    /// A text that failed ends by the word `error`.
    fn finish(&self) -> Result<Option<Finish>, Failure> {
        let word: Option<String> = self.stop_reason.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Some(word) = word.filter(|word| !word.is_empty()) else { return Ok(None) };
        Ok(Some(match word.to_ascii_lowercase().as_str() {
            "not_finished" => return Ok(None),
            "error" => return Err(constant(ErrorCode::UpstreamError).caused_by("stop reason 'error'")),
            "eos_token" | "stop_sequence" => FinishReason::Stop.into(),
            "max_tokens" | "token_limit" => FinishReason::Length.into(),
            "time_limit" => Finish::roughly(FinishReason::Length, &word),
            // `cancelled`, and what nobody knows.
            _ => Finish::roughly(FinishReason::Stop, &word),
        }))
    }

    fn counts(&self) -> (Option<u64>, Option<u64>) {
        let count = |raw: Option<&RawValue>| raw.and_then(|raw| tokens(raw.get()));
        (count(self.input_token_count), count(self.generated_token_count))
    }
}

/// The text of one call.
#[derive(Debug)]
pub(crate) struct Generated {
    /// The text, behind its prompt if that was wanted.
    pub choice: TextChoice,
    /// What was used, if reported.
    pub usage: Option<Usage>,
    /// The provider's name of the model.
    pub model: Option<String>,
}

/// Reads the answer to a call that had this `echo`.
///
/// # Errors
/// The failure that the answer reports in spite of its status, or `upstream_protocol`.
pub(crate) fn decode(body: &[u8], echo: Option<&RawValue>) -> Result<Generated, Failure> {
    let protocol = |cause: &str| constant(ErrorCode::UpstreamProtocol).caused_by(cause);
    let wire: Wire<'_> = read_object(body).ok_or_else(|| protocol("answer is not JSON of its shape"))?;
    if wire.errors.is_some() {
        return Err(openai_like::embedded(ProviderKind::WatsonxAi, body));
    }
    let first = wire.results.as_ref().and_then(|results| results.first());
    let entry: Option<Entry<'_>> = first.and_then(|raw| read_object(raw.get().as_bytes()));
    let entry = entry.ok_or_else(|| protocol("answer has no result"))?;
    let finish = entry.finish()?.unwrap_or_else(|| FinishReason::Stop.into());
    let text = entry.generated_text.filter(|raw| raw.get().starts_with('"')).ok_or_else(|| protocol("no text"))?;
    let text = to_literal(&[echo.map_or("\"\"", RawValue::get), text.get()]);
    let (input, output) = entry.counts();
    let reported = input.is_some() || output.is_some();
    let usage = reported.then(|| Usage {
        input_tokens: input.unwrap_or(0),
        output_tokens: output.unwrap_or(0),
        ..Usage::default()
    });
    Ok(Generated { choice: TextChoice { text, finish }, usage, model: wire.model() })
}

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    usage: Option<Usage>,
}

/// How far a stream has come.
#[derive(Debug)]
enum State {
    /// Nothing was said; the prompt, a JSON string, if it is to be said first.
    Waiting(Option<String>),
    /// The text is on its way.
    Open,
    /// The text is complete; the stream may not be.
    Finished,
    /// Nothing will be said any more.
    Ended,
}

impl Decoder {
    /// A decoder that has read nothing, of a call that had this `echo`.
    pub(crate) fn new(echo: Option<&RawValue>) -> Self {
        Self { state: State::Waiting(echo.map(|raw| raw.get().to_owned())), usage: None }
    }

    /// Reads an event of the stream.
    pub(crate) fn push(&mut self, frame: &sse::Event, emit: &mut impl FnMut(Event<'_>)) {
        let data = frame.data.trim_ascii();
        // The service sends no end mark; should it begin to, its stream's end says the same.
        if matches!(self.state, State::Ended) || data.is_empty() || data.starts_with(b"[DONE]") {
            return;
        }
        let read = if frame.name.as_ref().is_some_and(|name| &**name == b"error") {
            Err(openai_like::embedded(ProviderKind::WatsonxAi, data))
        } else {
            self.part(data, emit)
        };
        if let Err(failure) = read {
            self.state = State::Ended;
            emit(Event::Failed(Box::new(failure)));
        }
    }

    /// The stream's bytes are over: it was whole if the text had ended.
    pub(crate) fn finish(&mut self, emit: &mut impl FnMut(Event<'_>)) {
        if matches!(self.state, State::Finished) {
            emit(Event::Done);
        }
        self.state = State::Ended;
    }

    fn part(&mut self, data: &[u8], emit: &mut impl FnMut(Event<'_>)) -> Result<(), Failure> {
        let protocol = |cause: &str| constant(ErrorCode::UpstreamProtocol).caused_by(cause);
        let wire: Wire<'_> = read_object(data).ok_or_else(|| protocol("event is not JSON of its shape"))?;
        if wire.errors.is_some() {
            return Err(openai_like::embedded(ProviderKind::WatsonxAi, data));
        }
        // Notes without a result (warnings) say nothing to the client.
        let Some(raw) = wire.results.as_ref().and_then(|results| results.first()) else { return Ok(()) };
        let entry: Entry<'_> = read_object(raw.get().as_bytes()).ok_or_else(|| protocol("result is no object"))?;
        let finish = entry.finish()?;
        let text = entry.generated_text.and_then(Literal::of).filter(|text| !text.is_empty());
        if let State::Waiting(echo) = &mut self.state {
            let echo = echo.take().filter(|echo| echo != "\"\"");
            self.state = State::Open;
            emit(Event::Start(Identity { model: wire.model().map(Into::into), ..Identity::default() }));
            if let Some(echo) = echo.and_then(|echo| RawValue::from_string(echo).ok()) {
                emit(Event::Delta(Delta { content: Literal::of(&echo), ..Delta::default() }));
            }
        }
        if matches!(self.state, State::Open) && (text.is_some() || finish.is_some()) {
            if finish.is_some() {
                self.state = State::Finished;
            }
            emit(Event::Delta(Delta { content: text, finish, ..Delta::default() }));
        }
        self.count(&entry, emit);
        Ok(())
    }

    /// Counts of what was generated grow; the count of the input comes once, and as 0 later.
    fn count(&mut self, entry: &Entry<'_>, emit: &mut impl FnMut(Event<'_>)) {
        let (input, output) = entry.counts();
        if input.is_none() && output.is_none() {
            return;
        }
        let before = self.usage.unwrap_or_default();
        let usage = Usage {
            input_tokens: before.input_tokens.max(input.unwrap_or(0)),
            output_tokens: before.output_tokens.max(output.unwrap_or(0)),
            ..Usage::default()
        };
        if self.usage != Some(usage) {
            self.usage = Some(usage);
            emit(Event::Usage(usage));
        }
    }
}

#[cfg(test)]
mod tests;
