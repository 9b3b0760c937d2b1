//! The simulated model: what it says, from what it was told, before any provider puts it on the wire.
//!
//! The last text of the user may hold lines that say what to do: `call:`, `say:`, `think:`, `redact:`, and `refuse:` at its start.

use serde_json::{Value, json};

use crate::{step::Step, text};

/// What the model is told, whatever the dialect.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    /// The text of the last turn, if it answers a call.
    pub(crate) tool_said: Option<String>,
    /// The last text of the user.
    pub(crate) user: String,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) choice: Choice<'a>,
    /// At most one call.
    pub(crate) single: bool,
    pub(crate) format: Format,
    pub(crate) stop: Vec<&'a str>,
    pub(crate) most: Option<usize>,
    /// Thinks without being told to by the user.
    pub(crate) thinks: bool,
}

#[derive(Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Value,
    /// Takes free text instead of JSON.
    pub(crate) custom: bool,
}

/// Which tools the model has to call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice<'a> {
    #[default]
    Auto,
    Never,
    Any,
    Named(&'a str),
}

/// The form of a text answer.
#[derive(Debug, Default)]
pub(crate) enum Format {
    #[default]
    Text,
    Object,
    Schema(Value),
}

/// What the model says.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) thinking: Option<String>,
    pub(crate) redacted: Option<String>,
    /// In the pieces that stand for tokens; nothing where only tools are called.
    pub(crate) text: Vec<String>,
    pub(crate) refusal: Option<Vec<String>>,
    pub(crate) calls: Vec<Called>,
    pub(crate) why: Why,
}

/// A call of a tool.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    /// 24 hexadecimal digits, for the provider's prefix to stand before.
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON text, or the free text for a custom tool.
    pub(crate) arguments: String,
    pub(crate) custom: bool,
}

/// Why the model ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    #[default]
    Done,
    /// At this stop sequence.
    Stop(String),
    Length,
    Calls,
    Refused,
}

impl Asked<'_> {
    /// The answer number `index` to the same question.
    pub(crate) fn said(&self, step: &Step, seed: u64, index: usize) -> Said {
        let script = if self.tool_said.is_some() || step.text.is_some() { "" } else { self.user.trim_start() };
        let told = |keyword: &str| script.lines().find_map(|line| line.trim().strip_prefix(keyword));
        let mut said = Said {
            thinking: told("think:").map(|text| text.trim().to_owned()),
            redacted: told("redact:").map(|text| text.trim().to_owned()),
            ..Said::default()
        };
        if said.thinking.is_none() && self.thinks {
            said.thinking = Some("The user wants an answer.".to_owned());
        }
        said.calls = self.called(script, seed, index);
        if !said.calls.is_empty() {
            said.why = Why::Calls;
            said.text = told("say:").map(|text| text::words(text.trim())).unwrap_or_default();
            return said;
        }
        if let Some(why) = script.strip_prefix("refuse:") {
            said.why = Why::Refused;
            said.refusal = Some(text::words(&format!("I can't help with that.{why}")));
            return said;
        }
        let mut spoken = match &step.text {
            Some(text) => text.clone(),
            None => self.formatted(match &self.tool_said {
                Some(tool) => format!("Hello from the simulated provider. The tool said: {tool}"),
                None => format!("Hello from the simulated provider. You said: {}", self.user),
            }),
        };
        if index > 0 {
            spoken.push_str(&format!(" (choice {})", index + 1));
        }
        (said.text, said.why) = limited(&spoken, &self.stop, self.most);
        said
    }

    fn formatted(&self, said: String) -> String {
        match &self.format {
            Format::Text => said,
            Format::Object => json!({"reply": said}).to_string(),
            Format::Schema(schema) => text::sample(schema, &said).to_string(),
        }
    }

    /// The calls that the request forces or that the user's lines ask for.
    fn called(&self, script: &str, seed: u64, index: usize) -> Vec<Called> {
        let asked: Vec<&str> = script.lines().filter_map(|line| line.trim().strip_prefix("call:")).collect();
        let asked = match self.choice {
            Choice::Never => Vec::new(),
            Choice::Named(name) => {
                vec![asked.first().copied().filter(|line| line.trim().starts_with(name)).unwrap_or(name)]
            }
            Choice::Any if asked.is_empty() => vec![""],
            Choice::Any | Choice::Auto => asked,
        };
        let most = if self.single { 1 } else { asked.len() };
        let calls = asked.iter().take(most).enumerate();
        calls.filter_map(|(at, line)| self.one_call(line.trim(), seed, index * 128 + at)).collect()
    }

    /// A line is `name`, `name {"argument": 1}` or nothing; what it leaves out comes from the tool's schema.
    fn one_call(&self, line: &str, seed: u64, number: usize) -> Option<Called> {
        let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let tool = match name {
            "" => self.tools.first(),
            _ => self.tools.iter().find(|tool| tool.name == name),
        };
        let tool = tool?;
        let arguments = match arguments.trim() {
            "" if tool.custom => "sample".to_owned(),
            "" => text::sample(tool.schema, "sample").to_string(),
            given => given.to_owned(),
        };
        let id = format!("{:016x}{number:08x}", text::hash(&seed.to_be_bytes()));
        Some(Called { id, name: tool.name.to_owned(), arguments, custom: tool.custom })
    }
}

impl Said {
    /// The number of tokens said, thinking not counted.
    pub(crate) fn tokens(&self) -> u64 {
        let words = self.refusal.as_ref().unwrap_or(&self.text).len();
        let words = if self.calls.is_empty() { words.max(1) } else { words };
        let calls = self.calls.iter().map(|call| 5 + text::tokens(&call.arguments)).sum::<u64>();
        u64::try_from(words).unwrap_or_default() + calls
    }

    pub(crate) fn thinking_tokens(&self) -> u64 {
        self.thinking.as_deref().map_or(0, text::tokens)
    }
}

impl Called {
    /// The arguments as an object; a line of the user may have given something else.
    pub(crate) fn input(&self) -> Value {
        serde_json::from_str(&self.arguments).ok().filter(Value::is_object).unwrap_or_else(|| json!({}))
    }
}

/// Cuts a text at a stop sequence and after `most` tokens; with the reason for its end.
pub(crate) fn limited(said: &str, stops: &[&str], most: Option<usize>) -> (Vec<String>, Why) {
    let found = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| Some((said.find(stop)?, *stop)));
    let end = found.min_by_key(|(at, _)| *at);
    let mut words = text::words(said.get(..end.map_or(said.len(), |(at, _)| at)).unwrap_or(said));
    match most {
        Some(most) if words.len() > most => {
            words.truncate(most);
            (words, Why::Length)
        }
        _ => (words, end.map_or(Why::Done, |(_, stop)| Why::Stop(stop.to_owned()))),
    }
}
