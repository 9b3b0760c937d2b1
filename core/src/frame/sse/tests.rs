use std::fs;
use std::path::Path;

use super::*;

#[test]
fn framings_are_read_as_the_standard_says() {
    for (stream, expected) in [
        ("", &[][..]),
        ("\n\n\r\r\r\n\r\n", &[]),
        ("data: a\n\n", &["a"]),
        ("data: a\r\n\r\n", &["a"]),
        ("data: a\r\r", &["a"]),
        ("data: a\r\n\ndata: b\n\r\n\rdata: c\r\r\n", &["a", "b", "c"]),
        ("data:a\n\ndata:  b \n\ndata:\tc\n\n", &["a", " b ", "\tc"]),
        ("data: a\ndata:\ndata\ndata: b\n\n", &["a\n\n\nb"]),
        // Empty data is an event, no data is none.
        ("data\n\ndata:\n\ndata: \n\n", &["", "", ""]),
        ("event: x\n\nid: 1\n\nretry: 1\n\n:\n\n: data: a\n\n", &[]),
        ("data: a: b\n\ndata::\n\n", &["a: b", ":"]),
        (" data: a\n\nDATA: a\n\ndata : a\n\ndatum: a\n\n{\"a\":1}\n\n", &[]),
        (": comment\ndata: a\n: comment\ndata: b\nid\nretry: 5\nx\n\n", &["a\nb"]),
        // Names end with their event, the last one counts, an empty one is none.
        ("event: x\ndata: a\n\ndata: b\n\n", &["x|a", "b"]),
        ("event: x\nevent: y\ndata: a\n\n", &["y|a"]),
        ("event: x\nevent\ndata: a\n\nevent: x\n\ndata: b\n\n", &["a", "b"]),
        ("data: a\nevent: x y\n\n", &["x y|a"]),
        // A byte order mark counts once and at the start only.
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
        ("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &["b"]),
        ("\u{feff}", &[]),
        ("\u{fefe}data: a\n\ndata: b\n\n", &["b"]),
        ("data: \u{feff}\n\n", &["\u{feff}"]),
        ("data: a\0b\u{b}\u{85}\u{2028}c\n\n", &["a\0b\u{b}\u{85}\u{2028}c"]),
        // What is not ended is none.
        ("data: a", &[]),
        ("data: a\n\ndata: b\n", &["a"]),
    ] {
        assert_eq!(shown(&whole(stream.as_bytes())), expected, "{stream:?}");
        check(stream.as_bytes());
    }
    let bad_utf8 = b"event: \xff\ndata: \xc3\x28\n\n";
    assert_eq!(whole(bad_utf8), [(Some(Bytes::from_static(b"\xff")), Bytes::from_static(b"\xc3\x28"))]);
}

#[test]
fn recorded_streams_are_read_alike_however_they_are_cut() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut streams = Vec::new();
    collect(&golden, &mut streams);
    assert!(streams.len() >= 4, "{}", streams.len());
    for stream in streams {
        assert!(!whole(&stream).is_empty());
        check(&stream);
        check(&replaced(&stream, b"\r\n"));
        check(&replaced(&stream, b"\r"));
    }
}

#[test]
fn generated_streams_are_read_alike_however_they_are_cut() {
    const PIECES: [&[u8]; 14] = [
        b"\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"data",
        b"data: ",
        b"data:",
        b"event: ",
        b":",
        b" ",
        b"x",
        b"\xef\xbb\xbf",
        b"\xef",
    ];
    let mut random = Random(3);
    for _ in 0..3_000 {
        let stream =
            (0..random.below(24)).flat_map(|_| PIECES[random.below(PIECES.len())]).copied().collect::<Vec<_>>();
        check(&stream);
    }
}

