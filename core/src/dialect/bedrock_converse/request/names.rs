//! Names of tools and ids of their calls, in the alphabets that Converse takes.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html>

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::chat::Request;

/// Longest name, and longest id.
const LONGEST: usize = 64;

/// Every name of a tool in one request that Converse does not take as it is, with the name that stands for it.
#[derive(Debug, Default)]
pub(super) struct Names<'r>(BTreeMap<&'r str, String>);

impl<'r> Names<'r> {
    /// Of the tools, and of the calls in the history: models were seen to make names up.
    pub(super) fn of(request: &'r Request<'_>) -> Self {
        let tools = request.tools.iter().map(|tool| &*tool.name);
        let calls = request.messages.iter().flat_map(|message| &message.tool_calls).map(|call| &*call.name);
        let (good, bad): (BTreeSet<&str>, BTreeSet<&str>) = tools.chain(calls).partition(|name| is_name(name));
        let mut taken: BTreeSet<String> = BTreeSet::new();
        let mut names = BTreeMap::new();
        for name in bad {
            let mut fit = fitting(name, is_name_byte);
            if good.contains(&*fit) || taken.contains(&fit) {
                fit = marked(&fit, name);
            }
            taken.insert(fit.clone());
            names.insert(name, fit);
        }
        Self(names)
    }

    /// The name to send.
    pub(super) fn theirs<'n>(&'n self, name: &'n str) -> &'n str {
        self.0.get(name).map_or(name, String::as_str)
    }

    /// Pairs of the name sent and the client's.
    pub(super) fn renamed(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(ours, theirs)| (theirs.clone(), (*ours).to_owned())).collect()
    }
}

/// The id of a call, the same wherever the call is meant.
pub(super) fn call_id(id: &str) -> Cow<'_, str> {
    let is_id_byte = |b: u8| is_name_byte(b) || matches!(b, b'.' | b':');
    if (1..=LONGEST).contains(&id.len()) && id.bytes().all(is_id_byte) {
        return Cow::Borrowed(id);
    }
    // Two ids must not become one.
    Cow::Owned(marked(&fitting(id, is_id_byte), id))
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_name_byte)
}

/// `text` with an underscore for each character that does not fit; marked where it is too long.
fn fitting(text: &str, fits: fn(u8) -> bool) -> String {
    let one = |c: char| if u8::try_from(c).is_ok_and(fits) { c } else { '_' };
    let plain: String = text.chars().map(one).take(LONGEST + 1).collect();
    if plain.len() > LONGEST { marked(&plain, text) } else { plain }
}

/// The beginning of `fit`, a hyphen and eight characters of a hash of `text`.
fn marked(fit: &str, text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    const MARK: usize = 9;
    let mut out: String = fit.chars().take(LONGEST - MARK).collect();
    out.push('-');
    let hash = Sha256::digest(text.as_bytes());
    let number = hash.iter().take(5).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    for place in (0..8).rev() {
        // Five bits are always a place of the alphabet.
        let letter = usize::try_from(number >> (place * 5) & 31).ok().and_then(|at| ALPHABET.get(at));
        out.push(letter.copied().map_or('0', char::from));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_to_fit_and_stay_apart() {
        let long = "a".repeat(64);
        for id in ["tooluse_1", "a.b:c-D_9", &long] {
            assert!(matches!(call_id(id), Cow::Borrowed(_)), "{id}");
        }
        let longer = [&long, "x"].concat();
        let ids = ["call|1", "call/1", "call_ü", "", &longer, &[&long, "y"].concat(), &"ü".repeat(40)];
        let fit: BTreeSet<String> = ids.iter().map(|id| call_id(id).into_owned()).collect();
        assert_eq!(fit.len(), ids.len());
        for id in &fit {
            assert!(
                (1..=64).contains(&id.len()) && id.bytes().all(|b| is_name_byte(b) || b == b'.' || b == b':'),
                "{id}"
            );
        }
        assert_eq!(call_id("call|1"), call_id("call|1"));
        assert!(call_id("call|1").starts_with("call_1-"));
    }

    #[test]
    fn names_are_made_to_fit() {
        assert_eq!(fitting("$READ.FILE", is_name_byte), "_READ_FILE");
        let long = fitting(&"x".repeat(65), is_name_byte);
        assert_eq!(long.len(), 64);
        assert!(is_name(&long) && is_name(&fitting("ünïcode", is_name_byte)));
    }
}
