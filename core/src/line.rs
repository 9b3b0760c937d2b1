//! Log lines: flat JSON objects, written member by member.

use std::io::Write as _;

use crate::model::TenantId;
use crate::ports::Level;

/// A value of the log line.
pub(crate) enum Member<'a> {
    Absent,
    Text(&'a str),
    Tenant(&'a TenantId),
    Number(u64),
    Flag(bool),
}

impl<'a> From<&'a str> for Member<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Member<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Member<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Member<'_> {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl<'a> From<&'a TenantId> for Member<'a> {
    fn from(tenant: &'a TenantId) -> Self {
        Self::Tenant(tenant)
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Member<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

/// A flat JSON object, written straight into one buffer: this runs for every request.
pub(crate) struct JsonLine(Vec<u8>);

impl JsonLine {
    /// An empty line.
    pub(crate) fn new() -> Self {
        let mut out = Vec::with_capacity(640);
        out.push(b'{');
        Self(out)
    }

    /// Appends a member. Names are ours and need no escapes; a write into a `Vec` cannot fail.
    pub(crate) fn put(&mut self, name: &str, value: &Member<'_>) {
        if matches!(value, Member::Absent) {
            return;
        }
        let out = &mut self.0;
        if out.len() > 1 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        let _ = match value {
            Member::Absent => Ok(()),
            Member::Text(text) => serde_json::to_writer(&mut *out, text).map_err(std::io::Error::from),
            Member::Tenant(tenant) => write!(out, "\"{tenant}\""),
            Member::Number(number) => write!(out, "{number}"),
            Member::Flag(flag) => write!(out, "{flag}"),
        };
    }

    /// The line's text.
    pub(crate) fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).unwrap_or_default()
    }
}

/// A level's word.
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}
