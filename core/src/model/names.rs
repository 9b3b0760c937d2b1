//! Names that people choose, with the rules of each kind.

use std::fmt;

use crate::limits;

/// Why a name is refused; says what to change and never repeats the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters.
    #[error("must not be empty")]
    Empty,
    /// Too many characters for a name.
    #[error("must have at most 128 characters")]
    LongName,
    /// Too many characters for an alias.
    #[error("must have at most 200 characters")]
    LongAlias,
    /// Too many bytes for a model id.
    #[error("must have at most 2048 bytes")]
    LongModelId,
    /// A space at either end.
    #[error("must not begin or end with a space")]
    OuterSpace,
    /// Something else than printable ASCII in a name.
    #[error("must consist of printable ASCII characters")]
    NotAscii,
    /// A slash or backslash in a tenant's name.
    #[error("must not contain a slash or a backslash")]
    Slash,
    /// A control, format or separator character.
    #[error("must not contain control, format or line separator characters")]
    Control,
}

/// A tenant's name: 1 to 128 printable ASCII characters without slashes; compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantName(String);

impl TenantName {
    /// As it is stored: it was judged when it was given.
    pub(super) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Checks the rules.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        ascii_name(text)?;
        if text.contains(['/', '\\']) {
            return Err(NameError::Slash);
        }
        Ok(Self(text.to_owned()))
    }

    /// The form in which names are compared and registered.
    pub fn canonical(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// As given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A provider's or key's name: 1 to 128 printable ASCII characters; providers' are compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName(String);

impl ObjectName {
    /// As it is stored: it was judged when it was given.
    pub(super) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Checks the rules.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        ascii_name(text)?;
        Ok(Self(text.to_owned()))
    }

    /// As given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both stand for the same object.
    pub fn same(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// What a client calls a model; may be shared by several models. Bytes are compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Alias(String);

impl Alias {
    /// As it is stored: it was judged when it was given.
    pub(super) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Checks the rules: 1 to 200 characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        free_text(text)?;
        if text.chars().count() > limits::ALIAS_CHARS {
            return Err(NameError::LongAlias);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A provider's own identifier of a model (a deployment's name, an ARN). Bytes are compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId(String);

impl ModelId {
    /// As it is stored: it was judged when it was given.
    pub(super) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Checks the rules: 1 to 2,048 bytes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        free_text(text)?;
        if text.len() > limits::MODEL_ID_BYTES {
            return Err(NameError::LongModelId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn ascii_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err(NameError::NotAscii);
    }
    if text.len() > limits::NAME_CHARS {
        return Err(NameError::LongName);
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(NameError::OuterSpace);
    }
    Ok(())
}

fn free_text(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.trim() != text {
        return Err(NameError::OuterSpace);
    }
    if text.chars().any(unfit) {
        return Err(NameError::Control);
    }
    Ok(())
}

/// Unicode categories Cc, Cf, Zl and Zp (Unicode 16, DerivedGeneralCategory.txt).
fn unfit(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_their_limits() {
        for (text, want) in [
            ("a", Ok(())),
            ("my-openai-provider (1) [x] ~", Ok(())),
            (&"n".repeat(128), Ok(())),
            (&"n".repeat(129), Err(NameError::LongName)),
            ("", Err(NameError::Empty)),
            (" a", Err(NameError::OuterSpace)),
            ("a ", Err(NameError::OuterSpace)),
            ("a\u{200b}", Err(NameError::NotAscii)),
            ("\u{ff54}est", Err(NameError::NotAscii)),
            ("a\tb", Err(NameError::NotAscii)),
            ("a\r\nb", Err(NameError::NotAscii)),
            ("a\u{7f}", Err(NameError::NotAscii)),
        ] {
            assert_eq!(ObjectName::parse(text).map(|_| ()), want, "{text:?}");
        }
        assert_eq!(TenantName::parse("a/b"), Err(NameError::Slash));
        assert_eq!(TenantName::parse("a\\b"), Err(NameError::Slash));
        assert_eq!(TenantName::parse("Team A").map(|n| n.canonical()), Ok("team a".to_owned()));
        assert!(ObjectName::parse("a/b").is_ok());
    }

    #[test]
    fn aliases_and_model_ids_at_their_limits() {
        for (text, want) in [
            ("azure/gpt-4o", Ok(())),
            ("modèle ü 模型", Ok(())),
            (&"ü".repeat(200), Ok(())),
            (&"ü".repeat(201), Err(NameError::LongAlias)),
            ("", Err(NameError::Empty)),
            ("a ", Err(NameError::OuterSpace)),
            ("\u{a0}a", Err(NameError::OuterSpace)),
            ("a\u{202e}b", Err(NameError::Control)),
            ("a\u{2028}b", Err(NameError::Control)),
            ("a\u{0}b", Err(NameError::Control)),
            ("a\u{ad}b", Err(NameError::Control)),
        ] {
            assert_eq!(Alias::parse(text).map(|_| ()), want, "{text:?}");
        }
        assert!(ModelId::parse(&"m".repeat(2048)).is_ok());
        assert_eq!(ModelId::parse(&"m".repeat(2049)), Err(NameError::LongModelId));
    }
}
