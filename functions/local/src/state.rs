//! The state directory: the store's file and the deployment's keys, readable by their owner only.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// A directory that only its owner can enter.
#[derive(Clone, Debug)]
pub(crate) struct State {
    directory: PathBuf,
}

/// A key of the deployment, from a file of the state directory.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The key.
    pub(crate) value: String,
    /// Whether it was made just now.
    pub(crate) made: bool,
}

impl State {
    /// Opens the directory, creating it if needed, and closes it to others.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.join("store.redb")
    }

    /// The operator's key, made once.
    pub(crate) fn admin_key(&self) -> io::Result<Kept> {
        self.kept("admin-key", || URL_SAFE_NO_PAD.encode(random()))
    }

    /// The key that seals credentials, made once.
    pub(crate) fn sealing_key(&self) -> io::Result<Kept> {
        self.kept("sealing-key", || STANDARD.encode(random()))
    }

    /// The text in `name`, or what `make` gives.
    pub(crate) fn kept(&self, name: &str, make: impl FnOnce() -> String) -> io::Result<Kept> {
        match std::fs::read_to_string(self.directory.join(name)) {
            Ok(text) if !text.trim().is_empty() => return Ok(Kept { value: text.trim().to_owned(), made: false }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let value = make();
        self.keep(name, &value)?;
        Ok(Kept { value, made: true })
    }

    /// Writes `value` into `name` so that a crash leaves the old text or the new one.
    pub(crate) fn keep(&self, name: &str, value: &str) -> io::Result<()> {
        let draft = self.directory.join(format!("{name}.new"));
        let mut file = private_file(&draft)?;
        file.set_len(0)?;
        file.write_all(format!("{value}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, self.directory.join(name))?;
        File::open(&self.directory)?.sync_all()
    }
}

/// Opens a file for reading and writing that only its owner can read.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    gateway_native::fill_random(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_are_made_once_and_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let state = State::open(&path).unwrap();
        let first = state.admin_key().unwrap();
        assert!(first.made);
        assert_eq!(first.value.len(), 43);
        assert!(first.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
        let again = State::open(&path).unwrap().admin_key().unwrap();
        assert!(!again.made);
        assert_eq!(again.value, first.value);
        assert_ne!(state.sealing_key().unwrap().value, first.value);
        assert_eq!(STANDARD.decode(state.sealing_key().unwrap().value).unwrap().len(), 32);
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("admin-key")), 0o600);
        assert_eq!(mode(&path.join("sealing-key")), 0o600);
    }

    #[test]
    fn an_interrupted_first_start_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("admin-key.new"), "half of a long forgotten key of a crash").unwrap();
        std::fs::write(directory.path().join("admin-key"), "").unwrap();
        let state = State::open(directory.path()).unwrap();
        let kept = state.admin_key().unwrap();
        assert!(kept.made);
        assert_eq!(std::fs::read_to_string(directory.path().join("admin-key")).unwrap().trim(), kept.value);
    }

    #[test]
    fn the_store_file_is_private_even_if_it_was_not() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        std::fs::write(state.store(), "").unwrap();
        std::fs::set_permissions(state.store(), Permissions::from_mode(0o644)).unwrap();
        drop(crate::RedbStore::open_path(&state.store()).unwrap());
        assert_eq!(mode(&state.store()), 0o600);
    }
}
