//! Strict reading of JSON from anybody: what passes here means the same to us and to an upstream.
//!
//! [`object`] and [`check`] look at the whole document before anything is decided; [`rewrite`] and [`strip`]
//! change named members and copy the rest byte for byte. Values are parsed by `serde_json` alone and never
//! become a tree here.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memmem;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits;

/// Why a document was refused. Carries no text of the document or of the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonError {
    /// Nothing but white space.
    #[error("the JSON document is empty")]
    Empty,
    /// Not one valid JSON document in UTF-8, or a number or string in it that cannot be represented.
    #[error("the JSON document is not valid")]
    Invalid,
    /// An object has two members of one name.
    #[error("the JSON document has an object with a repeated member name")]
    Duplicate,
    /// Nested deeper than [`limits::JSON_DEPTH`].
    #[error("the JSON document is nested too deeply")]
    TooDeep,
    /// Valid JSON, but not an object.
    #[error("the JSON document is not an object")]
    NotAnObject,
}

/// The members of a checked top-level object, in their order.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The value of the member of this name, unescaped.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| *value)
    }

    /// All members in the order of the document.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// How many members there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// What [`rewrite`] does with a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Copies the value byte for byte.
    Keep,
    /// Leaves the member out.
    Drop,
    /// Puts this raw JSON in its place.
    Set(String),
}

/// Checks a whole document and gives its top-level members.
///
/// Refused are: text that is not UTF-8 or starts with a byte order mark, trailing data, nesting beyond
/// [`limits::JSON_DEPTH`], member names repeated in one object (compared unescaped, at every level), lone
/// surrogates, control characters in strings and numbers outside the range of a double.
pub(crate) fn object(bytes: &[u8]) -> Result<Object<'_>, JsonError> {
    let text = shallow_text(bytes)?;
    let mut checker = Checker::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let members = Outer(&mut checker)
        .deserialize(&mut json)
        .and_then(|members| json.end().map(|()| members))
        .map_err(|_| checker.reason())?;
    members.map(|members| Object { members }).ok_or(JsonError::NotAnObject)
}

/// Checks a whole document of any kind as [`object`] does.
#[cfg(test)]
pub(crate) fn check(bytes: &[u8]) -> Result<(), JsonError> {
    match object(bytes) {
        Ok(_) | Err(JsonError::NotAnObject) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a document, or nothing. The one way from bytes, so that every reader exists for text only.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str(text).ok())
}

/// Reads a document that must be an object: serde would read a struct from an array too.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    bytes.trim_ascii_start().starts_with(b"{").then(|| read(bytes)).flatten()
}

/// A number as JSON writes it, as the nearest double or one beside it. The standard library's own reader would bring
/// 13 KB of tables into the Worker.
pub(crate) fn number(text: &str) -> Option<f64> {
    serde_json::from_str::<f64>(text).ok()
}

/// Writes the object anew with some members edited and others appended (pairs of a name and raw JSON).
///
/// The caller drops a member that it appends, and gives valid JSON to [`Edit::Set`] and `append`.
pub(crate) fn rewrite(
    object: &Object<'_>,
    mut edit: impl FnMut(&str, &RawValue) -> Edit,
    append: &[(&str, &str)],
) -> Vec<u8> {
    let old: usize = object.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum();
    let new: usize = append.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut out = Vec::with_capacity(old + new + 2);
    out.push(b'{');
    for (name, value) in object.iter() {
        match edit(name, value) {
            Edit::Keep => member(&mut out, name, value.get()),
            Edit::Drop => {}
            Edit::Set(raw) => member(&mut out, name, &raw),
        }
    }
    for (name, raw) in append {
        member(&mut out, name, raw);
    }
    out.push(b'}');
    out
}

