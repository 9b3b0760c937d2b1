//! Joining a client's trace: <https://www.w3.org/TR/trace-context/>, `traceparent` alone. `tracestate` is other systems' data
//! and goes nowhere.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Our span of a client's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The trace's id, which the client chose: 32 hexadecimal digits.
    pub trace_id: String,
    /// Our id of this request in it: 16 hexadecimal digits.
    pub span_id: String,
    /// Whether the client records the trace.
    sampled: bool,
}

/// The header.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Span {
    /// A span of the trace that the headers name; `None` if they name none, or not as the standard wants. `random`
    /// becomes its id.
    pub(crate) fn join(headers: &HeaderMap, random: impl FnOnce() -> [u8; 8]) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (given.next(), given.next()) else { return None };
        let (trace_id, sampled) = read(only.to_str().ok()?)?;
        let mut id = u64::from_be_bytes(random());
        if id == 0 {
            // All zeros mean none.
            id = 1;
        }
        Some(Self { trace_id: trace_id.to_owned(), span_id: format!("{id:016x}"), sampled })
    }

    /// What a provider gets to see: the trace's id and our span's, nothing else of the client's.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let Self { trace_id, span_id, sampled } = self;
        HeaderValue::from_str(&format!("00-{trace_id}-{span_id}-0{}", u8::from(*sampled))).ok()
    }
}

/// The id of the trace, and whether it is recorded.
fn read(text: &str) -> Option<(&str, bool)> {
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = (version.len(), trace.len(), parent.len(), flags.len()) == (2, 32, 16, 2);
    if !sizes || ![version, trace, parent, flags].into_iter().all(hex) {
        return None;
    }
    // Later versions may have more behind what this one knows.
    let whole = version != "ff" && (version != "00" || parts.next().is_none());
    let none = |id: &str| id.bytes().all(|b| b == b'0');
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    (whole && !none(trace) && !none(parent)).then_some((trace, sampled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn join(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        let span = Span::join(&headers, || [0, 0, 0, 0, 0, 0, 1, 0xab])?;
        assert_eq!((span.trace_id.as_str(), span.span_id.as_str()), (TRACE, "00000000000001ab"));
        Some(span.header().unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_trace_is_joined_with_a_span_of_ours() {
        let sampled = format!("00-{TRACE}-00000000000001ab-01");
        for (flags, ours) in [("01", "01"), ("00", "00"), ("ff", "01"), ("02", "00")] {
            let seen = join(&[&format!("00-{TRACE}-b7ad6b7169203331-{flags}")]);
            assert_eq!(seen, Some(format!("00-{TRACE}-00000000000001ab-{ours}")), "{flags}");
        }
        for later in ["cc", "01"] {
            assert_eq!(join(&[&format!("{later}-{TRACE}-b7ad6b7169203331-01")]), Some(sampled.clone()));
            assert_eq!(join(&[&format!("{later}-{TRACE}-b7ad6b7169203331-01-what-else")]), Some(sampled.clone()));
        }
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        assert_eq!(join(&[]), None);
        assert_eq!(join(&[&good, &good]), None);
        for bad in [
            String::new(),
            "-".to_owned(),
            format!("{good}-"),
            format!("{good}-x"),
            format!("{good}."),
            format!("cc-{TRACE}-b7ad6b7169203331-01.x"),
            good.to_uppercase(),
            good.replace("00-", "ff-"),
            good.replace("00-", "0-"),
            good.replace(TRACE, &"0".repeat(32)),
            good.replace(TRACE, "0af7"),
            good.replace("b7ad6b7169203331", "0000000000000000"),
            good.replace("b7ad6b7169203331", "b7ad6b716920333g"),
            good.replace("-01", "-1"),
            good.replace("-01", "-0x"),
            good.replace('-', "_"),
        ] {
            assert_eq!(join(&[&bad]), None, "{bad}");
        }
    }

    #[test]
    fn an_id_of_zeros_is_none() {
        let headers = HeaderMap::from_iter([(TRACEPARENT, format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap())]);
        assert_eq!(Span::join(&headers, || [0; 8]).unwrap().span_id, "0000000000000001");
    }
}
