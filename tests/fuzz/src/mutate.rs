//! New inputs out of old ones.

use std::ops::Range;

use gateway_core::fuzz::Dice;

/// Largest input. Longer ones only make fewer of them.
const LARGEST: usize = 16 << 10;

/// Values that JSON texts are changed to.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "2",
    "127",
    "128",
    "129",
    "4294967295",
    "4294967296",
    "9007199254740992",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1e308",
    "1e400",
    "-0",
    "0.1",
    "1E2",
    "\"\"",
    "\"x\"",
    "\"1\"",
    "\"null\"",
    "\"{\\\"a\\\":1}\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"\\n\\r\"",
    "\"a\u{2028}é\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[{}]",
    "[\"a\",\"a\"]",
    "{\"a\":1,\"a\":2}",
    "{\"type\":\"text\"}",
    "{\"type\":\"text\",\"text\":\"\"}",
    "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.com/cat.png\"}}",
    "\"stop\"",
    "\"length\"",
    "\"tool_calls\"",
    "\"tool_use\"",
    "\"end_turn\"",
    "\"error\"",
    "{\"message\":\"x\",\"type\":\"y\"}",
];

/// Bytes that mean something to a framing.
const MARKS: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"data: ",
    b"data:",
    b"data",
    b"\ndata: ",
    b": x\n",
    b"event: error\n",
    b"data: [DONE]\n\n",
    b"[DONE]",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\x00",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\"",
    b"\\",
    b"\\u",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"error\":{\"message\":\"x\"},",
    b"\"usage\":null,",
    b"\"index\":1,",
    b"/",
    b"%2e%2e",
    b"%2F",
    b"@",
    b"?",
    b"#",
    b".",
    b"..",
];

/// Makes inputs out of a corpus.
pub(crate) struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    dice: Dice,
}

impl<'a> Mutator<'a> {
    /// The inputs that `dice` determines.
    pub(crate) fn new(corpus: &'a [Vec<u8>], dice: Dice) -> Self {
        Self { corpus, dice }
    }

