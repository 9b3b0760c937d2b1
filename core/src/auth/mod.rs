//! Who is calling. The identity comes from the `Authorization` header and from nothing else.

mod bearer;
mod token;

pub(crate) use bearer::{Bearer, BearerKeys};
pub(crate) use token::TOKEN_S;
