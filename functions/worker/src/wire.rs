//! How a request's isolate and a Durable Object talk: a list of fields, each absent or some bytes.
//! The published copy in KV has the same form.

use bytes::{BufMut, Bytes, BytesMut};

/// What is asked of an object; the first field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verb {
    /// `key?, known?` -> `state, version?, head?, key record?`
    Load = 1,
    /// `tenant, expected?, version?, head?, again` -> `done`
    Swap,
    /// `tenant, hash, record` -> nothing
    PutKey,
    /// `tenant, hash` -> `existed`
    DeleteKey,
    /// -> `(hash, record)*`
    Keys,
    /// `tenant, id, record` -> nothing
    PutSecret,
    /// `id` -> `record?`
    Secret,
    /// `tenant, id` -> nothing
    DeleteSecret,
    /// -> `(id, record)*`
    Secrets,
    /// `name` -> `entry?`
    Name,
    /// `name, expected?, entry?, again` -> `done`
    SwapName,
    /// -> `(name, entry)*`
    Names,
    /// -> nothing
    Ping,
    /// `(place, ends, record)*` -> nothing
    WriteUsage,
    /// `after, to, most` -> `(place, record)*`
    ScanUsage,
    /// -> `mark?`
    Mark,
    /// `expected?, mark, again` -> `done`
    MoveMark,
    /// `question` -> `answer?`
    AskBuckets,
    /// -> `record?`
    Digest,
    /// `expected?, record, ends` -> `done`
    SwapDigest,
}

impl Verb {
    const ALL: [Self; 20] = [
        Self::Load,
        Self::Swap,
        Self::PutKey,
        Self::DeleteKey,
        Self::Keys,
        Self::PutSecret,
        Self::Secret,
        Self::DeleteSecret,
        Self::Secrets,
        Self::Name,
        Self::SwapName,
        Self::Names,
        Self::Ping,
        Self::WriteUsage,
        Self::ScanUsage,
        Self::Mark,
        Self::MoveMark,
        Self::AskBuckets,
        Self::Digest,
        Self::SwapDigest,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| *verb as u8 == byte)
    }
}

/// The fields of a message or an answer, read in order.
#[derive(Debug)]
pub(crate) struct Fields(Bytes);

impl Fields {
    /// Over received bytes.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The next field: `Some(None)` if it is absent, `None` if there is none or the bytes make no sense.
    pub(crate) fn next(&mut self) -> Option<Option<Bytes>> {
        let (length, _) = self.0.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == ABSENT {
            let _ = self.0.split_to(4);
            return Some(None);
        }
        let length = usize::try_from(length).ok()?;
        if self.0.len() - 4 < length {
            return None;
        }
        let _ = self.0.split_to(4);
        Some(Some(self.0.split_to(length)))
    }

    /// The next field, which must be there.
    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        self.next()?
    }

    /// The next field as text.
    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.into()).ok()
    }

    /// The next field as a number, `Some(None)` if it is absent.
    pub(crate) fn number(&mut self) -> Option<Option<u64>> {
        match self.next()? {
            None => Some(None),
            Some(bytes) => Some(Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))),
        }
    }

    /// The next field as a yes or no.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        Some(self.bytes()?.as_ref() == [1])
    }

    /// The first field of a message.
    pub(crate) fn verb(&mut self) -> Option<Verb> {
        Verb::from_byte(*self.bytes()?.first()?)
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, as pairs.
    pub(crate) fn pairs(&mut self) -> Option<Vec<(Bytes, Bytes)>> {
        let mut pairs = Vec::new();
        while !self.0.is_empty() {
            pairs.push((self.bytes()?, self.bytes()?));
        }
        Some(pairs)
    }
}

/// A message or an answer that is being written.
#[derive(Default)]
pub(crate) struct Message(BytesMut);

impl Message {
    /// One that asks for `verb`.
    pub(crate) fn new(verb: Verb) -> Self {
        Self::default().bytes(Some(&[verb as u8]))
    }

    /// Adds a field.
    pub(crate) fn bytes(mut self, field: Option<&[u8]>) -> Self {
        match field.map(|bytes| (u32::try_from(bytes.len()), bytes)) {
            Some((Ok(length), bytes)) if length != ABSENT => {
                self.0.put_u32_le(length);
                self.0.put_slice(bytes);
            }
            // Nothing of 4 GiB gets here: every record is bounded in core.
            Some(_) | None => self.0.put_u32_le(ABSENT),
        }
        self
    }

    /// Adds a number.
    pub(crate) fn number(self, field: Option<u64>) -> Self {
        self.bytes(field.map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice))
    }

    /// Adds a yes or no.
    pub(crate) fn flag(self, field: bool) -> Self {
        self.bytes(Some(&[u8::from(field)]))
    }

    /// The finished bytes.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0.freeze()
    }
}

const ABSENT: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were_written() {
        let bytes = Message::new(Verb::Swap)
            .bytes(Some(b"tenant"))
            .bytes(Some(b""))
            .bytes(None)
            .number(Some(u64::MAX))
            .number(None)
            .flag(true)
            .into_bytes();
        let mut fields = Fields::new(bytes);
        assert_eq!(fields.verb(), Some(Verb::Swap));
        assert_eq!(fields.text().as_deref(), Some("tenant"));
        assert_eq!(fields.next(), Some(Some(Bytes::new())));
        assert_eq!(fields.next(), Some(None));
        assert_eq!(fields.number(), Some(Some(u64::MAX)));
        assert_eq!(fields.number(), Some(None));
        assert_eq!(fields.flag(), Some(true));
        assert_eq!(fields.next(), None);
    }

    #[test]
    fn cut_bytes_are_refused() {
        let whole = Message::default().bytes(Some(b"abc")).into_bytes();
        for end in 0..whole.len() {
            assert_eq!(Fields::new(whole.slice(..end)).next(), None, "{end}");
        }
    }

    #[test]
    fn every_verb_has_its_own_number() {
        for verb in Verb::ALL {
            assert_eq!(Verb::from_byte(verb as u8), Some(verb));
        }
        assert_eq!(Verb::from_byte(0), None);
        assert_eq!(Verb::from_byte(Verb::ALL.len() as u8 + 1), None);
    }
}
