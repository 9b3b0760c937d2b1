use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bedrock")
}

/// What comes out of a stream that arrives in these pieces.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Result<bool, Broken>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        if let Err(broken) = decoder.push(&Bytes::copy_from_slice(piece), |frame| frames.push(frame)) {
            let after = decoder.push(&Bytes::from_static(b"more"), |_| panic!("a broken stream goes on"));
            assert_eq!(after, Err(broken));
            return (frames, Err(broken));
        }
    }
    (frames, Ok(decoder.pending()))
}

/// A small generator of numbers: tests are the same every time.
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap()
}

/// Reads `bytes` whole, cut in two at every byte, byte by byte and in random pieces; all must be the same.
fn check(bytes: &[u8]) -> (Vec<Frame>, Result<bool, Broken>) {
    let want = read([bytes]);
    for cut in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(read([head, tail]), want, "cut at {cut}");
    }
    assert_eq!(read(bytes.chunks(1)), want, "byte by byte");
    let mut state = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..20 {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((1 + random(&mut state) % 97).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        assert_eq!(read(pieces), want);
    }
    want
}

#[test]
fn frames_are_read_however_they_are_cut() {
    let mut streams = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|ending| ending != "bin") || name.contains("bad_") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let (frames, end) = check(&bytes);
        assert_eq!(end, Ok(false), "{name}");
        let case = path.with_file_name(name.replace(".upstream", "")).with_extension("json");
        if let Ok(case) = fs::read(case) {
            let case: serde_json::Value = serde_json::from_slice(&case).unwrap();
            let lengths = case["upstream_response"]["frame_lengths"].as_array().unwrap();
            assert_eq!(frames.len(), lengths.len(), "{name}");
            streams += 1;
        }
        // Cut anywhere but between two frames, something is left.
        let (_, end) = read([&bytes[..bytes.len() - 1]]);
        assert_eq!(end, Ok(true), "{name}");
    }
    assert!(streams >= 8);
}

#[test]
fn kinds_of_messages_are_told_apart() {
    let one = |file: &str| {
        let (mut frames, end) = read([&*fs::read(golden().join(file)).unwrap()]);
        assert_eq!((frames.len(), end), (1, Ok(false)), "{file}");
        frames.remove(0)
    };
    let start = one("frame_messageStart.bin");
    assert_eq!(start.message, Message::Event { kind: Bytes::from_static(b"messageStart") });
    assert_eq!(&*start.payload, br#"{"role":"assistant"}"#);
    let error = one("frame_error_type.bin");
    let want = Message::Error { code: Bytes::from_static(b"InternalFailure"), text: Bytes::from_static(b"oops") };
    assert_eq!((error.message, error.payload.len()), (want, 0));
    let (frames, _) = read([&*write::exception("throttlingException", "m")]);
    assert_eq!(frames[0].message, Message::Exception { kind: Bytes::from_static(b"throttlingException") });
    let (frames, _) = read([&*write::frame(&[(":message-type", "new")], b"")]);
    assert_eq!(frames[0].message, Message::Other);
    let (frames, _) = read([&*fs::read(golden().join("invoke_stream_chunk.bin")).unwrap()]);
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.message == Message::Event { kind: Bytes::from_static(b"chunk") }));
}

