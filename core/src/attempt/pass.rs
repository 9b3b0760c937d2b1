//! Calls in OpenAI's own format, whose answers are passed on as they come.

use bytes::Bytes;

use super::read::read_as;
use super::{Answer, Draft, Run, Trace};
use crate::chat::{Drops, Expect};
use crate::dialect::openai_chat::Shape;
use crate::dialect::{openai_chat, openai_like};
use crate::error::{Failure, Outcome};
use crate::frame::sse;
use crate::model::{Capabilities, MaxTokensParameter};
use crate::ports::Platform;
use crate::provider::{Endpoint, ProviderKind};
use crate::relay::{Codec, Pass, Source};

impl Run<'_> {
    /// Passes the call on, and its answer.
    pub(super) async fn pass<P: Platform>(&self, platform: &P, trace: &mut Trace) -> Outcome<Answer<P>> {
        let call = self.attempt.call;
        let mut drops = Drops::default();
        let cache_key = self.cache_key();
        let body = call.encode(self.model(), cache_key, self.can, &mut drops);
        self.note(&drops, trace)?;
        let draft = Draft { body, headers: Vec::new() };
        let upstream = match self.send(platform, trace, &draft).await {
            Err(failure) if self.wants_other_limit(&failure) => {
                // A deployment's name says nothing of its model: the answer does, once for this isolate.
                let model = self.attempt.target.model;
                self.attempt.gateway.cache.learn_completion_limit(&model.uuid, self.model(), platform.now_ms());
                let can = Capabilities {
                    max_tokens_parameter: Some(MaxTokensParameter::MaxCompletionTokens),
                    ..self.can.clone()
                };
                let body = call.encode(self.model(), cache_key, &can, &mut drops);
                self.send(platform, trace, &Draft { body, headers: Vec::new() }).await?
            }
            sent => sent?,
        };
        let azure = self.kind == ProviderKind::AzureOpenAi;
        // What Azure adds is left out for those who want OpenAI's shapes only.
        let plain = azure && self.attempt.strict && call.endpoint == Endpoint::Chat;
        let legacy_functions = call.object().get("functions").is_some();
        if call.endpoint == Endpoint::Chat && self.turned(upstream.headers()) {
            return self.turn(platform, trace, upstream, Expect::default(), legacy_functions).await;
        }
        if call.stream {
            let codec = if plain {
                let source =
                    Source::Like(sse::Decoder::default(), openai_like::Decoder::new(self.kind, Expect::default()));
                self.translate(platform, source, Shape::Chat, legacy_functions)
            } else {
                Codec::Pass(Pass::new(!call.include_usage, azure))
            };
            return self.stream(platform, trace, upstream, codec).await;
        }
        let (_, bytes) = self.whole(platform, upstream).await?;
        if plain {
            let expect = Expect::default();
            let answer = read_as(&bytes, openai_like::decode_response(self.kind, &bytes, &expect))?;
            trace.upstream_model = answer.identity.model.as_deref().map(str::to_owned);
            let body = openai_chat::encode_response(&answer, &self.envelope(platform, legacy_functions));
            return Ok(Answer::Whole(Bytes::from(body), answer.usage));
        }
        let (usage, model) = read_as(&bytes, openai_chat::read_answer(call.endpoint, &bytes))?;
        trace.upstream_model = model;
        Ok(Answer::Whole(bytes, usage))
    }

    /// The key by which OpenAI itself finds cached prompts, where it is OpenAI that is called: it sends prompts of one
    /// beginning to one place, the better with a key: <https://platform.openai.com/docs/guides/prompt-caching>.
    fn cache_key(&self) -> Option<u64> {
        let base = self.attempt.target.provider.settings.get("base_url");
        let chat = self.attempt.call.endpoint == Endpoint::Chat;
        self.attempt.cache_key.filter(|_| self.kind == ProviderKind::OpenAi && base.is_none() && chat)
    }

    /// Whether a deployment of Azure OpenAI refused `max_tokens`, and nothing but that, in its known words.
    fn wants_other_limit(&self, failure: &Failure) -> bool {
        let given = |name: &str| self.attempt.call.object().get(name).is_some_and(|raw| raw.get() != "null");
        let words = failure.upstream.as_ref().map(|error| (error.code.as_deref(), error.param.as_deref()));
        self.kind == ProviderKind::AzureOpenAi
            && words == Some((Some("unsupported_parameter"), Some("max_tokens")))
            && self.can.max_tokens_parameter.is_none()
            && given("max_tokens")
    }
}
