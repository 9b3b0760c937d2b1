//! The embedded store: one redb file, one process, every commit on disk before it is answered.
//!
//! Tables (all keys are text, all values bytes):
//! * `heads`: tenant id -> version (8 bytes, big endian) and the encoded head
//! * `keys`: tenant id `/` key hash in hex -> key record
//! * `secrets`: tenant id `/` secret id -> secret record
//! * `names`: canonical tenant name -> registry entry
//! * `usage`: tenant id `/` book `/` place -> when the entry ends (8 bytes, big endian) and its record
//! * `marks`: tenant id `/` book -> mark (8 bytes, big endian)
//! * `meta`: `format` -> [`FORMAT`]
//!
//! Tenant ids have one length, so no key of one tenant begins like another's.

mod file;
mod ledger;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use gateway_core::model::{KeyHash, TenantId};
use gateway_core::ports::{Fault, HeadRecord, HeadState, Loaded, PortError, Store, Swap};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use self::file::StoreFile;

type Table = TableDefinition<'static, &'static str, &'static [u8]>;

const HEADS: Table = Table::new("heads");
const KEYS: Table = Table::new("keys");
const SECRETS: Table = Table::new("secrets");
const NAMES: Table = Table::new("names");
const USAGE: Table = Table::new("usage");
const MARKS: Table = Table::new("marks");
const META: Table = Table::new("meta");

/// Version of the layout above; a file of another one is refused.
const FORMAT: &[u8] = b"1";

/// The store. Clones share the file.
#[derive(Clone, Debug)]
pub struct RedbStore {
    file: Arc<StoreFile>,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the file.
    #[error("another gateway is running with this state")]
    InUse,
    /// A later version of the gateway wrote it.
    #[error("the state was written by another version of the gateway")]
    Format,
    /// The file cannot be read or written.
    #[error("the store cannot be opened: {0}")]
    Failed(#[source] Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for OpenError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            other => Self::Failed(Box::new(other)),
        }
    }
}

impl RedbStore {
    /// Opens the store in `file`, which may be empty.
    pub fn open(file: File) -> Result<Self, OpenError> {
        Ok(Self { file: Arc::new(StoreFile::open(file)?) })
    }

    /// Opens the store in the file at `path`, which is created if needed.
    pub fn open_path(path: &Path) -> Result<Self, OpenError> {
        let file = crate::state::private_file(path).map_err(redb::Error::Io)?;
        Self::open(file)
    }

    /// Runs `work` in a snapshot, away from the threads that serve.
    async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    {
        let file = self.file.clone();
        blocking(operation, move || file.run(|database| work(&database.begin_read()?))).await
    }

    /// Runs `work` in the one write transaction there can be; it is on disk when this returns, or undone if `work`
    /// answers [`Change::None`].
    async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTransaction) -> Result<Change<T>, redb::Error> + Send + 'static,
    {
        let file = self.file.clone();
        let work = move || {
            file.run(|database| {
                let transaction = database.begin_write()?;
                match work(&transaction)? {
                    Change::Made(answer) => {
                        transaction.commit()?;
                        Ok(answer)
                    }
                    Change::None(answer) => {
                        transaction.abort()?;
                        Ok(answer)
                    }
                }
            })
        };
        blocking(operation, work).await
    }
}

/// Whether a write transaction has something to keep.
enum Change<T> {
    Made(T),
    None(T),
}

impl Store for RedbStore {
    async fn load(&self, tenant: TenantId, key: Option<KeyHash>, known: Option<u64>) -> Result<Loaded, PortError> {
        self.read("store.load", move |snapshot| {
            let id = tenant.to_string();
            let heads = snapshot.open_table(HEADS)?;
            let head = match heads.get(id.as_str())? {
                None => HeadState::Absent,
                Some(stored) => match version_of(stored.value()) {
                    Some(version) if Some(version) == known => HeadState::Unchanged,
                    _ => HeadState::Current(head_of(stored.value())?),
                },
            };
            let key = match key {
                Some(hash) => get(snapshot, KEYS, &under(&id, &hash.to_string()))?,
                None => None,
            };
            Ok(Loaded { head, key, stale: false })
        })
        .await
    }

