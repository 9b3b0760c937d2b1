//! `GET /v1/usage` and `GET /v1/usage/user`: what was used, in buckets of time and grouped, in the shape of OpenAI's
//! organization usage: <https://platform.openai.com/docs/api-reference/usage/completions>.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{Whose, json};
use crate::account::read::{self, Question, Width};
use crate::account::{Counter, Dimension, Group, OPERATOR, Sums, Tally};
use crate::error::{ErrorCode, Failure, Outcome};
use crate::exchange::Exchange;
use crate::limits;
use crate::ports::{Fault, Platform, PortError};
use crate::tenancy::Caller;

/// Answers with one page of buckets.
pub(super) async fn get<P: Platform>(
    exchange: &Exchange<P>,
    caller: &Caller,
    whose: Whose,
    head: &http::request::Parts,
) -> Outcome<Response<Bytes>> {
    let now = exchange.platform().now_ms();
    let mut query = Query::read(head.uri.query().unwrap_or_default(), now)?;
    if whose == Whose::Key {
        let key = caller.key.as_ref().map_or(OPERATOR, |key| key.id.as_str()).to_owned();
        query.question.only.push((Dimension::Key, vec![key]));
    }
    let buckets =
        read::usage(exchange.platform().ledger(), caller.tenant, &query.question).await.map_err(|e| unread(&e))?;
    if buckets.values().map(|tally| tally.0.len()).sum::<usize>() > limits::USAGE_RESULTS {
        let most = limits::USAGE_RESULTS;
        let message = format!("The page would have more than {most} results. Ask for a smaller 'limit'.");
        return Err(Failure::invalid("limit", message));
    }
    let Question { from, to, width, .. } = query.question;
    let mut data = Vec::new();
    let mut start = from;
    while start < to {
        let mut bucket = Map::new();
        bucket.insert("object".to_owned(), "bucket".into());
        bucket.insert("start_time".to_owned(), (start / 1000).into());
        bucket.insert("end_time".to_owned(), ((start + width.ms()) / 1000).into());
        let results = buckets.get(&start).map(|tally| results(tally, &query.names)).unwrap_or_default();
        bucket.insert("results".to_owned(), Value::Array(results));
        data.push(Value::Object(bucket));
        start += width.ms();
    }
    let mut page = Map::new();
    page.insert("object".to_owned(), "page".into());
    page.insert("data".to_owned(), Value::Array(data));
    page.insert("has_more".to_owned(), (to < query.end).into());
    let next = (to < query.end).then(|| (to / 1000).to_string());
    page.insert("next_page".to_owned(), next.into());
    json(StatusCode::OK, &page)
}

fn unread(error: &PortError) -> Failure {
    if error.fault == Fault::Corrupt {
        return Failure::internal(error.to_string());
    }
    Failure::new(ErrorCode::StoreUnavailable, "The usage ledger cannot be reached. Try again shortly.")
        .retry_after(1)
        .caused_by(error.to_string())
}

