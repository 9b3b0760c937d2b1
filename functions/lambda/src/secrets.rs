//! AWS Secrets Manager of the function's own account.

use std::sync::Arc;

use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::create_secret::CreateSecretError;
use aws_sdk_secretsmanager::operation::delete_secret::DeleteSecretError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use gateway_core::ports::{Fault, PortError, SecretManager, SecretVersion};
use gateway_core::secret::Secret;

use crate::account::Account;
use crate::fault::Failed;

/// The secrets manager as core uses it. Retrying is core's.
#[derive(Clone, Debug)]
pub struct AccountSecrets {
    account: Arc<Account>,
}

impl AccountSecrets {
    /// The secrets of `account`.
    pub fn new(account: Arc<Account>) -> Self {
        Self { account }
    }
}

impl SecretManager for AccountSecrets {
    async fn put(&self, name: &str, version: &str, value: &Secret) -> Result<(), PortError> {
        const OPERATION: &str = "manager.put";
        let client = self.account.secrets();
        let create = client.create_secret().name(name).client_request_token(version).secret_string(value.open());
        match create.send().await {
            Ok(_) => return Ok(()),
            Err(SdkError::ServiceError(answer))
                if matches!(answer.err(), CreateSecretError::ResourceExistsException(_)) => {}
            Err(error) => return Err(Failed::of(&error).into_error(OPERATION)),
        }
        // The token makes this harmless where the creation had worked and only its answer was lost.
        let put = client.put_secret_value().secret_id(name).client_request_token(version).secret_string(value.open());
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failed::of(&error).into_error(OPERATION)),
        }
    }

    async fn read(&self, name: &str) -> Result<SecretVersion, PortError> {
        const OPERATION: &str = "manager.read";
        let answer = match self.account.secrets().get_secret_value().secret_id(name).send().await {
            Ok(answer) => answer,
            // A secret that is scheduled for deletion is an invalid request, not a missing resource.
            Err(SdkError::ServiceError(answer))
                if matches!(answer.err(), GetSecretValueError::InvalidRequestException(_)) =>
            {
                return Err(PortError::new(OPERATION, Fault::Missing, "InvalidRequestException"));
            }
            Err(error) => return Err(Failed::of(&error).into_error(OPERATION)),
        };
        let Some(value) = answer.secret_string else {
            return Err(PortError::new(OPERATION, Fault::Corrupt, "no_string"));
        };
        Ok(SecretVersion { version: answer.version_id.unwrap_or_default(), value: Secret::new(value) })
    }

    async fn delete(&self, name: &str) -> Result<(), PortError> {
        let delete = self.account.secrets().delete_secret().secret_id(name).recovery_window_in_days(RECOVERY_DAYS);
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(answer))
                if matches!(
                    answer.err(),
                    DeleteSecretError::ResourceNotFoundException(_) | DeleteSecretError::InvalidRequestException(_)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(Failed::of(&error).into_error("manager.delete")),
        }
    }
}

/// The shortest that AWS offers; names are never used again, so it blocks nothing.
const RECOVERY_DAYS: i64 = 7;
