//! Where the gateway may send to: addresses from configuration are judged here, once written and once parsed.
//!
//! A [`BaseUrl`] exists only by [`judge`]. Nothing here resolves names; the native connector judges the addresses
//! that a name resolves to with [`super::address::reachable`].

use std::borrow::Cow;
use std::fmt;

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Serialize, Serializer};
use url::{Host, Url};

use crate::limits;

/// Origins that the operator opened although they are plain HTTP or not public. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    origins: Vec<Origin>,
}

impl AllowedOrigins {
    /// Reads origins (`scheme://host[:port]`, nothing behind) separated by white space.
    ///
    /// The error names the position of the first entry that is none, counted from one, and never its text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let origin = |(index, entry): (usize, &str)| {
            Origin::parse(entry)
                .ok_or_else(|| format!("entry {} is not an exact origin such as http://127.0.0.1:8080", index + 1))
        };
        let origins = text.split_ascii_whitespace().enumerate().map(origin).collect::<Result<_, _>>()?;
        Ok(Self { origins })
    }

    /// Just the origin of one address that the operator wrote; nothing if it is no address.
    pub(crate) fn of(address: &str) -> Self {
        Self { origins: Url::parse(address).ok().as_ref().and_then(Origin::of).into_iter().collect() }
    }

    /// Whether scheme, host and port of the URL are those of an entry. Compared as parsed, never by prefix.
    pub fn allows(&self, url: &Url) -> bool {
        Origin::of(url).is_some_and(|origin| self.origins.contains(&origin))
    }
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    https: bool,
    host: Host<String>,
    port: u16,
}

impl Origin {
    fn of(url: &Url) -> Option<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self { https, host: url.host()?.to_owned(), port: url.port_or_known_default()? })
    }

    fn parse(entry: &str) -> Option<Self> {
        let bare = entry.strip_suffix('/').unwrap_or(entry);
        let parts = Parts::read(bare).ok()?;
        let url = Url::parse(bare).ok()?;
        (parts.path.is_empty() && url.path() == "/").then(|| Self::of(&url)).flatten()
    }
}

/// The address of an upstream: scheme, host, port and perhaps a path, normalised, without a final slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    private_allowed: bool,
}

impl BaseUrl {
    /// The normalised text, without a final slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the operator opened this very origin, so that the connector may reach private addresses for it.
    pub fn private_allowed(&self) -> bool {
        self.private_allowed
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for BaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Why an address or a path segment was refused. The texts are constant: they say what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Beyond [`limits::URL_BYTES`].
    #[error("the URL is too long; at most 2048 bytes are taken")]
    TooLong,
    /// White space, control characters, backslashes or characters outside ASCII.
    #[error("the URL must be printable ASCII without spaces and backslashes")]
    Characters,
    /// Not `scheme://host[:port][/path]`.
    #[error("the URL must have the form https://host[:port][/path]")]
    Malformed,
    /// Another scheme, or plain HTTP that the operator did not open.
    #[error("the URL must start with https://; plain http needs the origin in EGRESS_ALLOW_ORIGINS of the gateway")]
    Scheme,
    /// A user name or password.
    #[error("the URL must not carry a user name or password; put credentials in their own fields")]
    UserInfo,
    /// A query.
    #[error("the URL must not have a query")]
    Query,
    /// A fragment.
    #[error("the URL must not have a fragment")]
    Fragment,
    /// Port 0 or no number.
    #[error("the port of the URL must be a number from 1 to 65535")]
    Port,
    /// `.` or `..` as a path segment, also percent-encoded.
    #[error("the path must not have the segments . or ..")]
    DotSegment,
    /// An empty segment, an encoded slash or backslash, or a broken percent-encoding.
    #[error("the path must not have empty segments, encoded slashes or broken percent-encodings")]
    Path,
    /// Percent-encoding, a final dot, or labels that DNS does not know.
    #[error("the host must be a plain DNS name in ASCII, without a final dot and percent-encoding")]
    Host,
    /// An IP address.
    #[error("the host must be a name, not an IP address; exceptions go in EGRESS_ALLOW_ORIGINS of the gateway")]
    Address,
    /// A name that is not public.
    #[error("the host must be a public name; exceptions go in EGRESS_ALLOW_ORIGINS of the gateway")]
    NotPublic,
    /// A fixed path or an identifier would have led out of the base URL.
    #[error("the identifier does not make a single path segment of a URL")]
    Segment,
}

/// Judges an address from configuration, at registration and again at use.
///
/// Only `https` with a public DNS name passes, unless the operator opened the very origin. The text itself is
/// judged first, then what the WHATWG parser makes of it, so that the two cannot disagree.
pub fn judge(text: &str, allowed: &AllowedOrigins) -> Result<BaseUrl, Refusal> {
    let parts = Parts::read(text)?;
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidIpv4Address | url::ParseError::InvalidIpv6Address => Refusal::Address,
        url::ParseError::InvalidPort => Refusal::Port,
        url::ParseError::EmptyHost | url::ParseError::IdnaError | url::ParseError::InvalidDomainCharacter => {
            Refusal::Host
        }
        _ => Refusal::Malformed,
    })?;
    parts.agree(&url)?;
    let private_allowed = allowed.allows(&url);
    if !private_allowed {
        public(&url)?;
    }
    Ok(BaseUrl { text: url.as_str().trim_end_matches('/').to_owned(), private_allowed })
}