/// What a query asks for.
struct Query {
    question: Question,
    /// The members that results have, in the order asked for, with what they stand for.
    names: Vec<(&'static str, Dimension)>,
    /// The end of what was asked for, beyond this page.
    end: u64,
}

/// The words of `group_by`, ours and IBM's.
const GROUPS: [(&str, Dimension); 9] = [
    ("model", Dimension::Model),
    ("alias", Dimension::Alias),
    ("provider", Dimension::Provider),
    ("key", Dimension::Key),
    ("usage_type", Dimension::UsageType),
    ("provider_type", Dimension::ProviderType),
    ("load_balancer_alias", Dimension::Alias),
    ("service_provider", Dimension::ProviderType),
    ("user_uuid", Dimension::Key),
];
/// IBM's words for what can be used.
const USAGE_TYPES: [&str; 4] = ["completion", "embedding", "moderation", "image"];
/// The last second that a time may have: 9999-12-31.
const LAST_SECOND: u64 = 253_402_300_799;

impl Query {
    fn read(text: &str, now_ms: u64) -> Outcome<Self> {
        let (mut start, mut end, mut page) = (None, None, None);
        let (mut width, mut limit) = (Width::Day, 10);
        let (mut names, mut types): (Vec<(&'static str, Dimension)>, Vec<String>) = (Vec::new(), Vec::new());
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match name.strip_suffix("[]").unwrap_or(&name) {
                "start_time" => start = Some(seconds(&value, "start_time")?),
                "end_time" => end = Some(seconds(&value, "end_time")?),
                "page" => page = Some(seconds(&value, "page")?),
                "bucket_width" => {
                    width = match value.as_ref() {
                        "1m" => Width::Minute,
                        "1h" => Width::Hour,
                        "1d" => Width::Day,
                        _ => return Err(Failure::invalid("bucket_width", "'bucket_width' must be 1m, 1h or 1d.")),
                    }
                }
                "limit" => {
                    let most = limits::USAGE_BUCKETS;
                    limit = value.parse().ok().filter(|count| (1..=most).contains(count)).ok_or_else(|| {
                        Failure::invalid("limit", format!("'limit' must be a number from 1 to {most}."))
                    })?;
                }
                "group_by" => {
                    for word in value.split(',') {
                        let known = GROUPS.into_iter().find(|(known, _)| *known == word).ok_or_else(bad_group)?;
                        if !names.contains(&known) {
                            names.push(known);
                        }
                    }
                }
                "usage_types" => {
                    for word in value.split(',') {
                        let known = USAGE_TYPES.contains(&word).then(|| word.to_owned()).ok_or_else(|| {
                            let message = "'usage_types' takes completion, embedding, moderation and image.";
                            Failure::invalid("usage_types", message)
                        })?;
                        types.push(known);
                    }
                }
                _ => {
                    let message = "The query has a parameter that this endpoint does not know. It takes: start_time, \
                        end_time, bucket_width, group_by, usage_types, limit and page.";
                    return Err(Failure::new(ErrorCode::UnknownField, message));
                }
            }
        }
        let wide = width.ms();
        let end = end.map_or(now_ms, |end| end * 1000).div_ceil(wide) * wide;
        let begin = start.map_or(end.saturating_sub(limit * wide), |start| start * 1000);
        let first = begin - begin % wide;
        if first >= end {
            return Err(Failure::invalid("end_time", "'end_time' must be after 'start_time'."));
        }
        let from = page.map_or(first, |page| page * 1000);
        if from < first || from >= end || from % wide != 0 {
            return Err(Failure::invalid("page", "'page' must be the 'next_page' of an answer to the same query."));
        }
        let to = from.saturating_add(limit * wide).min(end);
        let group_by = names.iter().map(|(_, dimension)| *dimension).collect();
        let only = if types.is_empty() { Vec::new() } else { vec![(Dimension::UsageType, types)] };
        Ok(Self { question: Question { from, to, width, group_by, only }, names, end })
    }
}

fn seconds(text: &str, name: &'static str) -> Outcome<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number <= LAST_SECOND);
    number.ok_or_else(|| Failure::invalid(name, format!("'{name}' must be a time in seconds since 1970.")))
}

fn bad_group() -> Failure {
    let words = GROUPS.map(|(word, _)| word).join(", ");
    Failure::invalid("group_by", format!("'group_by' takes one or several of: {words}."))
}

fn results(tally: &Tally, names: &[(&'static str, Dimension)]) -> Vec<Value> {
    tally.0.iter().map(|(group, sums)| result(group, sums, names)).collect()
}

/// Members that are counters as they are.
const COUNTS: [(&str, Counter); 17] = [
    ("input_tokens", Counter::Input),
    ("output_tokens", Counter::Output),
    ("input_cached_tokens", Counter::CacheRead),
    ("input_cache_write_5m_tokens", Counter::CacheWrite5m),
    ("input_cache_write_1h_tokens", Counter::CacheWrite1h),
    ("input_audio_tokens", Counter::InputAudio),
    ("input_image_tokens", Counter::InputImage),
    ("output_reasoning_tokens", Counter::Reasoning),
    ("output_audio_tokens", Counter::OutputAudio),
    ("num_model_requests", Counter::Attempts),
    ("num_requests", Counter::Requests),
    ("num_errors", Counter::Errors),
    ("num_cancelled", Counter::Cancelled),
    ("num_upstream_calls", Counter::Calls),
    ("num_estimated", Counter::Estimated),
    ("num_maybe_billed", Counter::MaybeBilled),
    ("num_unpriced", Counter::Unpriced),
];

fn result(group: &Group, sums: &Sums, names: &[(&'static str, Dimension)]) -> Value {
    let mut out = Map::new();
    out.insert("object".to_owned(), "usage.result".into());
    for (name, dimension) in names {
        let value = group.value(*dimension);
        out.insert((*name).to_owned(), if value.is_empty() { Value::Null } else { value.into() });
    }
    for (name, counter) in COUNTS {
        out.insert(name.to_owned(), sums.of(counter).into());
    }
    let rest = |total: Counter, classes: &[Counter]| -> Value {
        let classes = classes.iter().map(|class| sums.of(*class)).sum();
        sums.of(total).saturating_sub(classes).into()
    };
    use Counter::{CacheRead, CacheWrite1h, CacheWrite5m, InputAudio, InputImage, OutputAudio, Reasoning};
    let cached = [CacheRead, CacheWrite5m, CacheWrite1h, InputAudio, InputImage];
    out.insert("input_uncached_tokens".to_owned(), rest(Counter::Input, &cached));
    out.insert("output_text_tokens".to_owned(), rest(Counter::Output, &[Reasoning, OutputAudio]));
    let mean = |sum: Counter, count: Counter| sums.of(sum).checked_div(sums.of(count)).into();
    out.insert("mean_latency_ms".to_owned(), mean(Counter::SuccessMs, Counter::Successes));
    out.insert("mean_first_content_ms".to_owned(), mean(Counter::FirstContentMs, Counter::FirstContents));
    // A part of the sum would be a wrong sum.
    let known = sums.of(Counter::Priced) > 0 && sums.of(Counter::Unpriced) == 0;
    let cost = known.then(|| dollars(sums.of(Counter::CostPico)));
    out.insert("cost".to_owned(), cost.unwrap_or(Value::Null));
    Value::Object(out)
}

/// Pico-dollars as a number of dollars: the nearest double to the exact decimal.
fn dollars(pico: u64) -> Value {
    const DOLLAR: u64 = 1_000_000_000_000;
    let mut text = String::new();
    let _ = write!(text, "{}.{:012}", pico / DOLLAR, pico % DOLLAR);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let raw = RawValue::from_string(text.to_owned()).ok();
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