#[test]
fn an_event_written_plainly_has_its_place() {
    for (stream, expected) in [
        ("data: a\n\n", &[Some(0..9)][..]),
        ("data:  a\n\ndata: \n\n", &[Some(0..10), Some(10..18)]),
        ("\u{feff}data: a\n\n", &[Some(3..12)]),
        (": ping\n\ndata: a\n\nevent: ping\n\n\n\ndata: b\n\n", &[Some(8..17), Some(32..41)]),
        ("data:a\n\ndata\n\ndata: a\ndata: b\n\n: x\ndata: a\n\ndata: a\n: x\n\n", &[None, None, None, None, None]),
        ("event: x\ndata: a\n\ndata: a\nid: 1\n\n", &[None, None]),
        ("data: a\r\n\r\ndata: a\n\r\ndata: a\r\n\ndata: a\r\rdata: a\n\n", &[None, None, None, None, Some(40..49)]),
    ] {
        let mut spans = Vec::new();
        let mut decoder = Decoder::default();
        decoder.push(&Bytes::copy_from_slice(stream.as_bytes()), |event| spans.push(event.span)).expect("small");
        assert_eq!(spans, expected, "{stream:?}");
    }
    // A line feed that belongs to the chunk before is not part of the event.
    let mut decoder = Decoder::default();
    let mut spans = Vec::new();
    for chunk in ["data: a\r\n\r", "\ndata: b\n\n", "data: c\n", "\ndata: d\n\n"] {
        decoder.push(&Bytes::from_static(chunk.as_bytes()), |event| spans.push(event.span)).expect("small");
    }
    assert_eq!(spans, [None, Some(1..10), None, Some(1..10)]);
}

#[test]
fn the_end_of_a_stream_may_lack_the_blank_line_alone() {
    for (stream, before, finished, after) in [
        ("", false, None, false),
        ("data: a\n\n", false, None, false),
        ("data: a\n", true, Some("a"), false),
        ("data: a\r", true, Some("a"), false),
        ("event: x\r\ndata: a\r\ndata: b\r\n", true, Some("x|a\nb"), false),
        ("data: a", true, None, true),
        ("data: a\ndata: b", true, None, true),
        ("data: a\n\n:", true, None, true),
        ("event: x\n", true, None, false),
        (": comment\n", false, None, false),
        ("id: 1\n", false, None, false),
    ] {
        let mut decoder = Decoder::default();
        decoder.push(&Bytes::from_static(stream.as_bytes()), |_| {}).expect("small");
        assert_eq!(decoder.pending(), before, "{stream:?}");
        let mut last = Vec::new();
        decoder.finish(|event| {
            assert_eq!(event.span, None);
            last.push((event.name, event.data));
        });
        assert_eq!(shown(&last), Vec::from_iter(finished), "{stream:?}");
        assert_eq!(decoder.pending(), after, "{stream:?}");
    }
}

#[test]
fn lines_are_taken_up_to_the_limit() {
    let limit = limits::SSE_LINE_BYTES;
    for (prefix, counts) in [("data: ", 1), (": ", 0), ("event: ", 0), ("x", 0)] {
        let line = format!("{prefix}{}", "y".repeat(limit - prefix.len()));
        for size in [limit * 2, limit, limit - 1, 65_536, 4_093] {
            assert_eq!(count(format!("{line}\n\n").as_bytes(), size), Ok(counts), "{prefix} {size}");
            assert_eq!(count(format!("{line}\r\n\r\n").as_bytes(), size), Ok(counts), "{prefix} {size}");
            for beyond in [format!("{line}y\n\n"), format!("{line}y"), format!("data: a\n\n{line}y\r")] {
                assert_eq!(count(beyond.as_bytes(), size), Err(TooLarge), "{prefix} {size}");
            }
        }
    }
}

#[test]
fn events_are_taken_up_to_the_limit() {
    let line = format!("data: {}\n", "y".repeat((limits::SSE_EVENT_BYTES / 8) - 1));
    let event = line.repeat(8);
    for size in [event.len() * 2, 65_536] {
        // Seven line feeds join the eight lines: one byte is left.
        assert_eq!(count(format!("{event}data\n\n{event}\n").as_bytes(), size), Ok(2), "{size}");
        assert_eq!(count(format!("{event}data:y\n\n").as_bytes(), size), Err(TooLarge), "{size}");
        assert_eq!(count(format!("{event}data\ndata\n").as_bytes(), size), Err(TooLarge), "{size}");
        // What is not kept is not counted.
        assert_eq!(count(format!(": {}\n", "y".repeat(100_000)).repeat(50).as_bytes(), size), Ok(0), "{size}");
    }
}

