//! Files as Converse's documents: their format and their name.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>

use std::collections::BTreeSet;

use crate::chat::DataUrl;

/// Longest name of a document.
const LONGEST: usize = 200;

/// What is known as a document: the format's name, media types, endings of names.
const FORMATS: &[(&str, &[&str], &[&str])] = &[
    ("pdf", &["application/pdf"], &["pdf"]),
    ("csv", &["text/csv"], &["csv"]),
    ("doc", &["application/msword"], &["doc"]),
    ("docx", &["application/vnd.openxmlformats-officedocument.wordprocessingml.document"], &["docx"]),
    ("xls", &["application/vnd.ms-excel"], &["xls"]),
    ("xlsx", &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"], &["xlsx"]),
    ("html", &["text/html"], &["html", "htm"]),
    ("md", &["text/markdown", "text/x-markdown"], &["md", "markdown"]),
    ("txt", &["text/plain"], &["txt"]),
];

/// The format of a file: what its first bytes say, else its media type, else its name.
pub(super) fn format(file: &DataUrl<'_>, name: Option<&str>) -> Option<&'static str> {
    // Base64 of `%PDF-`, as far as it is the same whatever follows.
    if file.base64.starts_with("JVBERi") {
        return Some("pdf");
    }
    let by_type = FORMATS.iter().find(|(_, types, _)| types.contains(&file.media_type.as_str()));
    let ending = name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
    // Markdown is often sent as plain text.
    let by_name = || FORMATS.iter().find(|(_, _, endings)| ending.as_deref().is_some_and(|e| endings.contains(&e)));
    match by_type {
        Some((format @ "txt", ..)) => {
            by_name().filter(|(format, ..)| *format == "md").map_or(Some(*format), |(f, ..)| Some(f))
        }
        Some((format, ..)) => Some(format),
        None => by_name().map(|(format, ..)| *format),
    }
}

/// Gives out names: clean, and no two alike in one request.
#[derive(Debug, Default)]
pub(super) struct Titles {
    given: BTreeSet<String>,
}

impl Titles {
    /// The next document's name.
    pub(super) fn next(&mut self, name: Option<&str>) -> String {
        let number = self.given.len() + 1;
        let clean = name.map(clean).filter(|name| !name.is_empty());
        let base = clean.unwrap_or_else(|| format!("document-{number}"));
        let mut title = base.clone();
        let mut suffix = number;
        while self.given.contains(&title) {
            let tail = format!("-{suffix}");
            title = base.chars().take(LONGEST - tail.len()).chain(tail.chars()).collect();
            suffix += 1;
        }
        self.given.insert(title.clone());
        title
    }
}

/// Letters, digits, hyphens, brackets and single spaces of a file's name, without its ending.
fn clean(name: &str) -> String {
    let is_ending = |text: &str| {
        (1..=5).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric())
            && text.bytes().any(|b| b.is_ascii_alphabetic())
    };
    let stem = match name.rsplit_once('.') {
        Some((stem, ending)) if is_ending(ending) => stem,
        _ => name,
    };
    let mut out = String::new();
    for c in stem.chars().map(|c| if c.is_whitespace() { ' ' } else { c }) {
        let fits =
            c.is_ascii_alphanumeric() || "-()[]".contains(c) || (c == ' ' && !out.is_empty() && !out.ends_with(' '));
        if fits && out.len() < LONGEST {
            out.push(c);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        for (name, want) in [
            ("John's  report v1.pdf", "Johns report v1"),
            (" a\t\n b .docx", "a b"),
            ("Report (v1.2) [x]", "Report (v12) [x]"),
            ("v1.2", "v12"),
            ("ÄÖÜ.pdf", ""),
            (".pdf", ""),
            ("..", ""),
            ("a/../b_c", "abc"),
        ] {
            assert_eq!(clean(name), want, "{name}");
        }
        assert_eq!(clean(&"x".repeat(300)).len(), LONGEST);
    }

    #[test]
    fn no_two_names_are_alike() {
        let mut titles = Titles::default();
        let names = [Some("a.pdf"), Some("a.txt"), None, Some("a-2"), Some("?"), Some("document-3")];
        let given: Vec<String> = names.into_iter().map(|name| titles.next(name)).collect();
        assert_eq!(given, ["a", "a-2", "document-3", "a-2-4", "document-5", "document-3-6"]);
        let long = "x".repeat(300);
        let (one, two) = (titles.next(Some(&long)), titles.next(Some(&long)));
        assert!(one != two && two.len() == LONGEST);
    }

    #[test]
    fn formats_are_told() {
        for (url, name, want) in [
            ("data:application/pdf;base64,AAAA", None, Some("pdf")),
            ("data:application/octet-stream;base64,JVBERi0x", None, Some("pdf")),
            ("data:application/octet-stream;base64,AAAA", Some("a.XLSX"), Some("xlsx")),
            ("data:text/plain;base64,AAAA", None, Some("txt")),
            ("data:text/plain;base64,AAAA", Some("README.md"), Some("md")),
            ("data:text/plain;base64,AAAA", Some("a.pdf"), Some("txt")),
            ("data:text/csv;base64,AAAA", Some("a.md"), Some("csv")),
            ("data:image/png;base64,AAAA", None, None),
            ("data:;base64,AAAA", Some("pdf"), None),
        ] {
            assert_eq!(format(&DataUrl::read(url).unwrap(), name), want, "{url} {name:?}");
        }
    }
}
