//! Images and files inside of requests: data URLs, and what their bytes say they are.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{ErrorCode, Failure, Outcome};

/// An image format that providers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageKind {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
}

impl ImageKind {
    /// What the first bytes of a file say.
    pub(crate) fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', ..] => Some(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            _ => None,
        }
    }

    /// What a media type says; `image/jpg` is in use.
    pub(crate) fn from_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "image/png" => Some(Self::Png),
            "image/jpeg" | "image/jpg" => Some(Self::Jpeg),
            "image/gif" => Some(Self::Gif),
            "image/webp" => Some(Self::Webp),
            _ => None,
        }
    }

    /// The word in `image/…`, which is also Bedrock's.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Gif => "gif",
            Self::Webp => "webp",
        }
    }

    /// Its media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
        }
    }
}

/// A `data:` URL whose base64 was checked ([RFC 2397](https://www.rfc-editor.org/rfc/rfc2397)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataUrl<'a> {
    /// The media type in lower case, without parameters.
    pub media_type: String,
    /// The base64 as it was written: standard alphabet, padded.
    pub base64: Cow<'a, str>,
}

impl DataUrl<'_> {
    /// Reads a data URL; `None` if it is none, is not base64, or its base64 is wrong.
    pub(crate) fn read(url: &str) -> Option<DataUrl<'_>> {
        let rest = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and_then(|_| url.get(5..))?;
        let (head, data) = rest.split_once(',')?;
        let mut parameters = head.split(';').map(str::trim);
        let media_type = parameters.next().unwrap_or_default().to_ascii_lowercase();
        parameters.next_back().filter(|last| last.eq_ignore_ascii_case("base64"))?;
        (!data.is_empty() && is_base64(data)).then_some(DataUrl { media_type, base64: Cow::Borrowed(data) })
    }

    /// The image format: what the bytes say, else what the media type says.
    pub(crate) fn image(&self) -> Option<ImageKind> {
        // Sixteen characters are twelve bytes: enough for every mark.
        let head = self.base64.get(..16).and_then(|head| STANDARD.decode(head).ok()).unwrap_or_default();
        ImageKind::sniff(&head).or_else(|| ImageKind::from_media_type(&self.media_type))
    }

    /// The bytes.
    pub(crate) fn decode(&self) -> Vec<u8> {
        STANDARD.decode(self.base64.as_bytes()).unwrap_or_default()
    }
}

/// Whether a text is standard, padded base64. Looks at each character once and decodes nothing: images are large.
fn is_base64(text: &str) -> bool {
    let bytes = text.as_bytes();
    let body = bytes.strip_suffix(b"==").or_else(|| bytes.strip_suffix(b"=")).unwrap_or(bytes);
    bytes.len().is_multiple_of(4) && body.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// Reads the data URL at `param`.
///
/// # Errors
/// `invalid_request` naming the part.
pub(crate) fn data_url<'a>(url: &'a str, param: &str) -> Outcome<DataUrl<'a>> {
    DataUrl::read(url).ok_or_else(|| {
        Failure::invalid(
            param.to_owned(),
            "This must be a data URL such as 'data:image/png;base64,iVBORw0…' with valid base64.",
        )
    })
}

/// Images that were fetched because a provider wants bytes: by the address that the client wrote.
#[derive(Debug, Default)]
pub(crate) struct Inlined(HashMap<String, (ImageKind, String)>);

impl Inlined {
    /// Keeps an image.
    pub(crate) fn put(&mut self, url: &str, kind: ImageKind, bytes: &[u8]) {
        self.0.insert(url.to_owned(), (kind, STANDARD.encode(bytes)));
    }

    /// An image's format and base64, of a data URL or of an address that was fetched.
    ///
    /// # Errors
    /// `invalid_image_url` for an address that was not fetched, `invalid_request` for a data URL that is none or holds
    /// no image that providers take.
    pub(crate) fn image<'a>(&'a self, url: &'a str, param: &str) -> Outcome<(ImageKind, Cow<'a, str>)> {
        if let Some((kind, base64)) = self.0.get(url) {
            return Ok((*kind, Cow::Borrowed(base64)));
        }
        if !url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
            return Err(refused(param));
        }
        let data = data_url(url, param)?;
        let kind = data
            .image()
            .ok_or_else(|| Failure::invalid(param.to_owned(), "The image must be PNG, JPEG, GIF or WebP."))?;
        Ok((kind, data.base64))
    }
}

/// The answer to an image address that the gateway does not fetch.
pub(crate) fn refused(param: &str) -> Failure {
    Failure::new(ErrorCode::InvalidImageUrl, "Image URL is not allowed.").with_param(param.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_read_strictly() {
        for (url, media_type) in [
            ("data:image/png;base64,AAAA", Some("image/png")),
            ("DATA:Image/PNG;charset=x;BASE64,AAA=", Some("image/png")),
            ("data:;base64,AA==", Some("")),
            ("data:image/png,AAAA", None),
            ("data:image/png;base64,", None),
            ("data:image/png;base64,AAA", None),
            ("data:image/png;base64,A===", None),
            ("data:image/png;base64,AA-_", None),
            ("data:image/png;base64,AA A", None),
            ("https://example.com/x.png", None),
            ("dat", None),
            ("", None),
        ] {
            assert_eq!(DataUrl::read(url).map(|data| data.media_type).as_deref(), media_type, "{url}");
        }
    }

    #[test]
    fn bytes_tell_more_than_labels() {
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\n0000");
        for (label, data, want) in [
            ("image/jpeg", png.as_str(), Some(ImageKind::Png)),
            ("image/jpg", "AAAA", Some(ImageKind::Jpeg)),
            ("text/plain", "AAAA", None),
        ] {
            let url = format!("data:{label};base64,{data}");
            assert_eq!(DataUrl::read(&url).unwrap().image(), want, "{label}");
        }
    }
}