    async fn swap(&self, tenant: TenantId, expected: Option<u64>, head: Option<HeadRecord>) -> Result<Swap, PortError> {
        self.write("store.swap", move |transaction| {
            let id = tenant.to_string();
            let mut heads = transaction.open_table(HEADS)?;
            let found = match heads.get(id.as_str())? {
                Some(stored) => Some(version_of(stored.value()).ok_or_else(corrupt)?),
                None => None,
            };
            if found != expected {
                return Ok(Change::None(Swap::Lost));
            }
            match head {
                Some(head) => drop(heads.insert(id.as_str(), encoded(&head).as_ref())?),
                None => drop(heads.remove(id.as_str())?),
            }
            Ok(Change::Made(Swap::Done))
        })
        .await
    }

    async fn put_key(&self, tenant: TenantId, key: KeyHash, record: Bytes) -> Result<(), PortError> {
        let at = under(&tenant.to_string(), &key.to_string());
        self.write("store.put_key", move |transaction| put(transaction, KEYS, &at, &record)).await
    }

    async fn delete_key(&self, tenant: TenantId, key: KeyHash) -> Result<bool, PortError> {
        let at = under(&tenant.to_string(), &key.to_string());
        self.write("store.delete_key", move |transaction| remove(transaction, KEYS, &at)).await
    }

    async fn keys(&self, tenant: TenantId) -> Result<Vec<(KeyHash, Bytes)>, PortError> {
        let entries = self.read("store.keys", move |snapshot| list(snapshot, KEYS, &tenant.to_string())).await?;
        let parsed = entries.into_iter().map(|(hash, record)| Some((KeyHash::from_hex(&hash)?, record)));
        parsed.collect::<Option<_>>().ok_or_else(|| PortError::new("store.keys", Fault::Corrupt, "key_hash"))
    }

    async fn put_secret(&self, tenant: TenantId, id: &str, record: Bytes) -> Result<(), PortError> {
        let at = under(&tenant.to_string(), id);
        self.write("store.put_secret", move |transaction| put(transaction, SECRETS, &at, &record)).await
    }

    async fn secret(&self, tenant: TenantId, id: &str) -> Result<Option<Bytes>, PortError> {
        let at = under(&tenant.to_string(), id);
        self.read("store.secret", move |snapshot| get(snapshot, SECRETS, &at)).await
    }

    async fn delete_secret(&self, tenant: TenantId, id: &str) -> Result<(), PortError> {
        let at = under(&tenant.to_string(), id);
        self.write("store.delete_secret", move |transaction| remove(transaction, SECRETS, &at)).await.map(drop)
    }

    async fn secrets(&self, tenant: TenantId) -> Result<Vec<(String, Bytes)>, PortError> {
        self.read("store.secrets", move |snapshot| list(snapshot, SECRETS, &tenant.to_string())).await
    }

    async fn name(&self, name: &str) -> Result<Option<Bytes>, PortError> {
        let name = name.to_owned();
        self.read("store.name", move |snapshot| get(snapshot, NAMES, &name)).await
    }

    async fn swap_name(&self, name: &str, expected: Option<Bytes>, entry: Option<Bytes>) -> Result<bool, PortError> {
        let name = name.to_owned();
        self.write("store.swap_name", move |transaction| {
            let mut names = transaction.open_table(NAMES)?;
            let same = match (names.get(name.as_str())?, &expected) {
                (Some(stored), Some(expected)) => stored.value() == expected.as_ref(),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                return Ok(Change::None(false));
            }
            match entry {
                Some(entry) => drop(names.insert(name.as_str(), entry.as_ref())?),
                None => drop(names.remove(name.as_str())?),
            }
            Ok(Change::Made(true))
        })
        .await
    }

