//! What is no chat: embeddings and legacy completions, which may need several calls for one request.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderMap;

use super::read::read_as;
use super::{Answer, Draft, Run, Trace, Wire};
use crate::account::Usage;
use crate::chat::{Encoded, Inlined};
use crate::dialect::openai_chat::Shape;
use crate::dialect::watsonx::generation::GenerationCall;
use crate::dialect::{bedrock_invoke, nim_embeddings, openai_completions, watsonx};
use crate::embed::{self, Batch};
use crate::error::Outcome;
use crate::frame::sse;
use crate::limits;
use crate::ports::Platform;
use crate::relay::Source;

impl Run<'_> {
    /// All calls that a request for embeddings needs, a few at a time; the first failure fails it.
    pub(super) async fn embeddings<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let call = self.attempt.call;
        let request = embed::decode_request(call.object())?;
        let inlined = Inlined::default();
        let to = self.destination(&inlined);
        let Batch { calls, drops } = match self.wire {
            Wire::Invoke => bedrock_invoke::encode(&request, &to),
            Wire::Watsonx => watsonx::embeddings::encode(&request, &to),
            _ => nim_embeddings::encode(&request, &to),
        }?;
        self.note(&drops, trace)?;
        let mut answer = embed::Answer::new(&request);
        let runs = calls.iter().map(|call| async move {
            let draft = Draft { body: call.body.clone(), headers: call.headers.clone() };
            let (seen, outcome) = self.one(platform, &draft).await;
            (call, seen, outcome)
        });
        // Collected, so that the compiler sees that the whole may move between threads.
        let runs: Vec<_> = runs.collect();
        let mut runs = stream::iter(runs).buffered(limits::CALLS_AT_ONCE);
        while let Some((call, seen, outcome)) = runs.next().await {
            trace.merge(seen);
            let (headers, bytes) = outcome?;
            let vectors = read_as(
                &bytes,
                match self.wire {
                    Wire::Invoke => bedrock_invoke::decode(self.can.family, &headers, &bytes),
                    Wire::Watsonx => watsonx::embeddings::decode(&headers, &bytes),
                    _ => nim_embeddings::decode(&headers, &bytes),
                },
            )?;
            answer.take(call, &vectors)?;
        }
        let (body, usage) = answer.write(&call.model)?;
        Ok(Answer::Whole(body, usage))
    }

    /// Text generation of watsonx.ai: a call for each prompt.
    pub(super) async fn generation<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let request = openai_completions::decode_request(self.attempt.call.object())?;
        let inlined = Inlined::default();
        let watsonx::generation::Batch { calls, headers, drops } =
            watsonx::generation::encode(&request, &self.destination(&inlined))?;
        self.note(&drops, trace)?;
        let draft = |call: &GenerationCall<'_>| Draft { body: call.body.clone(), headers: headers.clone() };
        if let (true, Some(call)) = (self.attempt.call.stream, calls.first()) {
            let upstream = self.send(platform, trace, &draft(call)).await?;
            let decoder = watsonx::generation::Decoder::new(call.echo);
            let source = Source::Generation(sse::Decoder::default(), decoder);
            let codec = self.translate(platform, source, Shape::Completion, false);
            return self.stream(platform, trace, upstream, codec).await;
        }
        let runs = calls.iter().map(|call| {
            let draft = draft(call);
            async move { (call, self.one(platform, &draft).await) }
        });
        // Collected, so that the compiler sees that the whole may move between threads.
        let runs: Vec<_> = runs.collect();
        let mut runs = stream::iter(runs).buffered(limits::CALLS_AT_ONCE);
        let mut choices = Vec::with_capacity(calls.len());
        let mut usage: Option<Usage> = None;
        while let Some((call, (seen, outcome))) = runs.next().await {
            trace.merge(seen);
            let (_, bytes) = outcome?;
            let text = read_as(&bytes, watsonx::generation::decode(&bytes, call.echo))?;
            trace.upstream_model = text.model;
            trace.native_finish = text.choice.finish.native.clone().or_else(|| trace.native_finish.take());
            usage = match (usage, text.usage) {
                (Some(before), Some(more)) => Some(before.plus(&more)),
                (before, more) => before.or(more),
            };
            choices.push(text.choice);
        }
        let envelope = self.envelope(platform, false);
        let model = &self.attempt.call.model;
        let body = openai_completions::encode_response(&envelope.id, envelope.created, model, &choices, usage);
        Ok(Answer::Whole(body, usage))
    }

    /// Legacy completions in OpenAI's shape, under the client's name of the model.
    pub(super) async fn completions<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let call = self.attempt.call;
        let request = openai_completions::decode_request(call.object())?;
        let inlined = Inlined::default();
        let Encoded { body, headers, drops, .. } =
            openai_completions::encode_request(&request, &self.destination(&inlined))?;
        self.note(&drops, trace)?;
        let upstream = self.send(platform, trace, &Draft { body, headers }).await?;
        if call.stream {
            let source = Source::Completions(sse::Decoder::default(), openai_completions::Decoder::new(self.kind));
            let codec = self.translate(platform, source, Shape::Completion, false);
            return self.stream(platform, trace, upstream, codec).await;
        }
        let (_, bytes) = self.whole(platform, upstream).await?;
        let whole = read_as(&bytes, openai_completions::decode_response(self.kind, &bytes, &call.model))?;
        trace.upstream_model = whole.model;
        Ok(Answer::Whole(whole.body, whole.usage))
    }

    /// One call of several, from its sending to its whole answer.
    async fn one<P: Platform>(&self, platform: &P, draft: &Draft) -> (Trace, Outcome<(HeaderMap, Bytes)>) {
        let mut trace = Trace::default();
        let outcome = match self.send(platform, &mut trace, draft).await {
            Ok(response) => self.whole(platform, response).await,
            Err(failure) => Err(failure),
        };
        (trace, outcome)
    }
}
