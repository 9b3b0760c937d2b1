//! Questions, answers and records of buckets as JSON. An array's members are in the order of the fields here.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Ask, Debit, Level, Question, Rule, Shelf, Standing};
use crate::model::record::{self, Members, record};

/// The newest shape of records that this version writes.
const SCHEMA: u32 = 1;

/// Writes a question.
pub(crate) fn write_question(question: &Question) -> Bytes {
    let asks = question.asks.iter().map(|ask| row(&ask.name, ask.rule, &[ask.most.into()]));
    let debits =
        question.debits.iter().map(|debit| row(&debit.name, debit.rule, &[debit.tokens.into(), debit.id.into()]));
    let forget = if question.forget { Value::Bool(true) } else { Value::Null };
    let known = [("asks", asks.collect()), ("debits", debits.collect()), ("forget", forget)];
    record::bytes(&record(known, &Map::new()))
}

pub(super) fn read_question(bytes: &[u8]) -> Option<Question> {
    let mut members = Members::parse(bytes)?;
    let mut question = Question { forget: members.take("forget").is_some(), ..Question::default() };
    for item in members.list("asks")? {
        let mut row = Row::of(item)?;
        question.asks.push(Ask { name: row.text()?, rule: row.rule()?, most: row.number()? });
    }
    for item in members.list("debits")? {
        let mut row = Row::of(item)?;
        let (name, rule) = (row.text()?, row.rule()?);
        question.debits.push(Debit { name, rule, tokens: row.number()?, id: row.number()? });
    }
    Some(question)
}

pub(super) fn write_answer(granted: bool, standings: &[Standing]) -> Bytes {
    let standing = |standing: &Standing| -> Value {
        let members: [Value; 4] =
            [standing.taken.into(), standing.left.into(), standing.wait_ms.into(), standing.full_ms.into()];
        members.into_iter().collect()
    };
    let known = [("granted", granted.into()), ("standings", standings.iter().map(standing).collect())];
    record::bytes(&record(known, &Map::new()))
}

/// Reads an answer: whether all was granted, and how the buckets asked for stand, in the order of the question.
pub(crate) fn read_answer(bytes: &[u8]) -> Option<(bool, Vec<Standing>)> {
    let mut members = Members::parse(bytes)?;
    let granted = members.take("granted")?.as_bool()?;
    let mut standings = Vec::new();
    for item in members.list("standings")? {
        let mut row = Row::of(item)?;
        let (taken, left) = (row.number()?, row.next()?.as_i64()?);
        standings.push(Standing { taken, left, wait_ms: row.next()?.as_u64(), full_ms: row.next()?.as_u64() });
    }
    Some((granted, standings))
}

pub(super) fn write_record(shelf: Shelf) -> Bytes {
    let mut buckets = Map::new();
    for (name, level) in shelf.buckets {
        let Rule { capacity, amount, every_ms } = level.rule;
        let numbers: [Value; 5] =
            [level.left.into(), level.since_ms.into(), capacity.into(), amount.into(), every_ms.into()];
        buckets.insert(name, numbers.into_iter().collect::<Value>());
    }
    let seen: Value = shelf.seen.into_iter().collect();
    let known = [("schema", SCHEMA.into()), ("buckets", Value::Object(buckets)), ("seen", seen)];
    record::bytes(&record(known, &shelf.rest.map(Members::rest).unwrap_or_default()))
}

pub(super) fn read_record(bytes: &[u8]) -> Option<Shelf> {
    let mut members = Members::parse(bytes)?;
    members.schema()?;
    let mut shelf = Shelf::default();
    for (name, item) in members.object("buckets")?.unwrap_or_default() {
        let mut row = Row::of(item)?;
        let left = row.next()?.as_i64()?;
        let since_ms = row.number()?;
        shelf.buckets.insert(name, Level { left, since_ms, rule: row.rule()? });
    }
    for item in members.list("seen")? {
        shelf.seen.push(item.as_u64()?);
    }
    shelf.rest = Some(members);
    Some(shelf)
}

fn row(name: &str, rule: Rule, more: &[Value]) -> Value {
    let Rule { capacity, amount, every_ms } = rule;
    let first: [Value; 4] = [name.into(), capacity.into(), amount.into(), every_ms.into()];
    first.into_iter().chain(more.iter().cloned()).collect()
}

/// The members of an array that are still to be read.
struct Row(std::vec::IntoIter<Value>);

impl Row {
    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Array(items) => Some(Self(items.into_iter())),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<Value> {
        self.0.next()
    }

    fn text(&mut self) -> Option<String> {
        self.next()?.as_str().map(str::to_owned)
    }

    fn number(&mut self) -> Option<u64> {
        self.next()?.as_u64()
    }

    fn rule(&mut self) -> Option<Rule> {
        let (capacity, amount, every_ms) = (self.number()?, self.number()?, self.number()?);
        // As long as these hold, sums of levels stay far from their ends.
        let fits = capacity <= 1 << 60 && amount <= 1 << 60 && (1..=1 << 60).contains(&every_ms);
        fits.then_some(Rule { capacity, amount, every_ms })
    }
}
