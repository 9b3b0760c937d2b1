//! What the operator configured: read once from the environment's names and values, wrong values refused at start.

use crate::account::{Book, Books};
use crate::auth::BearerKeys;
use crate::egress::url::AllowedOrigins;
use crate::limits;
use crate::model::Manager;
use crate::secret::manager::{Managers, Surroundings};
use crate::secret::{Secret, seal::SealingKeys};

/// Which manager a tenant gets that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultManager {
    /// Sealed in our own store: Worker and local.
    Builtin,
    /// AWS Secrets Manager of the function's own account.
    Aws,
}

/// The operator's configuration.
pub struct Deployment {
    pub(crate) bearers: BearerKeys,
    pub(crate) sealing: SealingKeys,
    pub(crate) allowed: AllowedOrigins,
    pub(crate) cors: Vec<String>,
    pub(crate) manager: DefaultManager,
    pub(crate) managers: Managers,
    pub(crate) prefix: String,
    pub(crate) timeouts: Timeouts,
    /// Calls go on while the buckets of rate limits cannot be reached.
    pub(crate) limits_open: bool,
    pub(crate) books: Books,
}

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// To a stream's first content.
    pub first_content_ms: u64,
    /// To the end of an answer that is not streamed.
    pub answer_ms: u64,
    /// Between two events of a stream.
    pub idle_ms: u64,
    /// In all.
    pub total_ms: u64,
    /// Silence after which a comment is sent.
    pub keep_alive_ms: u64,
    /// Holding back a stream without content, if no other target could take over.
    pub hold_back_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_content_ms: limits::FIRST_CONTENT_MS,
            answer_ms: limits::WHOLE_ANSWER_MS,
            idle_ms: limits::IDLE_MS,
            total_ms: limits::TOTAL_MS,
            keep_alive_ms: limits::KEEP_ALIVE_MS,
            hold_back_ms: limits::HOLD_BACK_MS,
        }
    }
}

/// What is wrong with the configuration. Names the variable, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {advice}")]
pub struct DeploymentError {
    /// The variable at fault.
    pub variable: &'static str,
    /// What it must be.
    pub advice: String,
}

impl Deployment {
    /// Reads the configuration through `lookup`, which answers a variable's or secret's value by name.
    pub fn read(lookup: impl Fn(&str) -> Option<String>, manager: DefaultManager) -> Result<Self, DeploymentError> {
        let fault = |variable: &'static str, advice: &str| DeploymentError { variable, advice: advice.to_owned() };
        let text = |name: &str| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());

        let mut operator = Vec::new();
        for name in ["GATEWAY_ADMIN_KEY", "GATEWAY_ADMIN_KEY_NEXT"] {
            let Some(key) = text(name) else { continue };
            if key.len() < 32 || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                return Err(fault(name, "must have 32 or more characters out of A-Z a-z 0-9 . _ -"));
            }
            operator.push(Secret::new(key));
        }
        if operator.is_empty() {
            return Err(fault("GATEWAY_ADMIN_KEY", "must be set: it is the operator's key, 32 or more characters"));
        }
        let sealing_text = text("GATEWAY_SEALING_KEY")
            .ok_or_else(|| fault("GATEWAY_SEALING_KEY", "must be set: base64 of 32 random bytes"))?;
        let sealing =
            SealingKeys::parse(&sealing_text, text("GATEWAY_SEALING_KEY_PREVIOUS").as_deref()).map_err(|_| {
                fault("GATEWAY_SEALING_KEY", "(and GATEWAY_SEALING_KEY_PREVIOUS) must be base64 of 32 bytes")
            })?;
        let allowed = AllowedOrigins::parse(&text("EGRESS_ALLOW_ORIGINS").unwrap_or_default())
            .map_err(|which| fault("EGRESS_ALLOW_ORIGINS", &format!("must be space-separated origins: {which}")))?;
        let book = match text("GATEWAY_PRICES") {
            None => None,
            Some(book) => {
                let wrong = || fault("GATEWAY_PRICES", "must be a price book: {\"version\": \"…\", \"rows\": […]}");
                Some(Book::read(&book).ok_or_else(wrong)?)
            }
        };
        let timeouts = Timeouts {
            first_content_ms: ms(&text, "GATEWAY_FIRST_CONTENT_TIMEOUT_MS", limits::FIRST_CONTENT_MS)?,
            answer_ms: ms(&text, "GATEWAY_ANSWER_TIMEOUT_MS", limits::WHOLE_ANSWER_MS)?,
            idle_ms: ms(&text, "GATEWAY_IDLE_TIMEOUT_MS", limits::IDLE_MS)?,
            total_ms: ms(&text, "GATEWAY_TOTAL_TIMEOUT_MS", limits::TOTAL_MS)?,
            keep_alive_ms: ms(&text, "GATEWAY_KEEP_ALIVE_MS", limits::KEEP_ALIVE_MS)?,
            hold_back_ms: ms(&text, "GATEWAY_HOLD_BACK_MS", limits::HOLD_BACK_MS)?,
        };
        let limits_open = match text("GATEWAY_RATE_LIMIT_FAILURE").as_deref() {
            None | Some("closed") => false,
            Some("open") => true,
            Some(_) => return Err(fault("GATEWAY_RATE_LIMIT_FAILURE", "must be closed or open")),
        };
        let prefix = text("GATEWAY_SECRET_PREFIX").unwrap_or_else(|| "model-gateway".to_owned());
        if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b)) || prefix.len() > 64 {
            return Err(fault("GATEWAY_SECRET_PREFIX", "must be at most 64 letters, digits and the characters / _ -"));
        }
        let role_region = match manager {
            DefaultManager::Builtin => None,
            DefaultManager::Aws => text("AWS_REGION"),
        };
        let surroundings = Surroundings { role_region: role_region.as_deref(), prefix: &prefix };
        let list = text("SECRETS_MANAGERS").unwrap_or_else(|| "[]".to_owned());
        let managers =
            Managers::parse(&list, surroundings, &lookup).map_err(|what| fault("SECRETS_MANAGERS", &what))?;
        Ok(Self {
            bearers: BearerKeys::new(&operator, sealing.derive("bearer tag")),
            sealing,
            allowed,
            cors: text("CORS_ALLOW_ORIGINS").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            manager,
            managers,
            prefix,
            timeouts,
            limits_open,
            books: Books::new(book),
        })
    }

    /// The manager of a tenant that names none.
    pub(crate) fn default_manager(&self) -> Manager {
        match self.manager {
            DefaultManager::Builtin => Manager::builtin(),
            DefaultManager::Aws => Manager::account(),
        }
    }
}

