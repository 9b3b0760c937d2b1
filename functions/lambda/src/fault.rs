//! What a failed AWS call means, without a word of its text.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gateway_core::ports::{Fault, PortError};

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// The service's error code, or a word of ours.
    pub(crate) code: String,
    /// Whether a write may have happened all the same.
    pub(crate) maybe_done: bool,
}

impl Failed {
    pub(crate) fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Self {
        let unknown = |code: &str| Self { fault: Fault::Unavailable, code: code.to_owned(), maybe_done: true };
        match error {
            SdkError::ConstructionFailure(_) => Self { maybe_done: false, ..unknown("construction") },
            SdkError::TimeoutError(_) => unknown("timeout"),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => unknown("timeout"),
            SdkError::DispatchFailure(_) => unknown("network"),
            SdkError::ServiceError(answer) => {
                Self::answered(answer.raw().status().as_u16(), answer.err().meta().code().unwrap_or_default())
            }
            _ => unknown("response"),
        }
    }

    /// By the service's own error code and status.
    fn answered(status: u16, code: &str) -> Self {
        let fault = match code {
            "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottledException"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException" => Fault::Throttled,
            "ResourceNotFoundException" => Fault::Missing,
            _ if status == 429 => Fault::Throttled,
            _ if status >= 500 => Fault::Unavailable,
            _ => Fault::Denied,
        };
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
        let code = if code.is_empty() { format!("status{status}") } else { code };
        Self { fault, code, maybe_done: fault == Fault::Unavailable }
    }

    /// Whether the same call may work a moment later.
    pub(crate) fn passing(&self) -> bool {
        matches!(self.fault, Fault::Unavailable | Fault::Throttled)
    }

    pub(crate) fn into_error(self, operation: &'static str) -> PortError {
        PortError::new(operation, self.fault, self.code)
    }
}

/// Waits a growing, jittered time before try number `tried` + 1: at most 50, 100, 200 ms and so on.
pub(crate) async fn pause(tried: u32) {
    let mut random = [0; 1];
    gateway_native::fill_random(&mut random);
    let most = 50_u64 << tried.min(4);
    gateway_native::timer(most / 2 + most * u64::from(random[0]) / 512).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_are_sorted() {
        for (status, code, fault, maybe_done) in [
            (400, "ProvisionedThroughputExceededException", Fault::Throttled, false),
            (400, "ThrottlingException", Fault::Throttled, false),
            (429, "", Fault::Throttled, false),
            (400, "AccessDeniedException", Fault::Denied, false),
            (403, "UnrecognizedClientException", Fault::Denied, false),
            (400, "ResourceNotFoundException", Fault::Missing, false),
            (500, "InternalServerError", Fault::Unavailable, true),
            (503, "", Fault::Unavailable, true),
        ] {
            let failed = Failed::answered(status, code);
            assert_eq!((failed.fault, failed.maybe_done), (fault, maybe_done), "{status} {code}");
        }
    }

    #[test]
    fn a_code_is_a_word_and_nothing_more() {
        assert_eq!(Failed::answered(400, "Bad: \"sk-canary\"\n").code, "Badskcanary");
        assert_eq!(Failed::answered(400, &"x".repeat(1000)).code.len(), 60);
        assert_eq!(Failed::answered(502, "").code, "status502");
    }
}
