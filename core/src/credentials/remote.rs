//! Calls to the secrets managers that the operator configured, over egress. What is said to them is for
//! [`crate::secret::manager`] to write and to read.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use crate::egress::{self, Departure, url};
use crate::error::{ErrorCode, Failure};
use crate::gateway::Gateway;
use crate::limits;
use crate::model::TenantId;
use crate::ports::{Fault, Platform, PortError, SecretManager};
use crate::secret::Secret;
use crate::secret::manager::aws::{self, Action, KeyPair};
use crate::secret::manager::{Named, Service, ibm};
use crate::token;

const PUT: &str = "manager.put";
const READ: &str = "manager.read";
const DELETE: &str = "manager.delete";

/// One configured manager within a request.
pub(super) struct Remote<'a, P> {
    pub(super) gateway: &'a Gateway,
    pub(super) platform: &'a P,
    pub(super) named: &'a Named,
}

/// Between two tries, in milliseconds: with jitter, so that isolates do not come back together.
pub(super) fn pause_ms(platform: &impl Platform) -> u64 {
    let mut random = [0_u8; 1];
    platform.fill_random(&mut random);
    100 + u64::from(random[0])
}

impl<P: Platform> Remote<'_, P> {
    /// Keeps a new secret, tried once more on a passing fault; the manager's own id of it, if that is not its name.
    pub(super) async fn put(&self, name: &str, version: &str, value: &Secret) -> Result<Option<String>, PortError> {
        let mut put = self.try_put(name, version, value).await;
        if put.as_ref().is_err_and(PortError::retryable) {
            self.platform.timer(pause_ms(self.platform)).await;
            put = self.try_put(name, version, value).await;
        }
        put
    }

    async fn try_put(&self, name: &str, version: &str, value: &Secret) -> Result<Option<String>, PortError> {
        match &self.named.service {
            Service::Role => self.platform.manager().put(name, version, value).await.map(|()| None),
            Service::Aws(pair) => {
                let created = self.aws(PUT, pair, Action::Create, name, Some((version, value))).await;
                match created {
                    // Names are new each time, so this is an earlier try whose answer was lost. The version makes it
                    // harmless to put the same value once more.
                    Err(error) if error.code == aws::EXISTS => {
                        self.aws(PUT, pair, Action::Put, name, Some((version, value))).await.map(|_| None)
                    }
                    created => created.map(|_| None),
                }
            }
            Service::Ibm { group, .. } => {
                let body = ibm::creation(group, name, value).ok_or_else(|| corrupt(PUT))?;
                let (status, answer) = self.ibm(PUT, Method::POST, ibm::SECRETS, Some(body)).await?;
                match status {
                    StatusCode::CREATED | StatusCode::OK => {
                        Ok(Some(ibm::secret(&answer).ok_or_else(|| corrupt(PUT))?.id))
                    }
                    // As above: an earlier try had worked.
                    StatusCode::CONFLICT => {
                        let found = self.search(PUT, group, name).await?;
                        found.map(Some).ok_or_else(|| PortError::new(PUT, Fault::Corrupt, "conflict"))
                    }
                    status => Err(refused(PUT, status)),
                }
            }
        }
    }

    /// The current value of a secret: by its name or ARN, or by its id at IBM Cloud, where it must bear a name of this
    /// tenant's.
    pub(super) async fn read(&self, tenant: TenantId, place: &str) -> Result<Secret, PortError> {
        match &self.named.service {
            Service::Role => self.platform.manager().read(place).await.map(|version| version.value),
            Service::Aws(pair) => {
                let answer = self.aws(READ, pair, Action::Read, place, None).await?;
                aws::value(&answer).ok_or_else(|| corrupt(READ))
            }
            Service::Ibm { group, .. } => {
                let by_name = place.starts_with(self.named.stem(tenant).as_str());
                let id = match by_name {
                    true => self.search(READ, group, place).await?.ok_or_else(|| missing(READ))?,
                    false => place.to_owned(),
                };
                let (status, answer) = self.ibm(READ, Method::GET, &ibm::secret_path(&id), None).await?;
                if status != StatusCode::OK {
                    return Err(refused(READ, status));
                }
                let found = ibm::secret(&answer).ok_or_else(|| corrupt(READ))?;
                if !found.name.starts_with(self.named.stem(tenant).as_str()) {
                    return Err(PortError::new(READ, Fault::Missing, "not_this_tenants"));
                }
                // Expired and destroyed ones have no value.
                found.value.ok_or_else(|| missing(READ))
            }
        }
    }

    /// Deletes a secret of ours; nothing happens if there is none.
    pub(super) async fn delete(&self, name: &str, place: Option<&str>) -> Result<(), PortError> {
        let done = match &self.named.service {
            Service::Role => self.platform.manager().delete(name).await,
            Service::Aws(pair) => self.aws(DELETE, pair, Action::Delete, name, None).await.map(drop),
            Service::Ibm { group, .. } => {
                let id = match place {
                    Some(id) => Some(id.to_owned()),
                    None => self.search(DELETE, group, name).await?,
                };
                let Some(id) = id else { return Ok(()) };
                match self.ibm(DELETE, Method::DELETE, &ibm::secret_path(&id), None).await? {
                    (status, _) if status.is_success() => Ok(()),
                    (status, _) => Err(refused(DELETE, status)),
                }
            }
        };
        match done {
            Err(error) if error.fault == Fault::Missing => Ok(()),
            done => done,
        }
    }

    async fn search(&self, operation: &'static str, group: &str, name: &str) -> Result<Option<String>, PortError> {
        let (status, answer) = self.ibm(operation, Method::GET, &ibm::search_path(group, name), None).await?;
        if status != StatusCode::OK {
            return Err(refused(operation, status));
        }
        ibm::id_of(&answer, name).ok_or_else(|| corrupt(operation))
    }

    async fn aws(
        &self,
        operation: &'static str,
        pair: &KeyPair,
        action: Action,
        name: &str,
        value: Option<(&str, &Secret)>,
    ) -> Result<Bytes, PortError> {
        let misfit = || PortError::new(operation, Fault::Corrupt, "request");
        let uri = url::join(&self.named.address, "/").map_err(|_| misfit())?;
        let body = aws::body(action, name, value);
        let region = self.named.region.as_deref().unwrap_or_default();
        let headers = aws::headers(pair, region, action, &uri, &body, self.platform.now_ms()).ok_or_else(misfit)?;
        let private_allowed = self.named.address.private_allowed();
        let departure = Departure { method: Method::POST, uri: &uri, private_allowed, headers, body: Some(body) };
        let (status, answer) = self.send(operation, departure).await?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let (fault, code) = aws::fault(status, &answer);
        Err(PortError::new(operation, fault, code))
    }

    /// A call with a token; with another one if the first is not taken.
    async fn ibm(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), PortError> {
        let Service::Ibm { iam, apikey, .. } = &self.named.service else { return Err(corrupt(operation)) };
        let deadline_ms = self.platform.now_ms() + limits::MANAGER_MS;
        let failed = |failure: Failure| no_token(operation, &failure);
        let bearer = token::of_key(self.gateway, self.platform, iam, apikey, deadline_ms).await.map_err(failed)?;
        let answer = self.with_token(operation, &method, path, body.clone(), &bearer).await?;
        if answer.0 != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let deadline_ms = self.platform.now_ms() + limits::MANAGER_MS;
        let other = token::another_of_key(self.gateway, self.platform, iam, apikey, &bearer, deadline_ms).await;
        match other.map_err(failed)? {
            Some(bearer) => self.with_token(operation, &method, path, body, &bearer).await,
            None => Ok(answer),
        }
    }

    async fn with_token(
        &self,
        operation: &'static str,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        bearer: &Secret,
    ) -> Result<(StatusCode, Bytes), PortError> {
        let misfit = || PortError::new(operation, Fault::Corrupt, "request");
        let uri = url::join(&self.named.address, path).map_err(|_| misfit())?;
        let mut headers = HeaderMap::new();
        let mut value = HeaderValue::try_from(format!("Bearer {}", bearer.open())).map_err(|_| misfit())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let private_allowed = self.named.address.private_allowed();
        self.send(operation, Departure { method: method.clone(), uri: &uri, private_allowed, headers, body }).await
    }

    async fn send(&self, operation: &'static str, departure: Departure<'_>) -> Result<(StatusCode, Bytes), PortError> {
        let failed = |failure: Failure| {
            PortError::new(operation, Fault::Unavailable, failure.cause.unwrap_or_else(|| "egress".to_owned()))
        };
        let deadline_ms = self.platform.now_ms() + limits::MANAGER_MS;
        let response = egress::send(self.platform, departure, deadline_ms).await.map_err(failed)?;
        let (head, mut body) = response.into_parts();
        let read = egress::read_all(self.platform, &mut body, limits::MANAGER_ANSWER_BYTES, deadline_ms).await;
        match read {
            Ok(bytes) => Ok((head.status, bytes)),
            // A status that is no success counts, whatever became of its body.
            Err(_) if !head.status.is_success() => Ok((head.status, Bytes::new())),
            Err(failure) => Err(failed(failure)),
        }
    }
}

fn refused(operation: &'static str, status: StatusCode) -> PortError {
    PortError::new(operation, ibm::fault(status), format!("status_{}", status.as_u16()))
}

fn corrupt(operation: &'static str) -> PortError {
    PortError::new(operation, Fault::Corrupt, "answer")
}

fn missing(operation: &'static str) -> PortError {
    PortError::new(operation, Fault::Missing, "none")
}

fn no_token(operation: &'static str, failure: &Failure) -> PortError {
    let fault = match failure.code {
        ErrorCode::UpstreamAuthFailed => Fault::Denied,
        _ => Fault::Unavailable,
    };
    PortError::new(operation, fault, failure.cause.as_deref().unwrap_or("no_token"))
}
