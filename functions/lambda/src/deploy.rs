//! The deployment's configuration: from the environment, and what is missing there from one secret.
//!
//! Read when the first event needs it, never in the init phase. A failure is an answer to that event and is tried again
//! with the next.

use gateway_core::ports::{PortError, SecretManager};
use gateway_core::{DefaultManager, Deployment, DeploymentError};
use serde_json::{Map, Value};

use crate::secrets::AccountSecrets;

/// Why there is no configuration yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The secret cannot be read.
    #[error("the secret of GATEWAY_SECRET_ARN: {0}")]
    Secret(#[from] PortError),
    /// The secret is something else.
    #[error("the secret of GATEWAY_SECRET_ARN must be a JSON object of strings")]
    Shape,
    /// A value is missing or wrong.
    #[error("{0}")]
    Deployment(#[from] DeploymentError),
}

/// Reads the configuration.
pub(crate) async fn read(
    secrets: &AccountSecrets,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Deployment, ConfigError> {
    let given = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let kept = match given("GATEWAY_SECRET_ARN") {
        None => Map::new(),
        Some(arn) => members(secrets.read(&arn).await?.value.open())?,
    };
    let deployment = Deployment::read(|name| given(name).or_else(|| text(&kept, name)), DefaultManager::Aws)?;
    Ok(deployment)
}

fn members(secret: &str) -> Result<Map<String, Value>, ConfigError> {
    let members: Map<String, Value> = serde_json::from_str(secret).map_err(|_| ConfigError::Shape)?;
    if members.values().all(Value::is_string) { Ok(members) } else { Err(ConfigError::Shape) }
}

fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    members.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_an_object_of_strings() {
        let read = members(r#"{"GATEWAY_ADMIN_KEY": "a"}"#).unwrap();
        assert_eq!((text(&read, "GATEWAY_ADMIN_KEY"), text(&read, "OTHER")), (Some("a".to_owned()), None));
        for wrong in ["", "canary", "[]", "null", r#"{"GATEWAY_ADMIN_KEY": 1}"#] {
            let error = members(wrong).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