/// Removes every object member of one of these names, at any depth, and copies all else byte for byte.
///
/// `raw` must come from a checked [`Object`]. `None` if there is nothing to remove (or `raw` was not checked and
/// cannot be read).
pub(crate) fn strip(raw: &RawValue, names: &[&str]) -> Option<String> {
    let text = raw.get();
    if !may_contain(text, names) {
        return None;
    }
    let mut stripper = Stripper { text, names, cuts: Vec::new() };
    let walked = Strip(&mut stripper).deserialize(&mut serde_json::Deserializer::from_str(text));
    if walked.is_err() || stripper.cuts.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for cut in &stripper.cuts {
        out.push_str(text.get(copied..cut.start).unwrap_or_default());
        copied = cut.end;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Some(out)
}

fn member(out: &mut Vec<u8>, name: &str, raw: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    // A `Vec` takes every write, and a string is always JSON.
    let written = serde_json::to_writer(&mut *out, name);
    debug_assert!(written.is_ok());
    out.push(b':');
    out.extend_from_slice(raw.as_bytes());
}

/// The document as text, if it is not empty and nowhere too deep for a recursive reader.
fn shallow_text(bytes: &[u8]) -> Result<&str, JsonError> {
    if bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        return Err(JsonError::Empty);
    }
    within(bytes, limits::JSON_DEPTH)?;
    std::str::from_utf8(bytes).map_err(|_| JsonError::Invalid)
}

/// Refuses a document that is nested deeper than `limit`. Looks at brackets and strings only.
pub(crate) fn within(bytes: &[u8], limit: usize) -> Result<(), JsonError> {
    let mut depth = 0_usize;
    let mut rest = bytes;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return Err(JsonError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = after_string(rest).ok_or(JsonError::Invalid)?,
            _ => {}
        }
    }
    Ok(())
}

/// What follows the string whose opening quote was just read.
pub(crate) fn after_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest)?;
        let (found, tail) = rest.get(at..)?.split_first()?;
        if *found == b'"' {
            return Some(tail);
        }
        rest = tail.get(1..)?;
    }
}

/// Names of the objects that are being read, and whether one was met twice.
///
/// One list serves all levels, so that a document of many small objects allocates nothing for each.
#[derive(Default)]
struct Checker<'de> {
    names: Vec<Cow<'de, str>>,
    duplicate: bool,
}

impl<'de> Checker<'de> {
    fn reason(&self) -> JsonError {
        if self.duplicate { JsonError::Duplicate } else { JsonError::Invalid }
    }

    /// Ends the object whose names start at `start`.
    fn close<E: serde::de::Error>(&mut self, start: usize) -> Result<(), E> {
        let repeated = self.names.get_mut(start..).is_some_and(repeats);
        self.names.truncate(start);
        if repeated {
            self.duplicate = true;
            return Err(E::custom("repeated name"));
        }
        Ok(())
    }
}

/// Whether two of the names are equal. Sorts many instead of hashing them: no seed, no crafted collisions.
fn repeats(names: &mut [Cow<'_, str>]) -> bool {
    const FEW: usize = 16;
    if names.len() > FEW {
        names.sort_unstable();
        return names.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    }
    let mut rest = &*names;
    while let Some((name, tail)) = rest.split_first() {
        if tail.contains(name) {
            return true;
        }
        rest = tail;
    }
    false
}

/// What a visitor answers for every value that is neither an object nor an array.
macro_rules! scalars {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

/// Reads the outermost value. Its members or elements are found without recursion first and then checked each
/// by a reader of their own, because `serde_json` ends one level before [`limits::JSON_DEPTH`].
struct Outer<'c, 'de>(&'c mut Checker<'de>);

impl<'de> DeserializeSeed<'de> for Outer<'_, 'de> {
    type Value = Option<Vec<(Cow<'de, str>, &'de RawValue)>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Outer<'_, 'de> {
    type Value = Option<Vec<(Cow<'de, str>, &'de RawValue)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &RawValue = map.next_value()?;
            inner(self.0, value)?;
            members.push((name, value));
        }
        self.0.names = members.iter().map(|(name, _)| name.clone()).collect();
        self.0.close(0)?;
        Ok(Some(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while let Some(value) = seq.next_element::<&RawValue>()? {
            inner(self.0, value)?;
        }
        Ok(None)
    }

    scalars!(None);
}

fn inner<'de, E: serde::de::Error>(checker: &mut Checker<'de>, value: &'de RawValue) -> Result<(), E> {
    Inner(checker).deserialize(&mut serde_json::Deserializer::from_str(value.get())).map_err(E::custom)
}

/// Reads everything below the outermost value.
struct Inner<'c, 'de>(&'c mut Checker<'de>);

impl<'de> DeserializeSeed<'de> for Inner<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.0.names.len();
        while let Some(name) = map.next_key_seed(Name)? {
            self.0.names.push(name);
            map.next_value_seed(Inner(self.0))?;
        }
        self.0.close(start)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Inner(self.0))?.is_some() {}
        Ok(())
    }

    scalars!(());
}