    /// The next input: one of the corpus, changed once or several times.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.pick().to_vec();
        let most = if self.dice.once_in(4) { 12 } else { 3 };
        let times = 1 + self.dice.below(most);
        for _ in 0..times {
            self.change(&mut input);
        }
        input.truncate(LARGEST);
        input
    }

    fn pick(&mut self) -> &'a [u8] {
        self.dice.pick(self.corpus).map(Vec::as_slice).unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.dice.below(16) {
            0 => {
                let at = self.dice.below(input.len());
                let bit = 1 << self.dice.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let at = self.dice.below(input.len());
                let value = self.dice.roll().to_le_bytes()[0];
                if let Some(byte) = input.get_mut(at) {
                    *byte = value;
                }
            }
            2 => drop(input.drain(self.range(input.len()))),
            3 => {
                let range = self.range(input.len());
                let copy = input.get(range.clone()).unwrap_or_default().to_vec();
                insert(input, range.end, &copy);
            }
            4 => {
                let mark = self.dice.pick(MARKS).copied().unwrap_or_default();
                let at = self.dice.below(input.len() + 1);
                insert(input, at, mark);
            }
            // The beginning of one and the end of another.
            5 => {
                let (other, at) = (self.pick(), self.dice.below(input.len() + 1));
                let from = self.dice.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            // A part of another one.
            6 => {
                let other = self.pick();
                let part = other.get(self.range(other.len())).unwrap_or_default();
                let at = self.dice.below(input.len() + 1);
                insert(input, at, part);
            }
            // Lines twice, gone, or in another order.
            7 | 8 => self.lines(input),
            9 => input.truncate(self.dice.below(input.len() + 1)),
            10 => {
                let tokens = tokens(input, |token| matches!(token.first(), Some(b'0'..=b'9' | b'-')));
                self.replace(input, &tokens);
            }
            // A value of any kind for another, its own or one from elsewhere.
            11 | 12 => {
                let tokens = tokens(input, |_| true);
                self.replace(input, &tokens);
            }
            13 | 14 => self.transplant(input),
            _ => self.members(input),
        }
    }

    /// A range of up to a quarter of `length`, mostly of a few bytes.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.dice.below(length);
        let most = if self.dice.once_in(2) { 8 } else { length / 4 + 1 };
        start..(start + 1 + self.dice.below(most)).min(length)
    }

    fn lines(&mut self, input: &mut Vec<u8>) {
        let break_at: &[u8] = if input.windows(2).any(|pair| pair == b"\n\n") { b"\n\n" } else { b"\n" };
        let mut lines = split(input, break_at);
        let (one, other) = (self.dice.below(lines.len()), self.dice.below(lines.len()));
        match self.dice.below(3) {
            0 => drop(lines.remove(one)),
            1 => lines.swap(one, other),
            _ => {
                let from = self.pick();
                let theirs = split(from, break_at);
                let own = lines.get(one).cloned();
                let line = if self.dice.once_in(2) { own } else { self.dice.pick(&theirs).cloned() };
                lines.insert(other, line.unwrap_or_default());
            }
        }
        *input = lines.join(break_at);
    }

    fn replace(&mut self, input: &mut Vec<u8>, tokens: &[Range<usize>]) {
        let Some(token) = self.dice.pick(tokens).cloned() else { return };
        let value = self.dice.pick(VALUES).copied().unwrap_or_default();
        drop(input.splice(token, value.bytes()));
    }

    /// Puts a token of the corpus in the place of one.
    fn transplant(&mut self, input: &mut Vec<u8>) {
        let other = self.pick();
        let theirs = tokens(other, |_| true);
        let ours = tokens(input, |_| true);
        if let (Some(from), Some(to)) = (self.dice.pick(&theirs).cloned(), self.dice.pick(&ours).cloned()) {
            drop(input.splice(to, other.get(from).unwrap_or_default().iter().copied()));
        }
    }

    /// Repeats or removes a whole object or list.
    fn members(&mut self, input: &mut Vec<u8>) {
        let opens: Vec<usize> =
            input.iter().enumerate().filter(|(_, byte)| matches!(byte, b'{' | b'[')).map(|(at, _)| at).collect();
        let Some(start) = self.dice.pick(&opens).copied() else { return };
        let mut depth = 0_usize;
        let end = input.get(start..).unwrap_or_default().iter().position(|byte| {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        let Some(range) = end.map(|length| start..start + length + 1) else { return };
        let whole = input.get(range.clone()).unwrap_or_default().to_vec();
        match self.dice.below(3) {
            0 => insert(input, range.end, &[b",", &whole[..]].concat()),
            1 => drop(input.splice(range, b"null".iter().copied())),
            _ => drop(input.splice(range, [b"[", &whole[..], b"]"].concat())),
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if input.len() + bytes.len() <= LARGEST {
        let at = at.min(input.len());
        drop(input.splice(at..at, bytes.iter().copied()));
    }
}

fn split(bytes: &[u8], at: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(at.len()).position(|window| window == at) {
        let (line, tail) = rest.split_at(end);
        lines.push(line.to_vec());
        rest = tail.get(at.len()..).unwrap_or_default();
    }
    lines.push(rest.to_vec());
    lines
}

/// Strings, numbers and words of a text that is JSON somewhere.
fn tokens(bytes: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'"' => {
                while let Some(byte) = bytes.get(at) {
                    at += if *byte == b'\\' { 2 } else { 1 };
                    if *byte == b'"' {
                        break;
                    }
                }
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                while bytes
                    .get(at)
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-'))
                {
                    at += 1;
                }
            }
            _ => continue,
        }
        let token = start..at.min(bytes.len());
        if bytes.get(token.clone()).is_some_and(&wanted) {
            tokens.push(token);
        }
    }
    tokens
}
