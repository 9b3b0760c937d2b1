//! Turns an answer and a step of the script into a plan for the socket.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    answer::{Answer, Body, header},
    dialect::Problem,
    send::{End, Piece, Plan},
    step::{EchoKey, Hang, Length, Step},
    text::crc32,
};

/// The plan for an answer that nobody tampers with.
pub(crate) fn plain(answer: Answer) -> Plan {
    plan(answer, &Step::default(), Duration::ZERO)
}

/// The answer that a step puts in the place of the normal one, where it does.
pub(crate) fn replaced(step: &Step, key: &str, error: impl FnOnce(Problem<'_>) -> Answer) -> Option<Answer> {
    let status = step.status.unwrap_or(200);
    if let Some(redirect) = &step.redirect {
        let answer = Answer { status: redirect.status, headers: Vec::new(), body: Body::Whole(Vec::new()) };
        return Some(answer.add("location", &redirect.location));
    }
    if step.echo_key == Some(EchoKey::Body) {
        let message = format!("Something is wrong with key {key}.");
        return Some(error(Problem::of(step.status.unwrap_or(400), &message).code(key)));
    }
    if let Some(text) = &step.raw_sse {
        let mut answer = Answer::events(text.split_inclusive("\n\n").map(str::to_owned).collect());
        answer.status = status;
        return Some(answer);
    }
    if let Some(encoded) = &step.raw_body {
        let body = STANDARD.decode(encoded).unwrap_or_else(|_| encoded.clone().into_bytes());
        return Some(Answer::whole(status, "application/json", body));
    }
    match &step.body {
        Some(Value::String(text)) => {
            Some(Answer::whole(status, "text/plain; charset=utf-8", text.clone().into_bytes()))
        }
        Some(body) => Some(Answer::json(status, body)),
        None => match status {
            100..=199 | 204 | 304 => Some(Answer { status, headers: Vec::new(), body: Body::Empty }),
            300.. => Some(error(Problem { status, ..Problem::default() })),
            _ => None,
        },
    }
}

/// The plan for an answer with the faults of a step.
pub(crate) fn plan(mut answer: Answer, step: &Step, event_delay: Duration) -> Plan {
    decorate(&mut answer, step);
    let stream = matches!(answer.body, Body::Events(_));
    let pieces = match answer.body {
        Body::Empty => Vec::new(),
        Body::Whole(bytes) => vec![bytes],
        Body::Events(events) => events,
    };
    let pieces = match &step.content_encoding {
        Some(coding) if coding.eq_ignore_ascii_case("gzip") => vec![gzip(&pieces.concat())],
        _ => pieces,
    };
    let length = pieces.iter().map(Vec::len).sum::<usize>();
    let announced = announced_length(step, length, stream);
    let mut end =
        if announced.is_some_and(|said| said != length) || answer.status < 200 { End::Close } else { End::Keep };

    let delay = step.chunk_delay_ms.map_or(event_delay, Duration::from_millis);
    let mut pieces = timed(pieces, step, if stream { delay } else { Duration::ZERO });
    let mut keep = usize::MAX;
    if let Some(at) = step.clean_end_at {
        keep = keep.min(at);
    }
    if let Some(at) = step.cut_at {
        keep = keep.min(at);
        end = End::Cut;
    }
    match step.hang {
        Some(Hang::AfterBytes(at)) => (keep, end) = (at, End::Hang),
        Some(Hang::Body) => (keep, end) = (0, End::Hang),
        Some(Hang::Headers | Hang::Accept) | None => {}
    }
    truncate(&mut pieces, keep);
    if step.rst && end != End::Hang {
        end = End::Reset;
    }

    let chunked = announced.is_none() && length_allowed(answer.status) && step.raw_response.is_none();
    let framing = match announced {
        Some(said) if length_allowed(answer.status) => format!("content-length: {said}\r\n"),
        _ if chunked => "transfer-encoding: chunked\r\n".to_owned(),
        _ => String::new(),
    };
    let mut head = Some(head(answer.status, &answer.headers, &framing));
    if let Some(raw) = &step.raw_response {
        head = Some(STANDARD.decode(raw).unwrap_or_else(|_| raw.clone().into_bytes()));
        pieces.clear();
        end = if step.rst { End::Reset } else { End::Close };
    }
    if step.close_without_answer || step.hang == Some(Hang::Headers) {
        head = None;
        pieces.clear();
        end = match (step.hang, step.rst) {
            (Some(_), _) => End::Hang,
            (None, true) => End::Reset,
            (None, false) => End::Cut,
        };
    }
    let chunked = chunked && head.is_some();
    Plan { wait: Duration::from_millis(step.delay_ms), status: answer.status, head, pieces, chunked, end }
}

/// Headers the step adds or replaces, and padding.
fn decorate(answer: &mut Answer, step: &Step) {
    if let Some(value) = &step.content_type {
        answer.set("content-type", value);
    }
    if let Some(value) = &step.content_encoding {
        answer.set("content-encoding", value);
    }
    match &step.retry_after {
        Some(Value::String(text)) => answer.set("retry-after", text),
        Some(value) => answer.set("retry-after", &value.to_string()),
        None => {}
    }
    if let Some(value) = &step.set_cookie {
        answer.headers.push(header("set-cookie", value));
    }
    let given = |name: &str| step.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    answer.headers.retain(|(name, _)| !given(name));
    answer.headers.extend(step.headers.iter().cloned());
    let mut left = step.big_headers.unwrap_or_default();
    for number in 0.. {
        if left == 0 {
            break;
        }
        let length = left.min(1000);
        answer.headers.push((format!("x-big-{number}"), "h".repeat(length)));
        left -= length;
    }
    if let Some(size) = &step.oversize {
        pad(&mut answer.body, size.bytes);
    }
}

/// White space inside JSON changes nothing, so the body keeps its meaning and has exactly the size asked for.
fn pad(body: &mut Body, bytes: usize) {
    match body {
        Body::Empty => {}
        Body::Whole(whole) => whole.resize(bytes.max(whole.len()), b' '),
        Body::Events(events) => {
            // Frames are padded by those who know how.
            if let Some(event) = events.first_mut().filter(|event| event.ends_with(b"\n\n")) {
                let line = event.len().saturating_sub(2);
                event.truncate(line);
                event.resize(bytes.max(line), b' ');
                event.extend(b"\n\n");
            }
        }
    }
}

fn announced_length(step: &Step, real: usize, stream: bool) -> Option<usize> {
    match &step.content_length {
        Some(Length::Exactly(said)) => usize::try_from(*said).ok(),
        Some(Length::Relative(by)) => {
            let by: isize = by.parse().unwrap_or_default();
            Some(real.saturating_add_signed(by))
        }
        None if stream || step.clean_end_at.is_some() => None,
        None => Some(real),
    }
}

fn timed(pieces: Vec<Vec<u8>>, step: &Step, delay: Duration) -> Vec<Piece> {
    if let Some(drip) = &step.drip {
        let wait = Duration::from_millis(drip.every_ms);
        let whole = pieces.concat();
        return whole.chunks(drip.bytes.max(1)).map(|part| Piece { wait, bytes: part.to_vec() }).collect();
    }
    match step.split_every {
        // Without a pause the edges of events do not matter: pieces may hold the end of one and the start of the next.
        Some(size) if delay.is_zero() => {
            let whole = pieces.concat();
            whole.chunks(size.max(1)).map(|part| Piece { wait: Duration::ZERO, bytes: part.to_vec() }).collect()
        }
        split => {
            let mut out = Vec::new();
            for (number, piece) in pieces.into_iter().enumerate() {
                let size = split.unwrap_or(piece.len()).max(1);
                for (at, part) in piece.chunks(size).enumerate() {
                    let wait = if at == 0 && number > 0 { delay } else { Duration::ZERO };
                    out.push(Piece { wait, bytes: part.to_vec() });
                }
            }
            out
        }
    }
}

fn truncate(pieces: &mut Vec<Piece>, mut keep: usize) {
    pieces.retain_mut(|piece| {
        let had = piece.bytes.len();
        piece.bytes.truncate(keep);
        keep -= piece.bytes.len();
        had > 0 && !piece.bytes.is_empty()
    });
}

fn head(status: u16, headers: &[(String, String)], framing: &str) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(framing);
    out.push_str("\r\n");
    out.into_bytes()
}

const fn length_allowed(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// A gzip member of stored blocks: valid for any decoder, with no compression behind it.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = plain.chunks(0xffff);
    let last = blocks.len().saturating_sub(1);
    for (at, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(at == last));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    if plain.is_empty() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    let size = u32::try_from(plain.len() % (1 << 32)).unwrap_or_default();
    out.extend(crc32(plain).to_le_bytes());
    out.extend(size.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(gzip(b"").len(), 23);
    }

    #[test]
    fn truncation_counts_across_pieces() {
        let piece = |text: &str| Piece { wait: Duration::ZERO, bytes: text.as_bytes().to_vec() };
        let mut pieces = vec![piece("abc"), piece("def"), piece("ghi")];
        truncate(&mut pieces, 4);
        assert_eq!(pieces.iter().map(|p| p.bytes.clone()).collect::<Vec<_>>(), [b"abc".to_vec(), b"d".to_vec()]);
    }
}
