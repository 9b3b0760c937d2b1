//! Command lines of the form `--name value ... -- the rest`.

use std::str::FromStr;

use crate::Outcome;

/// What was given; names that a part does not know are refused.
#[derive(Debug)]
pub(crate) struct Arguments {
    named: Vec<(String, String)>,
    /// Everything after `--`.
    pub(crate) rest: Vec<String>,
}

impl Arguments {
    pub(crate) fn read(given: Vec<String>, known: &[&str]) -> Outcome<Self> {
        let mut given = given.into_iter();
        let mut named = Vec::new();
        while let Some(argument) = given.next() {
            if argument == "--" {
                break;
            }
            let name = argument.strip_prefix("--").filter(|name| known.contains(name));
            let name = name.ok_or_else(|| format!("unknown option {argument}"))?;
            let value = given.next().ok_or_else(|| format!("--{name} needs a value"))?;
            named.push((name.to_owned(), value));
        }
        Ok(Self { named, rest: given.collect() })
    }

    /// The last value given for `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.named.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn needed(&self, name: &str) -> Outcome<&str> {
        Ok(self.text(name).ok_or_else(|| format!("--{name} is missing"))?)
    }

    pub(crate) fn parsed<T: FromStr>(&self, name: &str, default: T) -> Outcome<T> {
        match self.text(name) {
            Some(value) => Ok(value.parse().map_err(|_| format!("--{name} cannot be {value}"))?),
            None => Ok(default),
        }
    }
}