#[test]
fn headers_of_every_type_are_passed_by() {
    let mut headers = Vec::new();
    for (kind, value) in [
        (0_u8, &b""[..]),
        (1, b""),
        (2, b"1"),
        (3, b"12"),
        (4, b"1234"),
        (5, b"12345678"),
        (6, b"\0\x03abc"),
        (8, b"12345678"),
        (9, b"1234567890123456"),
    ] {
        headers.extend_from_slice(&[1, b'h', kind]);
        headers.extend_from_slice(value);
    }
    let plain = headers.clone();
    headers.extend_from_slice(b"\x0d:message-type\x07\0\x05event\x0b:event-type\x07\0\x01x");
    let (frames, end) = check(&write::raw(&headers, b"p"));
    assert_eq!((frames.len(), end), (1, Ok(false)));
    assert_eq!(frames[0].message, Message::Event { kind: Bytes::from_static(b"x") });
    // Cut headers, and a type that nobody knows.
    for cut in 1..plain.len() {
        let (frames, end) = read([&*write::raw(&plain[..cut], b"")]);
        assert!(frames.len() == 1 || end == Err(Broken::Malformed), "{cut}");
    }
    for bad in [&b"\x01h\x0a"[..], b"\x01h", b"\x05h\0", b"\x01h\x07\0\x05abc"] {
        assert_eq!(read([&*write::raw(bad, b"")]), (Vec::new(), Err(Broken::Malformed)), "{bad:?}");
    }
}

#[test]
fn checksums_are_verified_and_the_prelude_first() {
    let bad = fs::read(golden().join("frame_bad_prelude_crc.bin")).unwrap();
    assert_eq!(check(&bad), (Vec::new(), Err(Broken::Checksum)));
    assert_eq!(read([&bad[..11]]).1, Ok(true));
    assert_eq!(read([&bad[..12]]).1, Err(Broken::Checksum));
    let bad = fs::read(golden().join("frame_bad_message_crc.bin")).unwrap();
    assert_eq!(check(&bad), (Vec::new(), Err(Broken::Checksum)));
    assert_eq!(read([&bad[..bad.len() - 1]]).1, Ok(true));
    // What came before a broken frame counts.
    let good = write::event("messageStart", "{}");
    let (frames, end) = check(&[&*good, &*bad].concat());
    assert_eq!((frames.len(), end), (1, Err(Broken::Checksum)));
    // One wrong bit anywhere is found.
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        assert_eq!(read([&*flipped]), (Vec::new(), Err(Broken::Checksum)), "{at}");
    }
}

/// A prelude with a right checksum and these lengths.
fn prelude(total: usize, headers: usize) -> Vec<u8> {
    let mut out = u32::try_from(total).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(&u32::try_from(headers).unwrap().to_be_bytes());
    out.extend_from_slice(&CRC32.checksum(&out).to_be_bytes());
    out
}

#[test]
fn lengths_have_limits() {
    let headers = limits::EVENT_STREAM_HEADER_BYTES;
    let payload = limits::EVENT_STREAM_PAYLOAD_BYTES;
    for (total, headers, want) in [
        (16, 0, Ok(true)),
        (15, 0, Err(Broken::Malformed)),
        (0, 0, Err(Broken::Malformed)),
        (17, 2, Err(Broken::Malformed)),
        (16 + headers, headers, Ok(true)),
        (16 + headers + 1, headers + 1, Err(Broken::TooLarge)),
        (16 + payload, 0, Ok(true)),
        (16 + payload + 1, 0, Err(Broken::TooLarge)),
        (0xFFFF_FFFF, 0, Err(Broken::TooLarge)),
    ] {
        assert_eq!(read([&*prelude(total, headers)]).1, want, "{total} {headers}");
    }
    let largest = write::event("x", &"x".repeat(payload));
    assert_eq!(read([&*largest]).0.len(), 1);
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let mut state = 0x0123_4567_89AB_CDEF;
    let good = write::event("contentBlockDelta", r#"{"delta":{"text":"x"}}"#).repeat(3);
    for _ in 0..2_000 {
        let mut bytes = good.clone();
        for _ in 0..=random(&mut state) % 4 {
            let at = random(&mut state) % bytes.len();
            bytes[at] = u8::try_from(random(&mut state) % 256).unwrap();
        }
        bytes.truncate(random(&mut state) % (bytes.len() + 1));
        let whole = read([&*bytes]);
        assert_eq!(read(bytes.chunks(1 + random(&mut state) % 9)), whole);
    }
}
