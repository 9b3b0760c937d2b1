//! Writing one item. A write whose answer was lost is repeated; what then is true is found out by reading.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use bytes::Bytes;
use gateway_core::ports::PortError;

use super::DynamoStore;
use super::item::{Item, Place};
use crate::fault::Failed;

/// What must be true of an item for it to be replaced.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// There is none.
    Absent,
    /// Its `version`.
    Version(u64),
    /// Its `data`.
    Data(Bytes),
}

/// One try of a conditional write.
enum Tried {
    Done,
    Refused,
    Failed(Failed),
}

impl Condition {
    /// The expression, with `#a` and `:a` for the attribute and its value.
    fn expression(&self) -> &'static str {
        match self {
            Self::Absent => "attribute_not_exists(pk)",
            Self::Version(_) | Self::Data(_) => "#a = :a",
        }
    }

    fn attribute(&self) -> Option<(&'static str, AttributeValue)> {
        match self {
            Self::Absent => None,
            Self::Version(version) => Some(("version", AttributeValue::N(version.to_string()))),
            Self::Data(data) => Some(("data", AttributeValue::B(Blob::new(data.as_ref())))),
        }
    }
}

impl DynamoStore {
    /// Puts (or, without `new`, deletes) an item if `condition` holds; whether it did.
    pub(super) async fn write_if(
        &self,
        operation: &'static str,
        place: &Place,
        condition: &Condition,
        new: Option<Item>,
    ) -> Result<bool, PortError> {
        if new.is_none() && matches!(condition, Condition::Absent) {
            return Ok(self.get(operation, place).await?.is_none());
        }
        let (mut tried, mut maybe_done) = (0, false);
        loop {
            let outcome = match &new {
                Some(item) => self.try_put(condition, item).await,
                None => self.try_delete(condition, place).await,
            };
            match outcome {
                Tried::Done => return Ok(true),
                Tried::Refused if maybe_done => return self.was_ours(operation, place, new.as_ref()).await,
                Tried::Refused => return Ok(false),
                Tried::Failed(failed) => {
                    maybe_done |= failed.maybe_done;
                    self.again(operation, failed, &mut tried, WRITE_TRIES).await?;
                }
            }
        }
    }

    /// Whether the item is as this write would have left it.
    async fn was_ours(&self, operation: &'static str, place: &Place, new: Option<&Item>) -> Result<bool, PortError> {
        let found = self.get(operation, place).await?;
        Ok(match (found, new) {
            (Some(found), Some(new)) => found.same_write(new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        })
    }

    async fn try_put(&self, condition: &Condition, item: &Item) -> Tried {
        let mut request = self
            .client()
            .put_item()
            .table_name(self.table.as_ref())
            .set_item(Some(item.attributes()))
            .condition_expression(condition.expression());
        if let Some((name, value)) = condition.attribute() {
            request = request.expression_attribute_names("#a", name).expression_attribute_values(":a", value);
        }
        match request.send().await {
            Ok(_) => Tried::Done,
            Err(SdkError::ServiceError(answer))
                if matches!(answer.err(), PutItemError::ConditionalCheckFailedException(_)) =>
            {
                Tried::Refused
            }
            Err(error) => Tried::Failed(Failed::of(&error)),
        }
    }

    async fn try_delete(&self, condition: &Condition, place: &Place) -> Tried {
        let mut request = self
            .client()
            .delete_item()
            .table_name(self.table.as_ref())
            .set_key(Some(place.key()))
            .condition_expression(condition.expression());
        if let Some((name, value)) = condition.attribute() {
            request = request.expression_attribute_names("#a", name).expression_attribute_values(":a", value);
        }
        match request.send().await {
            Ok(_) => Tried::Done,
            Err(SdkError::ServiceError(answer))
                if matches!(answer.err(), DeleteItemError::ConditionalCheckFailedException(_)) =>
            {
                Tried::Refused
            }
            Err(error) => Tried::Failed(Failed::of(&error)),
        }
    }

    /// Writes a record whatever was there.
    pub(super) async fn put(&self, operation: &'static str, place: &Place, data: &[u8]) -> Result<(), PortError> {
        self.put_item(operation, &Item::record(place, data)).await
    }

    /// Writes an item whatever was there.
    pub(super) async fn put_item(&self, operation: &'static str, item: &Item) -> Result<(), PortError> {
        let mut tried = 0;
        loop {
            let request = self.client().put_item().table_name(self.table.as_ref());
            match request.set_item(Some(item.attributes())).send().await {
                Ok(_) => return Ok(()),
                Err(error) => self.again(operation, Failed::of(&error), &mut tried, WRITE_TRIES).await?,
            }
        }
    }

    /// Deletes a record; whether there was one.
    pub(super) async fn delete(&self, operation: &'static str, place: &Place) -> Result<bool, PortError> {
        let (mut tried, mut maybe_done) = (0, false);
        loop {
            let request = self.client().delete_item().table_name(self.table.as_ref()).set_key(Some(place.key()));
            match request.return_values(ReturnValue::AllOld).send().await {
                Ok(answer) => return Ok(maybe_done || answer.attributes.is_some_and(|old| !old.is_empty())),
                Err(error) => {
                    let failed = Failed::of(&error);
                    maybe_done |= failed.maybe_done;
                    self.again(operation, failed, &mut tried, WRITE_TRIES).await?;
                }
            }
        }
    }
}

/// Management can wait a little: 50 to 350 ms of pauses in all.
const WRITE_TRIES: u32 = 4;
