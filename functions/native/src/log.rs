//! Writes finished log lines. Filters by level; never fails and never panics, whatever happens to the other end.

use std::io::Write;

use gateway_core::ports::Level;

/// The log of a process: lines go to standard error.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    most: Option<Level>,
}

impl Log {
    /// Takes the value of `RUST_LOG`.
    pub fn new(level: Option<&str>) -> Self {
        Self { most: Level::most(level) }
    }

    /// A log that takes nothing.
    pub fn off() -> Self {
        Self { most: None }
    }

    /// Whether a line of `level` would be written.
    pub fn takes(&self, level: Level) -> bool {
        self.most.is_some_and(|most| level <= most)
    }

    /// Writes `line` in one call, so that lines of several threads do not mix.
    pub fn write(&self, level: Level, line: &str) {
        if self.takes(level) {
            let mut bytes = Vec::with_capacity(line.len() + 1);
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
            // A closed pipe is no reason to fail a request.
            let _ = std::io::stderr().lock().write_all(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_decides_what_is_written() {
        for (name, error, warn, info, debug) in [
            (None, true, true, true, false),
            (Some("off"), false, false, false, false),
            (Some("error"), true, false, false, false),
            (Some("WARN"), true, true, false, false),
            (Some("info"), true, true, true, false),
            (Some("debug"), true, true, true, true),
            (Some("my_crate=trace"), true, true, true, false),
        ] {
            let log = Log::new(name);
            let taken = [Level::Error, Level::Warn, Level::Info, Level::Debug].map(|level| log.takes(level));
            assert_eq!(taken, [error, warn, info, debug], "{name:?}");
        }
    }
}