/// Reads a member name, borrowed where it has no escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// A quick look: whether a name may occur, literally or behind an escape.
fn may_contain(text: &str, names: &[&str]) -> bool {
    // Names of several words are found by their underscore first: setting up a search costs more than one look.
    if names.iter().all(|name| name.contains('_')) && memchr::memchr2(b'_', b'\\', text.as_bytes()).is_none() {
        return false;
    }
    let found = |needle: &str| memmem::find(text.as_bytes(), needle.as_bytes()).is_some();
    let short_escape = |name: &str| name.chars().any(|c| c.is_ascii_control() || matches!(c, '"' | '\\' | '/'));
    names.iter().any(|name| found(name) || (short_escape(name) && found("\\"))) || found("\\u")
}

/// Finds the bytes to cut: members to remove, each with one comma. Cuts are in order and do not overlap.
struct Stripper<'a> {
    text: &'a str,
    names: &'a [&'a str],
    cuts: Vec<Range<usize>>,
}

impl Stripper<'_> {
    /// Where a value that was borrowed from the text begins and ends in it.
    fn span(&self, part: &RawValue) -> Range<usize> {
        let start = (part.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + part.get().len()
    }

    fn unwanted(&self, name: &RawValue) -> bool {
        let quoted = name.get();
        if quoted.contains('\\') {
            return serde_json::from_str::<String>(quoted).is_ok_and(|name| self.names.contains(&name.as_str()));
        }
        self.names.contains(&quoted.trim_matches('"'))
    }

    /// The place of the comma before a member that is not the first of its object.
    fn comma_before(&self, member: usize) -> usize {
        self.text.get(..member).and_then(|before| before.rfind(',')).unwrap_or(member)
    }
}

struct Strip<'s, 'a>(&'s mut Stripper<'a>);

impl<'de> DeserializeSeed<'de> for Strip<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strip<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let stripper = self.0;
        let mut kept_one = false;
        // The unwanted members right before the current one, from the first's name to the last's value.
        let mut unwanted: Option<Range<usize>> = None;
        while let Some(name) = map.next_key::<&RawValue>()? {
            let at = stripper.span(name).start;
            if stripper.unwanted(name) {
                let value: &RawValue = map.next_value()?;
                let end = stripper.span(value).end;
                unwanted.get_or_insert(at..end).end = end;
                continue;
            }
            if let Some(cut) = unwanted.take() {
                stripper.cuts.push(cut.start..at);
            }
            kept_one = true;
            map.next_value_seed(Strip(stripper))?;
        }
        if let Some(cut) = unwanted {
            let start = if kept_one { stripper.comma_before(cut.start) } else { cut.start };
            stripper.cuts.push(start..cut.end);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Strip(self.0))?.is_some() {}
        Ok(())
    }

    scalars!(());
}

#[cfg(test)]
mod tests;
