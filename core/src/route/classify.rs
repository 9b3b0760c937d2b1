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
    /// The target failed before any content, in a way that may pass: connections, statuses, broken answers.
    Failed,
    /// The target failed before any content, and would again: too slow, or not the provider's API at all.
    Unfit,
    /// The target answered what its API does not have; a repeat is no use, and no one else is asked.
    Broken,
    /// A stream broke after content was passed on.
    Cut,
    /// The client left.
    Cancelled,
    /// A dependency of our own failed; nothing was called.
    Ours,
}

/// What a failure before any content means.
pub(crate) fn class_of(failure: &Failure) -> Class {
    failure.class.unwrap_or_else(|| by_code(failure.code))
}

fn by_code(code: ErrorCode) -> Class {
    match code {
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
        | ErrorCode::UpstreamIncomplete => Class::Failed,
        ErrorCode::UpstreamTimeout => Class::Unfit,
        ErrorCode::UpstreamRedirect | ErrorCode::UpstreamProtocol | ErrorCode::UpstreamTooLarge => Class::Broken,
        ErrorCode::StoreUnavailable | ErrorCode::SecretsUnavailable | ErrorCode::RateLimited => Class::Ours,
        // What is left blames the request.
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
            | Self::Unfit
            | Self::Ours => true,
            Self::Success | Self::Request | Self::Broken | Self::Cut | Self::Cancelled => false,
        }
    }

    /// Whether the same target may be asked once more, if there is no other.
    pub(crate) const fn again(self) -> bool {
        matches!(self, Self::Failed)
    }

    /// What it means for the breaker: how much of a failure it is, or `None` if it says nothing of the target's health.
    pub(crate) const fn failure(self) -> Option<f64> {
        match self {
            Self::Success => Some(0.0),
            Self::Failed | Self::Unfit | Self::Broken | Self::Cut => Some(1.0),
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

    /// For the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Request => "request",
            Self::Incapable => "incapable",
            Self::NotFound => "not_found",
            Self::Credential => "credential",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::Unfit => "unfit",
            Self::Broken => "broken",
            Self::Cut => "cut",
            Self::Cancelled => "cancelled",
            Self::Ours => "ours",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_class_and_one_way_on() {
        use ErrorCode as E;
        for (code, class, elsewhere, again, failure) in [
            (E::UpstreamRejected, Class::Request, false, false, None),
            (E::ContextLengthExceeded, Class::Request, false, false, None),
            (E::InvalidImageUrl, Class::Request, false, false, None),
            (E::UnsupportedContent, Class::Incapable, true, false, None),
            (E::ModelNotFound, Class::NotFound, true, false, None),
            (E::UpstreamAuthFailed, Class::Credential, true, false, None),
            (E::InsufficientQuota, Class::Quota, true, false, None),
            (E::UpstreamRateLimited, Class::RateLimited, true, false, None),
            (E::UpstreamOverloaded, Class::Overloaded, true, false, Some(0.5)),
            (E::UpstreamError, Class::Failed, true, true, Some(1.0)),
            (E::UpstreamUnreachable, Class::Failed, true, true, Some(1.0)),
            (E::UpstreamIncomplete, Class::Failed, true, true, Some(1.0)),
            (E::UpstreamTimeout, Class::Unfit, true, false, Some(1.0)),
            (E::UpstreamRedirect, Class::Broken, false, false, Some(1.0)),
            (E::UpstreamProtocol, Class::Broken, false, false, Some(1.0)),
            (E::UpstreamTooLarge, Class::Broken, false, false, Some(1.0)),
            (E::SecretsUnavailable, Class::Ours, true, false, None),
        ] {
            let found = class_of(&Failure::new(code, "x"));
            assert_eq!(
                (found, found.elsewhere(), found.again(), found.failure()),
                (class, elsewhere, again, failure),
                "{code:?}"
            );
        }
        let marked = Failure::new(E::UpstreamProtocol, "x").classed(Class::Unfit);
        assert_eq!(class_of(&marked), Class::Unfit);
    }
}
