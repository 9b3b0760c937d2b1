//! Work that no client waits for. It is handed to the platform as data and carried out when the answer has been given, or
//! before its last byte where a process may stand still afterwards.

use std::sync::{Mutex, PoisonError};

use futures_util::future::join3;

use crate::account::limiter;
use crate::account::{Filed, Row, roll, roll_up};
use crate::digest;
use crate::gateway::Gateway;
use crate::limits;
use crate::line::level_name;
use crate::model::TenantId;
use crate::ports::{Book, Entry, Ledger, Level, Platform, PortError, Store};
use crate::registry::NameEntry;
use crate::route::News;

/// One piece of such work.
pub enum Deferred {
    /// The ledger's row of an attempt.
    Row(Box<Row>),
    /// What other isolates should know of a tenant's targets.
    News(TenantId, Box<News>),
    /// Tokens are owed to the buckets of rate limits.
    Tokens,
}

/// What could not be written yet. The next work that is carried out takes it along.
#[derive(Default)]
pub(crate) struct Backlog(Mutex<Vec<Filed>>);

impl Backlog {
    fn take(&self) -> Vec<Filed> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what there is room for; the rest.
    fn keep(&self, mut rows: Vec<Filed>) -> Vec<Filed> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limits::BACKLOG_ROWS.saturating_sub(kept.len()).min(rows.len());
        let lost = rows.split_off(room);
        kept.append(&mut rows);
        lost
    }
}

/// Rows on their way. Whatever is not written goes back to the backlog, also if the future that writes is dropped.
struct Held<'a, P: Platform> {
    gateway: &'a Gateway,
    platform: &'a P,
    rows: Vec<Filed>,
}

impl<P: Platform> Drop for Held<'_, P> {
    fn drop(&mut self) {
        for lost in self.gateway.backlog.keep(std::mem::take(&mut self.rows)) {
            tell_lost(self.platform, &lost.entry);
        }
    }
}

/// The last place where a row can be kept is the log.
fn tell_lost<P: Platform>(platform: &P, entry: &Entry) {
    tell(platform, Level::Error, "ledger_row_lost", entry);
}

