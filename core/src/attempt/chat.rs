//! Chats in other wire formats, and answers to chats that come in another way than they were asked for.

use bytes::Bytes;
use http::header::HeaderMap;

use super::read::{has_type, read_as};
use super::{Answer, Draft, Run, Trace, Wire};
use crate::body::Upstream;
use crate::chat::{self, Encoded, Expect, Gather, Inlined};
use crate::dialect::failure::constant;
use crate::dialect::openai_chat::{self, Encoder, Shape};
use crate::dialect::{anthropic, bedrock_converse, openai_like, watsonx};
use crate::egress;
use crate::error::{ErrorCode, Failure, Outcome};
use crate::frame::{eventstream, sse};
use crate::limits;
use crate::ports::Platform;
use crate::relay::Source;

impl Run<'_> {
    /// Translates the call into the provider's format, and its answer back.
    pub(super) async fn chat<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let call = self.attempt.call;
        let request = openai_chat::decode_request(call.object())?;
        let inlined = if self.wire.inlines() {
            let allowed = &self.attempt.gateway.deployment.allowed;
            crate::inline::images(platform, &request, allowed, self.deadline).await?
        } else {
            Inlined::default()
        };
        let to = self.destination(&inlined);
        let Encoded { body, headers, drops, expect } = match self.wire {
            Wire::Anthropic => anthropic::encode_request(&request, &to),
            Wire::Converse => bedrock_converse::request::encode_request(&request, &to),
            Wire::WatsonxChat => watsonx::encode_request(&request, &to),
            _ => openai_like::encode_request(&request, &to),
        }?;
        self.note(&drops, trace)?;
        let upstream = self.send(platform, trace, &Draft { body, headers }).await?;
        if self.turned(upstream.headers()) {
            return self.turn(platform, trace, upstream, expect, request.legacy_functions).await;
        }
        if call.stream {
            let source = self.source(expect);
            let codec = self.translate(platform, source, Shape::Chat, request.legacy_functions);
            return self.stream(platform, trace, upstream, codec).await;
        }
        let (_, bytes) = self.whole(platform, upstream).await?;
        let answer = read_as(&bytes, self.decode_chat(&bytes, &expect))?;
        self.take_names(&answer, trace);
        let envelope = self.envelope(platform, request.legacy_functions);
        let body = openai_chat::encode_response(&answer, &envelope);
        Ok(Answer::Whole(Bytes::from(body), answer.usage))
    }

    fn decode_chat<'b>(&self, bytes: &'b [u8], expect: &'b Expect) -> Result<chat::Answer<'b>, Failure> {
        match self.wire {
            Wire::Anthropic => anthropic::decode_response(bytes, expect),
            Wire::Converse => bedrock_converse::response::decode_response(bytes, expect),
            _ => openai_like::decode_response(self.kind, bytes, expect),
        }
    }

    /// What reads the stream of a chat.
    fn source(&self, expect: Expect) -> Source {
        match self.wire {
            Wire::Anthropic => Source::Anthropic(sse::Decoder::default(), anthropic::Decoder::new(expect)),
            Wire::Converse => {
                let decoder = Box::new(bedrock_converse::stream::Decoder::new(expect));
                Source::Converse(eventstream::Decoder::default(), decoder)
            }
            _ => Source::Like(sse::Decoder::default(), openai_like::Decoder::new(self.kind, expect)),
        }
    }

    /// The content type of the provider's streams.
    pub(super) fn framing(&self) -> &'static str {
        if self.wire == Wire::Converse { "application/vnd.amazon.eventstream" } else { "text/event-stream" }
    }

    /// Whether the provider answers in the other way than it was asked (fault matrix U30).
    pub(super) fn turned(&self, headers: &HeaderMap) -> bool {
        if self.attempt.call.stream { has_type(headers, "application/json") } else { has_type(headers, self.framing()) }
    }

    /// Reads such an answer as a whole, and tells it as it was asked for.
    pub(super) async fn turn<P: Platform>(
        &self,
        platform: &P,
        trace: &mut Trace,
        response: http::Response<Upstream<P>>,
        expect: Expect,
        legacy_functions: bool,
    ) -> Outcome<Answer<P>> {
        let mut upstream = response.into_body();
        let bytes = egress::read_all(platform, &mut upstream, limits::UPSTREAM_BODY_BYTES, self.deadline).await?;
        let envelope = self.envelope(platform, legacy_functions);
        if self.attempt.call.stream {
            let answer = read_as(&bytes, self.decode_chat(&bytes, &expect))?;
            self.take_names(&answer, trace);
            let mut encoder = Encoder::new(Shape::Chat, envelope);
            let mut out = Vec::with_capacity(bytes.len());
            chat::events(&answer, &mut |event| encoder.event(&event, &mut out));
            return Ok(Answer::Events(Bytes::from(out), answer.usage));
        }
        let mut gather = Gather::default();
        self.source(expect).read_whole(&bytes, &mut |event| gather.take(event));
        let answer = gather.answer().map_err(|failure| *failure)?;
        let answer = answer.ok_or_else(|| constant(ErrorCode::UpstreamIncomplete).after_sending())?;
        self.take_names(&answer, trace);
        Ok(Answer::Whole(Bytes::from(openai_chat::encode_response(&answer, &envelope)), answer.usage))
    }

    fn take_names(&self, answer: &chat::Answer<'_>, trace: &mut Trace) {
        trace.upstream_model = answer.identity.model.as_deref().map(str::to_owned);
        trace.native_finish = answer.choices.iter().find_map(|choice| choice.finish.native.clone());
    }
}
