//! Work that no client waits for. It is handed to the platform as data and carried out when the answer has been given, or
//! before its last byte where a process may stand still afterwards.

mod backlog;

use futures_util::future::join3;

use self::backlog::{Batch, Standing};
use crate::account::limiter;
use crate::account::{Row, roll, roll_up};
use crate::digest;
use crate::gateway::Gateway;
use crate::limits;
use crate::line::level_name;
use crate::model::TenantId;
use crate::ports::{Book, Entry, Ledger, Level, Platform, PortError, Store};
use crate::registry::NameEntry;
use crate::route::News;

pub(crate) use self::backlog::Backlog;

/// One piece of such work.
pub enum Deferred {
    /// The ledger's row of an attempt.
    Row(Box<Row>),
    /// What other isolates should know of a tenant's targets.
    News(TenantId, Box<News>),
    /// Tokens are owed to the buckets of rate limits.
    Tokens,
}

/// Rows on their way. If the future that writes them is dropped, the next one may write them at once.
struct Held<'a, P: Platform> {
    gateway: &'a Gateway,
    platform: &'a P,
    batches: Vec<Batch>,
}

impl<P: Platform> Drop for Held<'_, P> {
    fn drop(&mut self) {
        self.gateway.backlog.release(&self.batches);
    }
}

/// Work, sorted by where it goes.
struct Sorted {
    /// Numbers of the rows, which are in the backlog.
    rows: Vec<u64>,
    news: Vec<(TenantId, Box<News>)>,
    until_ms: u64,
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
        let sorted = self.sort(platform, work, patience_ms);
        let write = self.write(platform, sorted.until_ms);
        self.join(platform, sorted.news, sorted.until_ms, write).await
    }

    /// The same where each request does its own work and many end at once: one write takes the rows of all that ended in
    /// [`limits::GATHER_MS`]. Nobody depends on another: whose rows are not written in time writes them, and what waits with
    /// them.
    pub async fn carry_out_gathered<P: Platform>(&self, platform: &P, work: Vec<Deferred>, patience_ms: u64) -> bool {
        let sorted = self.sort(platform, work, patience_ms);
        let write = self.gather(platform, &sorted.rows, sorted.until_ms);
        self.join(platform, sorted.news, sorted.until_ms, write).await
    }

    fn sort<P: Platform>(&self, platform: &P, work: Vec<Deferred>, patience_ms: u64) -> Sorted {
        let mut rows = Vec::new();
        let mut news = Vec::new();
        for work in work {
            match work {
                Deferred::Row(row) => rows.push(row.file(self.backlog.book(&row))),
                Deferred::News(tenant, told) => news.push((tenant, told)),
                // What is owed is known already.
                Deferred::Tokens => {}
            }
        }
        let (rows, lost) = self.backlog.put(rows);
        lost.iter().for_each(|filed| tell_lost(platform, &filed.entry));
        Sorted { rows, news, until_ms: platform.now_ms().saturating_add(patience_ms) }
    }

    async fn join<P: Platform>(
        &self,
        platform: &P,
        news: Vec<(TenantId, Box<News>)>,
        until: u64,
        write: impl Future<Output = bool>,
    ) -> bool {
        let telling = async {
            for (tenant, told) in news {
                digest::tell(self, platform, tenant, *told).await;
            }
        };
        let (written, paid, ()) = join3(write, self.pay(platform, until), telling).await;
        written && paid
    }

    /// Waits for others that may write these rows, and writes them when nobody did.
    async fn gather<P: Platform>(&self, platform: &P, mine: &[u64], until: u64) -> bool {
        if mine.is_empty() {
            return true;
        }
        let mut wait = limits::GATHER_MS;
        loop {
            platform.timer(wait).await;
            let now = platform.now_ms();
            match self.backlog.standing(mine, now) {
                Standing::Written => return true,
                Standing::Free => return self.write(platform, until).await,
                Standing::Taken if now >= until => return false,
                Standing::Taken => wait = (wait * 2).min(limits::ROWS_TAKEN_MS).min(until - now),
            }
        }
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

    /// Writes the rows that nobody else writes.
    async fn write<P: Platform>(&self, platform: &P, until: u64) -> bool {
        let now = platform.now_ms();
        let mut held = Held { gateway: self, platform, batches: self.backlog.take(now) };
        if held.batches.is_empty() {
            return true;
        }
        held.give_up_late(now);
        let mut tried = 0;
        while !held.write_once().await {
            let wait = pause(platform, tried);
            tried += 1;
            let now = platform.now_ms();
            if now.saturating_add(wait) >= until {
                let rows: usize = held.batches.iter().map(|batch| batch.entries.len()).sum();
                let line = format!(r#"{{"level":"warn","event":"ledger_waits","rows":{rows}}}"#);
                platform.log(Level::Warn, &line);
                return false;
            }
            self.backlog.keep(&held.batches, now);
            platform.timer(wait).await;
        }
        true
    }

    /// Writes the rows that wait into the log, each once: for a process that may be ended without a word before it can try
    /// again. Written to the ledger afterwards they are the same rows, so nothing is counted twice by who uses both.
    pub fn tell_backlog<P: Platform>(&self, platform: &P) {
        self.backlog.tell(|entry| tell(platform, Level::Warn, "ledger_row_waits", entry));
    }

    /// Whether work of earlier requests waits to be carried out.
    pub fn has_backlog(&self) -> bool {
        self.limiter.owes() || !self.backlog.is_empty()
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
    /// Tells the log the rows that are too late for any sum, and gives them up.
    fn give_up_late(&mut self, now: u64) {
        let late = |entry: &Entry| now.saturating_sub(entry.place.time_ms) >= limits::LATEST_MS;
        for batch in self.batches.iter_mut().filter(|batch| batch.entries.iter().any(late)) {
            let (lost, good): (Vec<_>, Vec<_>) =
                batch.numbers.drain(..).zip(batch.entries.drain(..)).partition(|(_, entry)| late(entry));
            for (number, entry) in lost {
                tell_lost(self.platform, &entry);
                self.gateway.backlog.remove(&[number]);
            }
            (batch.numbers, batch.entries) = good.into_iter().unzip();
        }
        self.batches.retain(|batch| !batch.entries.is_empty());
    }

    /// Tries to write all rows, book by book; whether nothing is left to be tried again.
    async fn write_once(&mut self) -> bool {
        let mut failed = 0;
        while let Some(batch) = self.batches.get(failed) {
            match append(self.platform, batch.book, &batch.entries).await {
                Ok(()) => {}
                Err(error) if error.retryable() => {
                    failed += 1;
                    continue;
                }
                Err(_) => batch.entries.iter().for_each(|entry| tell_lost(self.platform, entry)),
            }
            self.gateway.backlog.remove(&batch.numbers);
            self.batches.remove(failed);
        }
        self.batches.is_empty()
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
