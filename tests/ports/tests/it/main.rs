//! The contract against every store that runs on this machine.

#[cfg(test)]
mod buckets;
#[cfg(test)]
mod dynamo;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod moto;
#[cfg(test)]
mod redb;
