//! The usage ledger in the table. Rows of a tenant are spread over partitions of a day and a book; sums and the mark of a
//! book are in one. What has ended is removed by DynamoDB itself.

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use gateway_core::limits;
use gateway_core::ports::{Book, Entry, Kind, Ledger, Place, PortError};

use super::item::{self, Item};
use super::write::Condition;
use super::{DynamoStore, READ_TRIES, corrupt};
use crate::fault::Failed;

impl Ledger for DynamoStore {
    async fn write(&self, book: Book, entries: &[Entry]) -> Result<(), PortError> {
        const OPERATION: &str = "ledger.write";
        let writes = stream::iter(entries.to_vec()).map(|entry| async move {
            let Entry { place, ends_ms, record } = entry;
            let at = item::Place::usage(partition(book, place.kind, day(place.time_ms)), place.to_string());
            let item = Item::ending(&at, &record, ends_ms / 1000);
            if place.kind == Kind::Row {
                // One that is there already stays.
                self.write_if(OPERATION, &at, &Condition::Absent, Some(item)).await.map(drop)
            } else {
                self.put_item(OPERATION, &item).await
            }
        });
        writes.buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn scan(&self, book: Book, after: &Place, to_ms: u64, most: usize) -> Result<Vec<(Place, Bytes)>, PortError> {
        let to = Place::start(after.kind, to_ms);
        if *after >= to {
            return Ok(Vec::new());
        }
        if after.kind != Kind::Row {
            return self.between(&partition(book, after.kind, 0), after, &to, most).await;
        }
        // No row is older than it is kept, or from after tomorrow.
        let today = day(gateway_native::now_ms());
        let oldest = today.saturating_sub(day(limits::ROWS_KEPT_MS) + 1);
        for day in day(after.time_ms).max(oldest)..=day(to_ms).min(today + 1) {
            let found = self.between(&partition(book, Kind::Row, day), after, &to, most).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    async fn mark(&self, book: Book) -> Result<Option<u64>, PortError> {
        const OPERATION: &str = "ledger.mark";
        let Some(item) = self.get(OPERATION, &mark_of(book)).await? else { return Ok(None) };
        let data = item.data().ok_or_else(|| corrupt(OPERATION))?;
        let number = std::str::from_utf8(&data).ok().and_then(|digits| digits.parse().ok());
        number.map(Some).ok_or_else(|| corrupt(OPERATION))
    }

    async fn move_mark(&self, book: Book, expected: Option<u64>, mark: u64) -> Result<bool, PortError> {
        let at = mark_of(book);
        let condition = expected.map_or(Condition::Absent, |mark| Condition::Data(mark.to_string().into()));
        let item = Item::record(&at, mark.to_string().as_bytes());
        self.write_if("ledger.move_mark", &at, &condition, Some(item)).await
    }

    async fn expire(&self, _: Book, _: u64) -> Result<(), PortError> {
        Ok(())
    }
}

impl DynamoStore {
    /// Entries of a partition after one place and before another.
    async fn between(
        &self,
        pk: &str,
        after: &Place,
        to: &Place,
        most: usize,
    ) -> Result<Vec<(Place, Bytes)>, PortError> {
        const OPERATION: &str = "ledger.scan";
        let (mut from, mut tried) = (None, 0);
        loop {
            let request = self
                .client()
                .query()
                .table_name(self.table.as_ref())
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND sk BETWEEN :after AND :to")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .expression_attribute_values(":after", AttributeValue::S(after.to_string()))
                .expression_attribute_values(":to", AttributeValue::S(to.to_string()))
                // The first one may be `after` itself.
                .limit(i32::try_from(most + 1).unwrap_or(i32::MAX))
                .set_exclusive_start_key(from.clone());
            let page = match request.send().await {
                Ok(page) => page,
                Err(error) => {
                    self.again(OPERATION, Failed::of(&error), &mut tried, READ_TRIES).await?;
                    continue;
                }
            };
            tried = 0;
            let mut found = Vec::new();
            for item in page.items.unwrap_or_default().into_iter().map(Item::new) {
                let place = item.sk().and_then(Place::parse);
                let Some((place, record)) = place.zip(item.data()) else { return Err(corrupt(OPERATION)) };
                if place != *after && found.len() < most {
                    found.push((place, record));
                }
            }
            match page.last_evaluated_key.filter(|key| !key.is_empty()) {
                Some(key) if found.is_empty() => from = Some(key),
                _ => return Ok(found),
            }
        }
    }
}

fn day(time_ms: u64) -> u64 {
    time_ms / DAY_MS
}

fn partition(book: Book, kind: Kind, day: u64) -> String {
    let Book { tenant, number } = book;
    match kind {
        Kind::Row => format!("USAGE#{tenant}#{day}#{number}"),
        Kind::Minute | Kind::Hour | Kind::Day => format!("USAGE#{tenant}#SUMS#{number}"),
    }
}

fn mark_of(book: Book) -> item::Place {
    item::Place::usage(partition(book, Kind::Day, 0), "MARK".to_owned())
}

const DAY_MS: u64 = 86_400_000;
/// Writes under way at a time.
const AT_ONCE: usize = 16;
