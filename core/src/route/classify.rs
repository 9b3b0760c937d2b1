//! What the outcome of a call means: one table for retries, breaker and cooldown.

use crate::error::{ErrorCode, Failure};

/// The classes of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A whole answer, or a stream with its end.
    Success,
    /// The request is at fault: the same everywhere.
    Request,
    /// This target cannot take the request; nothing was called.
    Incapable,
    /// The provider does not know the model.
    NotFound,
    /// The provider refuses the credential, or there is none that can be used.
    Credential,
    /// The account has nothing left.
    Quota,
    /// Too many calls.
    RateLimited,
    /// Too many calls of everybody.
    Overloaded,
    /// The target failed before any content.
    Failed,
    /// The target answered something that its API does not have; nobody else is asked.
    Broken,
    /// A stream broke after content was passed on.
    Cut,
    /// The client left.
    Cancelled,
    /// A dependency of our own failed.
    Ours,
}

/// What a failure means.
pub(crate) fn class_of(failure: &Failure) -> Class {
    failure.class.unwrap_or_else(|| by_code(failure.code))
}

fn by_code(code: ErrorCode) -> Class {
    match code {
        ErrorCode::UpstreamRejected | ErrorCode::ContextLengthExceeded => Class::Request,
        ErrorCode::UnsupportedParameter
        | ErrorCode::UnsupportedValue
        | ErrorCode::UnsupportedContent
        | ErrorCode::UnsupportedEndpoint => Class::Incapable,
        ErrorCode::ModelNotFound => Class::NotFound,
        ErrorCode::UpstreamAuthFailed => Class::Credential,
        ErrorCode::InsufficientQuota => Class::Quota,
        ErrorCode::UpstreamRateLimited => Class::RateLimited,
        ErrorCode::UpstreamOverloaded => Class::Overloaded,
        ErrorCode::UpstreamError
        | ErrorCode::UpstreamAuthUnavailable
        | ErrorCode::UpstreamUnreachable
        | ErrorCode::UpstreamDisconnected
        | ErrorCode::UpstreamIncomplete
        | ErrorCode::UpstreamTimeout => Class::Failed,
        ErrorCode::UpstreamRedirect | ErrorCode::UpstreamProtocol | ErrorCode::UpstreamTooLarge => Class::Broken,
        ErrorCode::StoreUnavailable | ErrorCode::SecretsUnavailable => Class::Ours,
        _ => Class::Request,
    }
}

impl Class {
    /// Whether another target may be asked.
    pub(crate) const fn elsewhere(self) -> bool {
        match self {
            Self::Incapable
            | Self::NotFound
            | Self::Credential
            | Self::Quota
            | Self::RateLimited
            | Self::Overloaded
            | Self::Failed
            | Self::Ours => true,
            Self::Success | Self::Request | Self::Broken | Self::Cut | Self::Cancelled => false,
        }
    }

    /// Whether the same target may be asked once more, if there is no other.
    pub(crate) const fn again(self) -> bool {
        matches!(self, Self::Failed)
    }

    /// What it means for the breaker: a failure's weight, or `None` if it says nothing of the target's health.
    pub(crate) const fn failure(self) -> Option<f64> {
        match self {
            Self::Success => Some(0.0),
            Self::Failed | Self::Broken | Self::Cut => Some(1.0),
            Self::Overloaded => Some(0.5),
            Self::Request
            | Self::Incapable
            | Self::NotFound
            | Self::Credential
            | Self::Quota
            | Self::RateLimited
            | Self::Cancelled
            | Self::Ours => None,
        }
    }
}
