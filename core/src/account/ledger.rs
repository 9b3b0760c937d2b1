//! The usage ledger: one row per attempt, and the sums that rows are rolled up into.
//!
//! A row is written once and never changed; its id comes from the request and the attempt, so that writing it again changes
//! nothing. Sums are a function of rows alone: rolling the same time up again gives the same sums, which replace the old
//! ones. So nothing is counted twice, whatever is repeated or cut off.

pub(crate) mod read;
pub(crate) mod roll;
mod row;
mod tally;

pub use self::row::Row;
pub(crate) use self::row::{Filed, OPERATOR};
pub(crate) use self::tally::{Counter, Dimension, Group, Sums, Tally};

#[cfg(test)]
mod tests;
