//! The row of one attempt: what the bill knew when it was settled, and how that is written down.

use bytes::Bytes;

use super::super::{Closing, Cost, Facts, TokenClass};
use super::tally::{Counter, Dimension, Group, Sums};
use crate::limits;
use crate::line::{JsonLine, Member};
use crate::model::record::Members;
use crate::ports::{Book, Entry, Kind, Place};
use crate::provider::Endpoint;
use crate::route;

/// One attempt, settled. It is written down only when it is carried out.
pub struct Row {
    facts: Facts,
    closing: Closing,
    cost: Option<Cost>,
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
    pub(crate) const fn new(facts: Facts, closing: Closing, cost: Option<Cost>, ended_ms: u64) -> Self {
        Self { facts, closing, cost, ended_ms }
    }

    /// The book that an isolate takes whose first row this is.
    pub(crate) fn first_book(&self) -> u8 {
        (route::hash(&[self.facts.request_id.as_bytes()]) % u64::from(limits::BOOKS)).try_into().unwrap_or(0)
    }

    /// Writes it down, for that book of its tenant. Its name comes from the request and the attempt alone.
    pub(crate) fn file(&self, number: u8) -> Filed {
        let request = self.facts.request_id.trim_start_matches("req_");
        let name = format!("{request}.{}", self.facts.number);
        let record = self.record();
        let place = Place { kind: Kind::Row, time_ms: self.ended_ms, name };
        let ends_ms = self.ended_ms.saturating_add(limits::ROWS_KEPT_MS);
        Filed { book: Book { tenant: self.facts.tenant, number }, entry: Entry { place, ends_ms, record } }
    }

    fn record(&self) -> Bytes {
        let Self { facts, closing, cost, ended_ms } = self;
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
        if let Some(usage) = closing.usage {
            put("in", usage.input_tokens.into());
            put("out", usage.output_tokens.into());
            for (class, count) in usage.classes().iter() {
                if let Some((name, _)) = CLASSES.iter().find(|(_, known)| *known == class).filter(|_| count > 0) {
                    put(name, count.into());
                }
            }
        }
        if closing.estimated {
            put("est", Member::Flag(true));
        }
        if let Some(cost) = cost {
            put("cost", cost.pico_usd.into());
            put("book", cost.version.as_ref().into());
        }
        if closing.maybe_billed {
            put("mb", Member::Flag(true));
        }
        Bytes::from(out.finish())
    }
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
        // Used, and nobody knows what it costs: the sum of its group is not known either.
        None if sums.of(Counter::Input) + sums.of(Counter::Output) > 0 => sums.add(Counter::Unpriced, 1),
        None => {}
    }
    Some((group, sums))
}

/// Members that are summed as they are.
const TOKENS: [(&str, Counter); 10] = [
    ("in", Counter::Input),
    ("out", Counter::Output),
    ("cr", Counter::CacheRead),
    ("cw", Counter::CacheWrite5m),
    ("re", Counter::Reasoning),
    ("calls", Counter::Calls),
    ("ch", Counter::CacheWrite1h),
    ("ia", Counter::InputAudio),
    ("ii", Counter::InputImage),
    ("oa", Counter::OutputAudio),
];

/// The members of classes; what is in none of them is plain input or output.
const CLASSES: [(&str, TokenClass); 7] = [
    ("cr", TokenClass::CacheRead),
    ("cw", TokenClass::CacheWrite5m),
    ("ch", TokenClass::CacheWrite1h),
    ("ia", TokenClass::InputAudio),
    ("ii", TokenClass::InputImage),
    ("re", TokenClass::Reasoning),
    ("oa", TokenClass::OutputAudio),
];
