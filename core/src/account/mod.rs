//! What calls used and what that costs, settled once for each, and the ledger of it.

mod bill;
mod book;
pub mod bucket;
mod ledger;
pub(crate) mod limiter;
pub(crate) mod meter;
mod openai;
mod price;
mod usage;

pub(crate) use self::bill::{Bill, Closing, Facts, Total};
pub(crate) use self::book::{Book, Books};
pub(crate) use self::ledger::{Counter, Dimension, Filed, Group, OPERATOR, Sums, Tally, read, roll};
pub use self::ledger::{Row, roll::roll_up};
pub(crate) use self::meter::{Estimate, Measure, Meter, text_in};
pub(crate) use self::price::{Cost, Price, PriceError, Tariff};
pub(crate) use self::usage::{InputTotal, TokenClass, Usage, count, tokens};
