//! The store's file: opened once, and again after the disk failed.
//!
//! redb refuses all further work once a write has failed, since it cannot know what is on the disk; opened anew it goes
//! on from the last commit. So a disk that was full for a while costs what was written meanwhile, and no restart.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{Database, ReadableTable};

use super::{FORMAT, HEADS, KEYS, MARKS, META, NAMES, OpenError, SECRETS, USAGE};

/// Heads are cached by core, and the rest is read rarely: more would only take memory.
const CACHE_BYTES: usize = 4 << 20;

/// How often a file that failed is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// An open file, or one that failed.
#[derive(Debug)]
pub(super) struct StoreFile {
    file: File,
    /// A call failed, so the database takes no more.
    failed: AtomicBool,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    /// `None` while it cannot be opened.
    database: Option<Database>,
    /// When it was opened, or that was tried.
    tried: Instant,
}

impl StoreFile {
    /// Opens the store in `file`, which may be empty.
    pub(super) fn open(file: File) -> Result<Self, OpenError> {
        let database = opened(file.try_clone().map_err(redb::Error::Io)?)?;
        let state = State { database: Some(database), tried: Instant::now() };
        Ok(Self { file, failed: AtomicBool::new(false), state: RwLock::new(state) })
    }

    /// Runs `work`, which waits for the disk.
    pub(super) fn run<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        if self.failed.load(Ordering::Acquire) {
            self.reopen()?;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let answer = work(state.database.as_ref().ok_or(redb::Error::PreviousIo)?);
        if matches!(answer, Err(redb::Error::Io(_) | redb::Error::PreviousIo)) {
            self.failed.store(true, Ordering::Release);
        }
        answer
    }

    fn reopen(&self) -> Result<(), redb::Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        if state.tried.elapsed() < AGAIN {
            return Err(redb::Error::PreviousIo);
        }
        state.tried = Instant::now();
        // Closed first: the file is locked by whoever has it open.
        state.database = None;
        match opened(self.file.try_clone().map_err(redb::Error::Io)?) {
            Ok(database) => {
                state.database = Some(database);
                self.failed.store(false, Ordering::Release);
                Ok(())
            }
            Err(OpenError::Failed(error)) => Err(*error),
            Err(OpenError::InUse | OpenError::Format) => Err(redb::Error::DatabaseAlreadyOpen),
        }
    }
}

fn opened(file: File) -> Result<Database, OpenError> {
    let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get("format")?.map(|value| value.value().to_vec());
        match found.as_deref() {
            Some(FORMAT) => {}
            Some(_) => return Err(OpenError::Format),
            None => drop(meta.insert("format", FORMAT)?),
        }
        for table in [HEADS, KEYS, SECRETS, NAMES, USAGE, MARKS] {
            transaction.open_table(table)?;
        }
    }
    transaction.commit()?;
    Ok(database)
}
