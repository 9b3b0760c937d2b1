//! One request from its first byte to its last: the request id and the one structured log line at its end.
//!
//! Dropping an exchange that was not closed means that the client left; the line is written all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderMap;

use crate::account::Total;
use crate::line::{JsonLine, Member, level_name};
use crate::model::TenantId;
use crate::ports::{Level, Platform};
use crate::span::Span;

/// What is known about a request so far. Only identifiers, counts and times: never bodies, keys, URLs or headers.
pub(crate) struct Exchange<P: Platform> {
    platform: P,
    request_id: String,
    began_ms: u64,
    store_reads: AtomicU32,
    sent: Sent,
    span: Option<Span>,
    line: Line,
    closed: bool,
}

/// How many calls have been sent to providers for one request; fetched images and tokens are not counted. It is known to
/// all who tell of them, because whoever waits for the answers may be gone before they come.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<AtomicU32>);

impl Sent {
    /// One more is about to be sent.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// All until now.
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The members of the log line, named by OpenTelemetry's GenAI conventions where these have a name.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The route's template, never the raw path.
    pub route: &'static str,
    /// The request's method.
    pub method: &'static str,
    /// The caller's tenant.
    pub tenant: Option<TenantId>,
    /// The caller's key id, or `operator`.
    pub key: Option<String>,
    /// `gen_ai.operation.name`.
    pub operation: Option<&'static str>,
    /// `gen_ai.provider.name`: the provider's type.
    pub provider_type: Option<String>,
    /// The provider's UUID.
    pub provider: Option<String>,
    /// The UUID of the enabled model.
    pub model: Option<String>,
    /// The upstream's status.
    pub upstream_status: Option<u16>,
    /// Why the last target was picked.
    pub route_reason: Option<&'static str>,
    /// Attempts that failed before the one that answered: model and class of each.
    pub failed_attempts: Option<String>,
    /// The provider's own word for why the answer ended, if ours cannot say it.
    pub native_finish: Option<String>,
    /// Milliseconds from the request to the first content.
    pub first_content_ms: Option<u64>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// What was used, and what it costs.
    pub total: Total,
    /// The status answered.
    pub status: u16,
    /// The error code answered, or the one a stream ended with.
    pub code: Option<&'static str>,
    /// More about the error, for operators.
    pub cause: Option<String>,
    /// Served from a copy that could not be confirmed.
    pub stale: bool,
    /// Rate limits could not be checked, and the operator wants calls to go on then.
    pub unlimited: bool,
}

impl<P: Platform> Exchange<P> {
    /// Begins now.
    pub(crate) fn new(platform: P) -> Self {
        let mut random = [0_u8; 16];
        platform.fill_random(&mut random);
        let mut request_id = String::with_capacity(36);
        request_id.push_str("req_");
        for byte in random {
            for digit in [byte >> 4, byte & 15] {
                request_id.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        let began_ms = platform.now_ms();
        Self {
            platform,
            request_id,
            began_ms,
            store_reads: AtomicU32::new(0),
            sent: Sent::default(),
            span: None,
            line: Line::default(),
            closed: false,
        }
    }

    /// In the place of one that a live body took over: it writes nothing.
    pub(crate) fn spent(platform: P) -> Self {
        Self {
            platform,
            request_id: String::new(),
            began_ms: 0,
            store_reads: AtomicU32::new(0),
            sent: Sent::default(),
            span: None,
            line: Line::default(),
            closed: true,
        }
    }

    /// Joins the client's trace, if the headers name one.
    pub(crate) fn join(&mut self, headers: &HeaderMap) {
        self.span = Span::join(headers, || {
            let mut random = [0_u8; 8];
            self.platform.fill_random(&mut random);
            random
        });
    }

    /// Our span of the client's trace.
    pub(crate) const fn span(&self) -> Option<&Span> {
        self.span.as_ref()
    }

    /// The id that the client and the log see.
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// When the request began, in milliseconds since the epoch.
    pub(crate) fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// The runtime.
    pub(crate) fn platform(&self) -> &P {
        &self.platform
    }

    /// Counts a call to the store and gives it.
    pub(crate) fn store(&self) -> &P::Store {
        self.store_reads.fetch_add(1, Ordering::Relaxed);
        self.platform.store()
    }

    /// The calls to providers.
    pub(crate) const fn sent(&self) -> &Sent {
        &self.sent
    }

    /// What the line will say.
    pub(crate) fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Writes the line. Only the first call counts.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let now = self.platform.now_ms();
        let (level, text) = self.render(now);
        self.platform.log(level, &text);
    }

    fn render(&self, now_ms: u64) -> (Level, String) {
        let line = &self.line;
        let level = match line.status {
            500.. => Level::Error,
            429 => Level::Warn,
            _ if line.stale || line.unlimited => Level::Warn,
            200..=299 if line.code.is_some() => Level::Error,
            _ => Level::Info,
        };
        let mut line_out = JsonLine::new();
        let mut put = |name: &str, value: Member<'_>| line_out.put(name, &value);
        put("level", level_name(level).into());
        put("time_ms", now_ms.into());
        put("request_id", self.request_id.as_str().into());
        if let Some(span) = &self.span {
            put("trace_id", span.trace_id.as_str().into());
            put("span_id", span.span_id.as_str().into());
        }
        put("http.request.method", line.method.into());
        put("http.route", line.route.into());
        put("http.response.status_code", line.status.into());
        put("error.type", line.code.into());
        put("cause", line.cause.as_deref().into());
        put("tenant", line.tenant.as_ref().into());
        put("key", line.key.as_deref().into());
        put("gen_ai.operation.name", line.operation.into());
        put("gen_ai.provider.name", line.provider_type.as_deref().into());
        put("provider", line.provider.as_deref().into());
        put("model", line.model.as_deref().into());
        put("upstream_status", line.upstream_status.into());
        let sent = self.sent.count();
        if sent > 0 {
            put("attempts", sent.into());
            put("stream", Member::Flag(line.stream));
        }
        put("route_reason", line.route_reason.into());
        put("failed_attempts", line.failed_attempts.as_deref().into());
        put("native_finish_reason", line.native_finish.as_deref().into());
        if let Some(usage) = line.total.measure.usage {
            put("gen_ai.usage.input_tokens", usage.input_tokens.into());
            put("gen_ai.usage.output_tokens", usage.output_tokens.into());
            put("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens.into());
            put("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens.into());
            put("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens.into());
            if line.total.measure.estimated {
                put("usage_estimated", Member::Flag(true));
            }
        }
        if let Some(cost) = &line.total.cost {
            put("cost_pico_usd", cost.pico_usd.into());
            put("price_version", (&*cost.version).into());
        }
        put("first_content_ms", line.first_content_ms.into());
        put("duration_ms", now_ms.saturating_sub(self.began_ms).into());
        put("store_reads", self.store_reads.load(Ordering::Relaxed).into());
        if line.stale {
            put("stale", Member::Flag(true));
        }
        if line.unlimited {
            put("unlimited", Member::Flag(true));
        }
        (level, line_out.finish())
    }
}

impl<P: Platform> Drop for Exchange<P> {
    fn drop(&mut self) {
        if !self.closed {
            // nginx's status for a client that closed its connection; it is never sent.
            self.line.status = 499;
            self.line.code = Some("client_closed");
            self.close();
        }
    }
}