/// The address of a call: the base URL with a path behind it, which begins with a slash and may have a query.
///
/// Identifiers in the path went through [`segment`]. Whatever the path is, scheme, host and port stay those of the
/// base, and its path stays the beginning of the new one.
pub fn join(base: &BaseUrl, path: &str) -> Result<Uri, Refusal> {
    // Before anything is parsed: without a slash the path would go on with the host.
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(Refusal::Segment);
    }
    let text = format!("{base}{path}");
    let (before, after) = (Url::parse(&base.text), Url::parse(&text));
    let (Ok(before), Ok(after)) = (before, after) else { return Err(Refusal::Segment) };
    let unchanged = Origin::of(&before) == Origin::of(&after)
        && after.as_str() == text
        && after.path().starts_with(before.path().trim_end_matches('/'))
        && after.fragment().is_none();
    if !unchanged {
        return Err(Refusal::Segment);
    }
    Uri::try_from(text).map_err(|_| Refusal::Segment)
}

/// An address that a caller named, from which bytes are fetched without any credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The address, normalised, without a fragment.
    pub uri: Uri,
    /// Whether the operator opened this very origin.
    pub private_allowed: bool,
}

/// Judges an address to fetch from. Scheme, host and port follow the rules of [`judge`]; the path and the query may be
/// any, since they only choose what a public server gives to anybody.
pub fn judge_download(text: &str, allowed: &AllowedOrigins) -> Result<Download, Refusal> {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    if text.contains('\\') {
        return Err(Refusal::Characters);
    }
    let scheme_end = text.find("://").ok_or(Refusal::Malformed)? + "://".len();
    let path_at = text.get(scheme_end..).and_then(|rest| rest.find(['/', '?'])).map(|at| scheme_end + at);
    let (origin, _) = text.split_at(path_at.unwrap_or(text.len()));
    let origin = judge(origin, allowed)?;
    if text.len() > limits::URL_BYTES {
        return Err(Refusal::TooLong);
    }
    let before = Url::parse(&origin.text).map_err(|_| Refusal::Malformed)?;
    let whole = Url::parse(text).map_err(|_| Refusal::Malformed)?;
    if Origin::of(&before) != Origin::of(&whole) || !whole.username().is_empty() || whole.password().is_some() {
        return Err(Refusal::Malformed);
    }
    let uri = Uri::try_from(whole.as_str()).map_err(|_| Refusal::Malformed)?;
    Ok(Download { uri, private_allowed: origin.private_allowed })
}

/// Percent-encodes an identifier (a model id, a deployment) as one path segment.
///
/// Everything but letters, digits and `-._~` is encoded. Refused are empty identifiers and those that have the
/// segments `.` or `..`, also when these are percent-encoded.
pub fn segment(id: &str) -> Result<String, Refusal> {
    if id.is_empty() || has_dot_segment(id.as_bytes()) || has_dot_segment(&decode(id)) {
        return Err(Refusal::Segment);
    }
    Ok(utf8_percent_encode(id, OUTSIDE_OF_SEGMENTS).to_string())
}

