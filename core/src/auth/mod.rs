//! Who is calling. The identity comes from the `Authorization` header and from nothing else.

mod bearer;

pub(crate) use bearer::{Bearer, BearerKeys};
