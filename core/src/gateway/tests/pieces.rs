//! Every recorded stream, however it is cut: the same output for all pieces, and exactly one end wherever it breaks off.

use super::golden::{Case, FOLDERS, before_content, payloads, root, same_id};
use super::*;
use crate::chat::Inlined;
use crate::egress::url::AllowedOrigins;
use crate::fuzz::{Dice, Exchange, Origin, Pieces, Played, Reading, Rigour, judge, play};
use crate::model::{Capabilities, Overrides};
use crate::ports::HttpError;
use crate::provider::{self, Endpoint, ProviderKind};
use crate::relay::End;

/// How many recorded streams there are at least.
const STREAMS: usize = 60;
/// Random ways to cut each of them.
const RANDOM: u64 = 200;

/// A recorded stream and how the gateway reads it.
struct Stream {
    case: Case,
    reading: Reading,
    body: Bytes,
}

impl Stream {
    fn of(case: Case) -> Option<Self> {
        let body = {
            let (_, answer) = *case.calls().last()?;
            if case.case["front_request"]["stream"] != true || answer["status"] != 200 {
                return None;
            }
            case.body(answer)
        };
        let kind = ProviderKind::from_stored(case.provider()).unwrap();
        let said: Option<Overrides> =
            case.case.get("capabilities").map(|said| serde_json::from_value(said.clone()).unwrap());
        let model = case.model_id();
        let data = serde_json::value::to_raw_value(&case.data()).unwrap();
        let (settings, _) = provider::parse_data(kind, &data, &AllowedOrigins::default()).unwrap();
        let exchange = Exchange {
            kind,
            settings: &settings,
            model: &model,
            can: &Capabilities::of(kind, &model, said.as_ref()),
            inlined: &Inlined::default(),
            strict: case.case["strict"] == true,
        };
        let endpoint = match (case.case["endpoint"].as_str(), case.case["path"].as_str()) {
            (Some("completions"), _) | (_, Some("/v1/completions")) => Endpoint::Completions,
            _ => Endpoint::Chat,
        };
        let front = case.case["front_request"].to_string();
        let prepared = exchange.prepare(endpoint, front.as_bytes()).map_err(|failure| failure.message);
        let reading = prepared.unwrap_or_else(|message| panic!("{}: {message}", case.name)).stream.unwrap();
        Some(Self { case, reading, body })
    }

    /// All of them.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (folder, _) in FOLDERS {
            for entry in std::fs::read_dir(root().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    all.extend(Case::read(&path).and_then(Self::of));
                }
            }
        }
        assert!(all.len() >= STREAMS, "{} streams", all.len());
        all
    }

    fn play(&self, pieces: Pieces) -> Played {
        play(self.reading.codec(), &self.body, pieces, Ok(()))
    }

    /// Nothing depends on where the body is cut.
    fn same_in(&self, all: impl Iterator<Item = Pieces>) {
        let whole = self.play(Pieces::One);
        for pieces in all {
            let seen = self.play(pieces.clone());
            assert!(seen == whole, "{} in {pieces:?}: {seen:?}\nwhole: {whole:?}", self.case.name);
        }
    }

    fn rigour(&self) -> Rigour {
        match self.reading.origin {
            Origin::Pass { .. } => Rigour::Theirs,
            _ => Rigour::Ours(self.reading.shape),
        }
    }

    /// Whether the first bytes of the body hold what a provider ends its answer with.
    fn shows_end(&self, length: usize) -> bool {
        let marks: &[&str] = match &self.reading.origin {
            Origin::Anthropic(_) => &["message_stop", "\"stop_reason\":\""],
            Origin::Converse(_) => &["messageStop"],
            Origin::Generation(_) => &["\"stop_reason\""],
            Origin::Pass { .. } | Origin::Like(..) | Origin::Completions(_) => {
                &["[DONE]", "\"finish_reason\":\"", "\"finish_reason\": \""]
            }
        };
        marks.iter().any(|mark| memchr::memmem::find(&self.body[..length], mark.as_bytes()).is_some())
    }
}

#[test]
fn a_stream_is_as_recorded_and_of_the_right_shape() {
    for stream in Stream::all() {
        let name = &stream.case.name;
        let whole = stream.play(Pieces::One);
        judge(&whole, stream.rigour());
        let Some(file) = stream.case.case["front_response"]["body_file"].as_str() else {
            assert!(whole.refused.is_some(), "{name}: {}", String::from_utf8_lossy(&whole.bytes));
            continue;
        };
        let want = payloads(&std::fs::read_to_string(stream.case.folder.join(file)).unwrap());
        if let Some(error) = before_content(&want) {
            let (_, body) = whole.refused.unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), *error, "{name}");
            continue;
        }
        let mut seen = payloads(std::str::from_utf8(&whole.bytes).unwrap());
        for (seen, want) in seen.iter_mut().zip(&want) {
            same_id(seen, want);
        }
        assert_eq!(seen, want, "{name}");
    }
}

#[test]
fn a_stream_is_the_same_wherever_it_is_cut_in_two() {
    for stream in Stream::all() {
        let cuts = (1..stream.body.len()).map(Pieces::Two);
        stream.same_in(std::iter::once(Pieces::Bytes).chain(cuts));
    }
}

#[test]
fn a_stream_is_the_same_in_random_pieces() {
    for stream in Stream::all() {
        stream.same_in((0..RANDOM).map(|seed| Pieces::Random(Dice::new(seed))));
    }
}

/// Fault matrix: U20, U21, U22.
#[test]
fn a_stream_that_breaks_off_has_one_end_and_no_end_mark_unless_the_provider_showed_it() {
    for stream in Stream::all() {
        for end in [Ok(()), Err(HttpError::Disconnected)] {
            let mut last = None;
            for cut in 0..stream.body.len() {
                let seen = play(stream.reading.codec(), &stream.body.slice(..cut), Pieces::One, end);
                let name = &stream.case.name;
                assert!(seen.end != End::Complete || stream.shows_end(cut), "{name}: complete at {cut} ({end:?})");
                // Most cuts give what the one before gave.
                if last.as_ref() != Some(&seen) {
                    judge(&seen, stream.rigour());
                    last = Some(seen);
                }
            }
        }
    }
}

/// Fault matrix: U23, U24.
#[test]
fn what_follows_the_end_changes_nothing() {
    let mut ended = 0;
    for stream in Stream::all() {
        let whole = stream.play(Pieces::One);
        if !whole.early {
            continue;
        }
        ended += 1;
        let body = &stream.body;
        let tails: [&[u8]; 6] = [
            body,
            b"data: {\"error\":{\"message\":\"late\"}}\n\n",
            b"data: [DONE]\n\n",
            b"\xff\x00junk\n\n",
            b"\n",
            b"data: x",
        ];
        for tail in tails {
            let longer = Bytes::from([body, tail].concat());
            for pieces in [Pieces::One, Pieces::Two(body.len()), Pieces::Two(body.len() - 1), Pieces::Bytes] {
                for end in [Ok(()), Err(HttpError::Disconnected)] {
                    let seen = play(stream.reading.codec(), &longer, pieces.clone(), end);
                    assert_eq!(seen, whole, "{}: {}", stream.case.name, String::from_utf8_lossy(tail));
                }
            }
        }
    }
    assert!(ended >= STREAMS / 2, "{ended} streams end by themselves");
}