/// The raw text in its parts, each of them in the only spelling that is taken.
struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > limits::URL_BYTES {
            return Err(Refusal::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(Refusal::Characters);
        }
        let (scheme, rest) = text.split_once(':').ok_or(Refusal::Malformed)?;
        if !["https", "http"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(Refusal::Scheme);
        }
        let rest = rest.strip_prefix("//").ok_or(Refusal::Malformed)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(Refusal::UserInfo);
        }
        if path.contains('#') {
            return Err(Refusal::Fragment);
        }
        if path.contains('?') {
            return Err(Refusal::Query);
        }
        let (host, port) = split_port(authority)?;
        host_spelling(host)?;
        path_spelling(path)?;
        Ok(Self { scheme, host, port, path })
    }

    /// Whether the parser understood the same thing.
    fn agree(&self, url: &Url) -> Result<(), Refusal> {
        let same_host = match url.host() {
            Some(Host::Domain(name)) => self.host.eq_ignore_ascii_case(name),
            // Numbers have many spellings; what counts is the address.
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            None => false,
        };
        let same_path = url.path() == if self.path.is_empty() { "/" } else { self.path };
        let same = same_host
            && same_path
            && self.scheme.eq_ignore_ascii_case(url.scheme())
            && (self.port.is_none() || self.port == url.port_or_known_default())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if same { Ok(()) } else { Err(Refusal::Malformed) }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), Refusal> {
    let end_of_host = if authority.starts_with('[') {
        authority.find(']').ok_or(Refusal::Malformed)? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(end_of_host);
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').ok_or(Refusal::Malformed)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let number = plain.then(|| digits.parse().ok()).flatten().ok_or(Refusal::Port)?;
    Ok((host, Some(number)))
}

fn host_spelling(host: &str) -> Result<(), Refusal> {
    const NAME_BYTES: usize = 253;
    const LABEL_BYTES: usize = 63;
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        // Excludes zones, whose percent sign is not spelled alike everywhere.
        let plain = address.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        return if plain { Ok(()) } else { Err(Refusal::Address) };
    }
    let label = |label: &str| {
        (1..=LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.len() <= NAME_BYTES && host.split('.').all(label) { Ok(()) } else { Err(Refusal::Host) }
}

fn path_spelling(path: &str) -> Result<(), Refusal> {
    let Some(path) = path.strip_prefix('/') else { return Ok(()) };
    if path.is_empty() {
        return Ok(());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    if has_dot_segment(&decode(path)) {
        return Err(Refusal::DotSegment);
    }
    // Somebody may decode once more or once less: no percent sign (also one without two digits), slash, backslash
    // or delimiter may come out.
    let unmistakable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@ ".contains(&byte) || byte >= 0x80;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte);
    let clean = path.bytes().all(plain)
        && path.split('/').all(|segment| !segment.is_empty() && decode(segment).iter().copied().all(unmistakable));
    if clean { Ok(()) } else { Err(Refusal::Path) }
}

/// Whether `.` or `..` is among the segments, however they are separated.
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| matches!(segment, b"." | b".."))
}

/// Percent-decodes once; a percent sign without two digits stays.
fn decode(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// Whether a URL that nobody opened is public: `https`, and a name that is neither local nor special.
fn public(url: &Url) -> Result<(), Refusal> {
    if url.scheme() != "https" {
        return Err(Refusal::Scheme);
    }
    let Some(Host::Domain(name)) = url.host() else { return Err(Refusal::Address) };
    let last_label = name.rsplit('.').next().unwrap_or(name);
    let special = !name.contains('.') || NOT_PUBLIC.contains(&last_label);
    if special { Err(Refusal::NotPublic) } else { Ok(()) }
}

/// Everything but letters, digits and `-._~`.
const OUTSIDE_OF_SEGMENTS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Last labels that are reserved for special use or usual in private networks. `internal` covers the metadata
/// services of the clouds, `arpa` covers `home.arpa`.
const NOT_PUBLIC: [&str; 17] = [
    "alt",
    "arpa",
    "corp",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "svc",
    "test",
    "workgroup",
    "wpad",
];

#[cfg(test)]
mod tests;
