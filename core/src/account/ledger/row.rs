//! The row of one attempt: what the bill knew when it was settled, and how that is written down.

use bytes::Bytes;

use super::super::{Closing, Facts};
use super::tally::{Counter, Dimension, Group, Sums};
use crate::limits;
use crate::line::{JsonLine, Member};
use crate::model::record::Members;
use crate::ports::{Book, Entry, Kind, Place};
use crate::provider::Endpoint;
use crate::route::{self, Class};

/// One attempt, settled. It is written down only when it is carried out.
pub struct Row {
    facts: Facts,
    closing: Closing,
    ended_ms: u64,
}

/// A row as it goes into its book.
#[derive(Clone)]
pub(crate) struct Filed {
    /// Which book.
    pub book: Book,
    /// The entry.
    pub entry: Entry,
}

/// The version of a row's shape.
const SCHEMA: u32 = 1;
/// In the place of a key's id where the operator called.
pub(crate) const OPERATOR: &str = "operator";

impl Row {
    pub(crate) const fn new(facts: Facts, closing: Closing, ended_ms: u64) -> Self {
        Self { facts, closing, ended_ms }
    }

    /// Writes it down. Its name comes from the request and the attempt alone, and so does its book.
    pub(crate) fn file(&self) -> Filed {
        let request = self.facts.request_id.trim_start_matches("req_");
        let name = format!("{request}.{}", self.facts.number);
        let number = (route::hash(&[request.as_bytes()]) % u64::from(limits::BOOKS)).try_into().unwrap_or(0);
        let record = self.record();
        let place = Place { kind: Kind::Row, time_ms: self.ended_ms, name };
        let ends_ms = self.ended_ms.saturating_add(limits::ROWS_KEPT_MS);
        Filed { book: Book { tenant: self.facts.tenant, number }, entry: Entry { place, ends_ms, record } }
    }

    fn record(&self) -> Bytes {
        let Self { facts, closing, ended_ms } = self;
        let target = facts.config.target(facts.at);
        let mut out = JsonLine::new();
        let mut put = |name: &str, value: Member<'_>| out.put(name, &value);
        put("schema", SCHEMA.into());
        put("request", facts.request_id.as_str().into());
        put("attempt", facts.number.into());
        put("tenant", (&facts.tenant).into());
        put("key", facts.key.as_ref().map_or(OPERATOR, |key| key.id.as_str()).into());
        put("alias", facts.alias.as_str().into());
        if let Some(target) = target {
            put("model", target.model.id.as_str().into());
            put("model_uuid", target.model.uuid.as_str().into());
            put("provider", target.provider.uuid.as_str().into());
            put("type", target.provider.type_name.as_str().into());
        }
        put("use", usage_type(facts.endpoint).into());
        put("stream", Member::Flag(facts.stream));
        put("class", closing.class.as_str().into());
        put("code", closing.code.map(crate::error::ErrorCode::as_str).into());
        put("status", closing.status.into());
        put("calls", closing.calls.into());
        put("began", facts.began_ms.into());
        put("ended", (*ended_ms).into());
        put("first", facts.first_content_ms.into());
        match closing.usage {
            Some(usage) => {
                put("in", usage.input_tokens.into());
                put("out", usage.output_tokens.into());
                put("cr", usage.cache_read_tokens.into());
                put("cw", usage.cache_write_tokens.into());
                put("re", usage.reasoning_tokens.into());
            }
            None if closing.calls > 0 && worked(closing) => put("est", Member::Flag(true)),
            None => {}
        }
        if closing.maybe_billed {
            put("mb", Member::Flag(true));
        }
        Bytes::from(out.finish())
    }
}

/// Whether the provider did something that it may charge for.
const fn worked(closing: &Closing) -> bool {
    matches!(closing.class, Class::Success | Class::Cut | Class::Cancelled) || closing.maybe_billed
}

/// IBM's words for what was used.
const fn usage_type(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat | Endpoint::Completions => "completion",
        Endpoint::Embeddings => "embedding",
    }
}

/// What a stored row counts for; `None` if it cannot be understood.
pub(super) fn counted(record: &[u8]) -> Option<(Group, Sums)> {
    let mut row = Members::parse(record)?;
    row.schema()?;
    let mut group = Group::default();
    for dimension in Dimension::ALL {
        group.set(dimension, row.optional_text(dimension.stored())?.unwrap_or_default());
    }
    let mut number = |name: &str| row.take(name).map_or(Some(None), |value| value.as_u64().map(Some));
    let (began, ended, first) = (number("began")??, number("ended")??, number("first")?);
    let mut sums = Sums::default();
    for (name, counter) in TOKENS {
        sums.add(counter, number(name)?.unwrap_or(0));
    }
    let attempt = number("attempt")??;
    sums.add(Counter::Attempts, 1);
    sums.add(Counter::Requests, u64::from(attempt == 1));
    match row.text("class")?.as_str() {
        "success" => {
            sums.add(Counter::Successes, 1);
            sums.add(Counter::SuccessMs, ended.saturating_sub(began));
        }
        "cancelled" => sums.add(Counter::Cancelled, 1),
        _ => sums.add(Counter::Errors, 1),
    }
    if let Some(first) = first {
        sums.add(Counter::FirstContents, 1);
        sums.add(Counter::FirstContentMs, first);
    }
    let mut flag = |name: &str| row.take(name).map_or(Some(false), |value| value.as_bool());
    sums.add(Counter::Estimated, u64::from(flag("est")?));
    sums.add(Counter::MaybeBilled, u64::from(flag("mb")?));
    match row.take("cost") {
        Some(cost) => {
            sums.add(Counter::CostPico, cost.as_u64()?);
            sums.add(Counter::Priced, 1);
        }
        None => {}
    }
    Some((group, sums))
}

/// Members that are summed as they are.
const TOKENS: [(&str, Counter); 6] = [
    ("in", Counter::Input),
    ("out", Counter::Output),
    ("cr", Counter::CacheRead),
    ("cw", Counter::CacheWrite),
    ("re", Counter::Reasoning),
    ("calls", Counter::Calls),
];
