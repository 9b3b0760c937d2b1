//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What the command line asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The state directory.
    pub state: PathBuf,
    /// Whether to add a simulated provider and a provisioned tenant.
    pub demo: bool,
}

/// A command line that starts nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// Something that is no option; what is wrong with it.
    Wrong(String),
}

impl Options {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Usage> {
        let (mut listen, mut state, mut demo) = (None, None, false);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, attached) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (argument, None),
            };
            let mut value = || {
                let given = attached.clone().or_else(|| arguments.next()).filter(|value| !value.is_empty());
                given.ok_or_else(|| Usage::Wrong(format!("{name} needs a value")))
            };
            match name.as_str() {
                "--help" | "-h" => return Err(Usage::Help),
                "--version" | "-V" => return Err(Usage::Version),
                "--listen" => listen = Some(address(&value()?)?),
                "--port" => listen = Some(SocketAddr::from(([127, 0, 0, 1], port(&value()?)?))),
                "--state" => state = Some(PathBuf::from(value()?)),
                "--demo" if attached.is_none() => demo = true,
                _ => return Err(Usage::Wrong(format!("unknown option {name}"))),
            }
        }
        let default_state = if demo { ".gateway/demo" } else { ".gateway" };
        Ok(Self {
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT))),
            state: state.unwrap_or_else(|| PathBuf::from(default_state)),
            demo,
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, Usage> {
    let wrong = || Usage::Wrong(format!("--listen takes an address and a port like 127.0.0.1:8787, not {text}"));
    text.parse().map_err(|_| wrong())
}

fn port(text: &str) -> Result<u16, Usage> {
    text.parse().map_err(|_| Usage::Wrong(format!("--port takes a number from 0 to 65535, not {text}")))
}

/// What `--help` prints.
pub const HELP: &str = "\
Model Gateway: one OpenAI-compatible API in front of many model providers.

    local [OPTIONS]

    --port N          listen on 127.0.0.1:N (default 8787; 0 takes a free port)
    --listen ADDR     listen on another address, for instance 0.0.0.0:8787
    --state DIR       where tenants, keys and sealed credentials are kept (default ./.gateway)
    --demo            add a simulated provider and a tenant, so that a chat completion works
                      without an account anywhere (state in ./.gateway/demo)
    --help            this text
    --version         the version

Environment (all optional):
    GATEWAY_ADMIN_KEY      the operator's key: 32 or more characters out of A-Z a-z 0-9 . _ -
                           (else made once and kept in DIR/admin-key)
    GATEWAY_SEALING_KEY    seals provider credentials: base64 of 32 random bytes
                           (else made once and kept in DIR/sealing-key)
    EGRESS_ALLOW_ORIGINS   space-separated origins that providers may have though they are plain
                           http or not public, for instance http://127.0.0.1:11434
    CORS_ALLOW_ORIGINS     space-separated origins of browser applications
    SECRETS_MANAGERS       secrets managers that tenants may name (infra/secrets-managers.md)
    GATEWAY_MAX_CONCURRENT requests answered at once (default 4000); more get 503
    RUST_LOG               off, error, warn, info (default) or debug
";

const DEFAULT_PORT: u16 = 8787;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Usage> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    fn options(listen: &str, state: &str, demo: bool) -> Result<Options, Usage> {
        Ok(Options { listen: listen.parse().unwrap(), state: state.into(), demo })
    }

    #[test]
    fn options_are_read_in_any_order() {
        assert_eq!(parse(""), options("127.0.0.1:8787", ".gateway", false));
        assert_eq!(parse("--demo"), options("127.0.0.1:8787", ".gateway/demo", true));
        assert_eq!(parse("--state x --port 9 --demo"), options("127.0.0.1:9", "x", true));
        assert_eq!(parse("--listen=[::1]:80 --state=y"), options("[::1]:80", "y", false));
    }

    #[test]
    fn what_is_no_option_is_named() {
        assert_eq!(parse("--port 9 --help"), Err(Usage::Help));
        for line in ["--port", "--port=", "--port 70000", "--listen localhost", "--demo=1", "--nope", "x"] {
            assert!(matches!(parse(line), Err(Usage::Wrong(_))), "{line}");
        }
    }
}