    async fn names(&self) -> Result<Vec<(String, Bytes)>, PortError> {
        self.read("store.names", move |snapshot| {
            let names = snapshot.open_table(NAMES)?;
            names.iter()?.map(|entry| entry.map(owned).map_err(redb::Error::from)).collect()
        })
        .await
    }

    async fn ping(&self) -> Result<(), PortError> {
        self.read("store.ping", |snapshot| get(snapshot, META, "format")).await.map(drop)
    }
}

/// Disk access waits, so it happens on the threads made for waiting.
async fn blocking<T, F>(operation: &'static str, work: F) -> Result<T, PortError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, redb::Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| failed(operation, &error)),
        Err(_) => Err(PortError::new(operation, Fault::Unavailable, "task")),
    }
}

fn failed(operation: &'static str, error: &redb::Error) -> PortError {
    let (fault, code) = match error {
        redb::Error::Corrupted(_) => (Fault::Corrupt, "corrupted"),
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => (Fault::Unavailable, "disk_full"),
        redb::Error::Io(_) | redb::Error::PreviousIo => (Fault::Unavailable, "io"),
        _ => (Fault::Unavailable, "redb"),
    };
    PortError::new(operation, fault, code)
}

fn get(snapshot: &ReadTransaction, table: Table, at: &str) -> Result<Option<Bytes>, redb::Error> {
    let table = snapshot.open_table(table)?;
    Ok(table.get(at)?.map(|stored| Bytes::copy_from_slice(stored.value())))
}

fn put(transaction: &WriteTransaction, table: Table, at: &str, record: &[u8]) -> Result<Change<()>, redb::Error> {
    transaction.open_table(table)?.insert(at, record)?;
    Ok(Change::Made(()))
}

fn remove(transaction: &WriteTransaction, table: Table, at: &str) -> Result<Change<bool>, redb::Error> {
    let there = transaction.open_table(table)?.remove(at)?.is_some();
    Ok(if there { Change::Made(true) } else { Change::None(false) })
}

/// All entries under a tenant, without its prefix.
fn list(snapshot: &ReadTransaction, table: Table, tenant: &str) -> Result<Vec<(String, Bytes)>, redb::Error> {
    let table = snapshot.open_table(table)?;
    let (from, to) = (under(tenant, ""), format!("{tenant}0"));
    let entries = table.range(from.as_str()..to.as_str())?;
    entries
        .map(|entry| {
            let (at, record) = entry.map(owned)?;
            Ok((at.get(from.len()..).unwrap_or_default().to_owned(), record))
        })
        .collect()
}

fn owned((at, value): (redb::AccessGuard<'_, &'static str>, redb::AccessGuard<'_, &'static [u8]>)) -> (String, Bytes) {
    (at.value().to_owned(), Bytes::copy_from_slice(value.value()))
}

/// `0` is the character after `/`, so a tenant's entries are those from `id/` up to `id0`.
fn under(tenant: &str, id: &str) -> String {
    format!("{tenant}/{id}")
}

fn encoded(head: &HeadRecord) -> Bytes {
    let mut stored = BytesMut::with_capacity(8 + head.bytes.len());
    stored.put_u64(head.version);
    stored.put_slice(&head.bytes);
    stored.freeze()
}

fn version_of(stored: &[u8]) -> Option<u64> {
    stored.first_chunk().map(|version| u64::from_be_bytes(*version))
}

fn head_of(stored: &[u8]) -> Result<HeadRecord, redb::Error> {
    let (version, bytes) = stored.split_first_chunk().ok_or_else(corrupt)?;
    Ok(HeadRecord { version: u64::from_be_bytes(*version), bytes: Bytes::copy_from_slice(bytes) })
}

fn corrupt() -> redb::Error {
    redb::Error::Corrupted("head without version".to_owned())
}