#[test]
fn nothing_is_read_behind_what_was_too_large() {
    let mut decoder = Decoder::default();
    let mut events = 0;
    let long = Bytes::from(format!("data: a\n\ndata: {}\n\n", "y".repeat(limits::SSE_LINE_BYTES)));
    assert_eq!(decoder.push(&long, |_| events += 1), Err(TooLarge));
    assert_eq!(decoder.push(&Bytes::from_static(b"\n\ndata: a\n\n"), |_| events += 1), Err(TooLarge));
    decoder.finish(|_| events += 1);
    assert_eq!(events, 1);
}

/// Compares with a plain reading of the whole stream: in one chunk, byte by byte, cut at every place, and at random.
fn check(stream: &[u8]) {
    let expected = plain(stream);
    assert_eq!(pushed([stream]), expected, "{:?}", Bytes::copy_from_slice(stream));
    assert_eq!(pushed(stream.chunks(1)), expected, "{:?}", Bytes::copy_from_slice(stream));
    for at in 0..=stream.len() {
        let (a, b) = stream.split_at(at);
        assert_eq!(pushed([a, b]), expected, "{at} {:?}", Bytes::copy_from_slice(stream));
    }
    let mut random = Random(stream.len() as u64 + 1);
    for longest in [2, 3, 7, 40, 300] {
        let mut rest = stream;
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(random.below(longest + 1).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        assert_eq!(pushed(chunks), expected, "{longest} {:?}", Bytes::copy_from_slice(stream));
    }
}

type Fields = (Option<Bytes>, Bytes);

fn whole(stream: &[u8]) -> Vec<Fields> {
    pushed([stream])
}

fn pushed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Fields> {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for chunk in chunks {
        let chunk = Bytes::copy_from_slice(chunk);
        let take = |event: Event| {
            if let Some(span) = event.span {
                assert!(event.name.is_none());
                assert_eq!(chunk.slice(span.clone()), [b"data: ", &event.data[..], b"\n\n"].concat());
                let copied = chunk.slice(span.start + 6..span.end - 2).as_ptr() != event.data.as_ptr();
                assert!(!copied || event.data.is_empty());
            }
            events.push((event.name, event.data));
        };
        decoder.push(&chunk, take).expect("small");
    }
    events
}

/// The standard's rules over a whole stream, without regard to cost.
fn plain(stream: &[u8]) -> Vec<Fields> {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream).iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' | b'\n' => {
                if *byte == b'\r' {
                    bytes.next_if_eq(&&b'\n');
                }
                lines.push(Vec::new());
            }
            _ => lines.last_mut().expect("a line").push(*byte),
        }
    }
    lines.pop();
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        if line.is_empty() {
            let (name, mut data) = (std::mem::take(&mut name), std::mem::take(&mut data));
            if data.pop().is_some() {
                events.push((Some(Bytes::from(name)).filter(|name| !name.is_empty()), Bytes::from(data)));
            }
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let field = parts.next().expect("a field");
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => data.extend([value, b"\n"].concat()),
            b"event" => name = value.to_vec(),
            _ => {}
        }
    }
    events
}

fn shown(events: &[Fields]) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let show = |(name, data): &Fields| match name {
        Some(name) => format!("{}|{}", text(name), text(data)),
        None => text(data),
    };
    events.iter().map(show).collect()
}

fn count(stream: &[u8], size: usize) -> Result<usize, TooLarge> {
    let mut decoder = Decoder::default();
    let mut events = 0;
    for chunk in stream.chunks(size) {
        decoder.push(&Bytes::copy_from_slice(chunk), |_| events += 1)?;
        assert!(decoder.line.capacity() <= 2 * limits::SSE_LINE_BYTES);
    }
    Ok(events)
}

fn replaced(stream: &[u8], end: &[u8]) -> Vec<u8> {
    stream.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(end)
}

fn collect(folder: &Path, streams: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, streams);
        } else if path.extension().is_some_and(|extension| extension == "sse") {
            streams.push(fs::read(path).expect("a file"));
        }
    }
}

/// xorshift64: the same cases every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