fn tell<P: Platform>(platform: &P, level: Level, event: &str, entry: &Entry) {
    let record = std::str::from_utf8(&entry.record).unwrap_or("null");
    let line = format!(r#"{{"level":"{}","event":"{event}","row":{record}}}"#, level_name(level));
    platform.log(level, &line);
}

impl Gateway {
    /// Carries out work, and what earlier work left over. Failing writes are repeated for `patience_ms`; what is not written
    /// then is kept for the next time. Whether nothing is left.
    pub async fn carry_out<P: Platform>(&self, platform: &P, work: Vec<Deferred>, patience_ms: u64) -> bool {
        let mut rows = self.backlog.take();
        let mut news = Vec::new();
        for work in work {
            match work {
                Deferred::Row(row) => rows.push(row.file()),
                Deferred::News(tenant, told) => news.push((tenant, told)),
                // What is owed is known already.
                Deferred::Tokens => {}
            }
        }
        let until = platform.now_ms().saturating_add(patience_ms);
        let telling = async {
            for (tenant, told) in news {
                digest::tell(self, platform, tenant, *told).await;
            }
        };
        let (written, paid, ()) = join3(self.write(platform, rows, until), self.pay(platform, until), telling).await;
        written && paid
    }

    /// Pays the tokens that are owed.
    async fn pay<P: Platform>(&self, platform: &P, until: u64) -> bool {
        let mut tried = 0;
        while !limiter::settle(self, platform).await {
            let wait = pause(platform, tried);
            tried += 1;
            if platform.now_ms().saturating_add(wait) >= until {
                platform.log(Level::Warn, r#"{"level":"warn","event":"tokens_wait"}"#);
                return false;
            }
            platform.timer(wait).await;
        }
        true
    }

    /// Writes rows.
    async fn write<P: Platform>(&self, platform: &P, rows: Vec<Filed>, until: u64) -> bool {
        if rows.is_empty() {
            return true;
        }
        let mut held = Held { gateway: self, platform, rows };
        let now = platform.now_ms();
        held.rows.retain(|row| {
            let good = now.saturating_sub(row.entry.place.time_ms) < limits::LATEST_MS;
            if !good {
                tell_lost(platform, &row.entry);
            }
            good
        });
        held.rows.sort_by_key(|row| row.book);
        let mut tried = 0;
        while !held.write_once().await {
            let wait = pause(platform, tried);
            tried += 1;
            if platform.now_ms().saturating_add(wait) >= until {
                let line = format!(r#"{{"level":"warn","event":"ledger_waits","rows":{}}}"#, held.rows.len());
                platform.log(Level::Warn, &line);
                return false;
            }
            platform.timer(wait).await;
        }
        true
    }

    /// Writes the rows that wait into the log, each once: for a process that may be ended without a word before it can try
    /// again. Written to the ledger afterwards they are the same rows, so nothing is counted twice by who uses both.
    pub fn tell_backlog<P: Platform>(&self, platform: &P) {
        let mut rows = self.backlog.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows.iter_mut().filter(|row| !row.told) {
            row.told = true;
            tell(platform, Level::Warn, "ledger_row_waits", &row.entry);
        }
    }

    /// Whether work of earlier requests waits to be carried out.
    pub fn has_backlog(&self) -> bool {
        self.limiter.owes() || !self.backlog.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Gateway {
    /// Rolls up the usage of every tenant that the registry knows, and tells the log what failed. For a schedule. Whether
    /// all of it was done.
    pub async fn roll_up<P: Platform>(&self, platform: P) -> bool {
        let (mut failed, mut last) = (0_u32, None);
        match platform.store().names().await {
            Err(error) => (failed, last) = (1, Some(error)),
            Ok(names) => {
                let mut tenants: Vec<_> =
                    names.iter().filter_map(|(_, bytes)| Some(NameEntry::decode(bytes)?.tenant)).collect();
                tenants.sort_unstable();
                tenants.dedup();
                for tenant in tenants {
                    for number in 0..limits::BOOKS {
                        let now = platform.now_ms();
                        if let Err(error) = roll_up(platform.ledger(), Book { tenant, number }, now).await {
                            failed += 1;
                            last = Some(error);
                        }
                    }
                }
            }
        }
        if let Some(error) = last {
            let line = format!(r#"{{"level":"error","event":"roll_up","failed":{failed},"cause":"{error}"}}"#);
            platform.log(Level::Error, &line);
        }
        failed == 0
    }
}

impl<P: Platform> Held<'_, P> {
    /// Tries to write all rows, book by book; whether nothing is left to be tried again.
    async fn write_once(&mut self) -> bool {
        let mut failed = 0;
        while let Some(book) = self.rows.get(failed).map(|row| row.book) {
            let of_book = self.rows.iter().skip(failed).take_while(|row| row.book == book).count();
            let count = of_book.min(limits::LEDGER_WRITE_ROWS);
            let entries: Vec<Entry> = self.rows.iter().skip(failed).take(count).map(|row| row.entry.clone()).collect();
            match append(self.platform, book, &entries).await {
                Ok(()) => drop(self.rows.drain(failed..failed + count)),
                Err(error) if error.retryable() => failed += count,
                Err(_) => {
                    self.rows.drain(failed..failed + count);
                    entries.iter().for_each(|entry| tell_lost(self.platform, entry));
                }
            }
        }
        self.rows.is_empty()
    }
}

/// Writes rows. If one may belong to a minute that is rolled up already, or just now, the mark goes back before it: then its
/// sums are made anew.
async fn append<P: Platform>(platform: &P, book: Book, entries: &[Entry]) -> Result<(), PortError> {
    let ledger = platform.ledger();
    ledger.write(book, entries).await?;
    let oldest = entries.iter().map(|entry| entry.place.time_ms).min().unwrap_or(u64::MAX);
    if platform.now_ms().saturating_sub(oldest) < limits::LATE_MS {
        return Ok(());
    }
    loop {
        let mark = ledger.mark(book).await?;
        if ledger.move_mark(book, mark, roll::back(mark, oldest)).await? {
            return Ok(());
        }
    }
}

/// 50 ms, doubled up to 2 s, with as much again at random.
fn pause<P: Platform>(platform: &P, tried: u32) -> u64 {
    let base = (50_u64 << tried.min(6)).min(2_000);
    let mut random = [0_u8; 2];
    platform.fill_random(&mut random);
    base + base * u64::from(u16::from_le_bytes(random)) / 65_536
}
