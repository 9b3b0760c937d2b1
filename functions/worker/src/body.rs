//! The client's body, read when core wants it: in one crossing when its length is known.

use std::rc::Rc;

use bytes::Bytes;
use gateway_core::ports::{ReadError, RequestBody};

use crate::call::{Call, Outcome};
use crate::host;

/// The body of the client's request.
pub(crate) struct ClientBody {
    call: Rc<Call>,
    length: Option<usize>,
}

impl ClientBody {
    /// The body of `call`, whose Content-Length is `length`.
    pub(crate) fn new(call: &Rc<Call>, length: Option<usize>) -> Self {
        Self { call: Rc::clone(call), length }
    }
}

impl RequestBody for ClientBody {
    async fn read(self, limit: usize) -> Result<Bytes, ReadError> {
        match self.length {
            Some(0) => return Ok(Bytes::new()),
            Some(length) if length > limit => return Err(ReadError::TooLarge),
            Some(_) | None => {}
        }
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let operation = host::body(self.call.id(), self.length.is_some(), limit);
        let settled = self.call.operation(operation).await;
        match settled.outcome {
            Outcome::Ok => Ok(settled.bytes),
            Outcome::TooLarge => Err(ReadError::TooLarge),
            _ => Err(ReadError::Incomplete),
        }
    }
}