fn ms(text: &impl Fn(&str) -> Option<String>, variable: &'static str, otherwise: u64) -> Result<u64, DeploymentError> {
    match text(variable) {
        None => Ok(otherwise),
        Some(value) => value
            .parse()
            .ok()
            .filter(|ms| (1..=86_400_000).contains(ms))
            .ok_or_else(|| DeploymentError { variable, advice: "must be milliseconds, 1 to 86400000".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: (&str, &str) = ("GATEWAY_ADMIN_KEY", "0123456789abcdef0123456789abcdef");
    const SEALING: (&str, &str) = ("GATEWAY_SEALING_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");

    fn read(pairs: &[(&str, &str)]) -> Result<Deployment, DeploymentError> {
        let lookup = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Deployment::read(lookup, DefaultManager::Builtin)
    }

    #[test]
    fn two_keys_are_enough() {
        assert_eq!(read(&[ADMIN, SEALING]).map(|d| d.timeouts), Ok(Timeouts::default()));
    }

    #[test]
    fn wrong_values_are_named_and_not_shown() {
        for (pairs, variable) in [
            (vec![SEALING], "GATEWAY_ADMIN_KEY"),
            (vec![ADMIN], "GATEWAY_SEALING_KEY"),
            (vec![("GATEWAY_ADMIN_KEY", "canary"), SEALING], "GATEWAY_ADMIN_KEY"),
            (vec![("GATEWAY_ADMIN_KEY", "canary canary canary canary canary"), SEALING], "GATEWAY_ADMIN_KEY"),
            (vec![ADMIN, ("GATEWAY_ADMIN_KEY_NEXT", "canary"), SEALING], "GATEWAY_ADMIN_KEY_NEXT"),
            (vec![ADMIN, ("GATEWAY_SEALING_KEY", "canary")], "GATEWAY_SEALING_KEY"),
            (vec![ADMIN, SEALING, ("EGRESS_ALLOW_ORIGINS", "canary")], "EGRESS_ALLOW_ORIGINS"),
            (vec![ADMIN, SEALING, ("GATEWAY_IDLE_TIMEOUT_MS", "canary")], "GATEWAY_IDLE_TIMEOUT_MS"),
            (vec![ADMIN, SEALING, ("GATEWAY_IDLE_TIMEOUT_MS", "0")], "GATEWAY_IDLE_TIMEOUT_MS"),
            (vec![ADMIN, SEALING, ("GATEWAY_RATE_LIMIT_FAILURE", "canary")], "GATEWAY_RATE_LIMIT_FAILURE"),
            (vec![ADMIN, SEALING, ("GATEWAY_SECRET_PREFIX", "canary*")], "GATEWAY_SECRET_PREFIX"),
            (vec![ADMIN, SEALING, ("SECRETS_MANAGERS", "canary")], "SECRETS_MANAGERS"),
            (vec![ADMIN, SEALING, ("GATEWAY_PRICES", "canary")], "GATEWAY_PRICES"),
            (vec![ADMIN, SEALING, ("GATEWAY_PRICES", r#"{"version":"canary","rows":[{}]}"#)], "GATEWAY_PRICES"),
        ] {
            let error = read(&pairs).err().unwrap();
            assert_eq!(error.variable, variable);
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
