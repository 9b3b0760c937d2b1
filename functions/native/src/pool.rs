//! Idle connections per origin.
//!
//! Connections to origins where private addresses are allowed have keys of their own, so that a connection which was
//! made under one rule is never used under the other.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Uri;
use http::uri::Authority;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;

use crate::system;

/// Where a connection leads, and under which rule its address was judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    https: bool,
    private_allowed: bool,
    authority: Authority,
}

impl Origin {
    /// The origin of an absolute http(s) URL. Plain http only where private addresses are allowed.
    pub(crate) fn of(uri: &Uri, private_allowed: bool) -> Option<Self> {
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" if private_allowed => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        Some(Self { https, private_allowed, authority: authority.clone() })
    }

    pub(crate) fn https(&self) -> bool {
        self.https
    }

    pub(crate) fn private_allowed(&self) -> bool {
        self.private_allowed
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The host without the brackets of an IPv6 literal.
    pub(crate) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.https { 443 } else { 80 })
    }
}

/// The sending half of a connection.
pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// Connections that wait for their next request.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    shelves: Mutex<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    idle: HashMap<Origin, Vec<Idle>>,
    swept_ms: u64,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since_ms: u64,
}

impl Pool {
    /// The connection that was idle for the shortest time, if one is usable.
    pub(crate) fn take(&self, origin: &Origin) -> Option<Sender> {
        let now_ms = system::now_ms();
        let mut shelves = self.lock();
        let idle = shelves.idle.get_mut(origin)?;
        while let Some(newest) = idle.pop() {
            if newest.usable(now_ms) && newest.sender.is_ready() {
                return Some(newest.sender);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(crate) fn put(&self, origin: Origin, sender: Sender) {
        let now_ms = system::now_ms();
        let mut shelves = self.lock();
        if now_ms.abs_diff(shelves.swept_ms) > SWEEP_MS {
            shelves.sweep(now_ms);
        }
        let idle = shelves.idle.entry(origin).or_default();
        if idle.len() < IDLE_PER_ORIGIN {
            idle.push(Idle { sender, since_ms: now_ms });
        }
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    /// Drops what is closed or too old, so that origins that are never called again are forgotten.
    fn sweep(&mut self, now_ms: u64) {
        self.swept_ms = now_ms;
        self.idle.retain(|_, idle| {
            idle.retain(|entry| entry.usable(now_ms));
            !idle.is_empty()
        });
    }
}

impl Idle {
    /// Measured with the wall clock: the monotonic one may stand still while a Lambda environment is frozen.
    fn usable(&self, now_ms: u64) -> bool {
        !self.sender.is_closed() && now_ms.abs_diff(self.since_ms) < IDLE_MS
    }
}

/// Shorter than the idle limit of common load balancers (60 s and more).
const IDLE_MS: u64 = 50_000;
const IDLE_PER_ORIGIN: usize = 64;
const SWEEP_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str, private_allowed: bool) -> Option<Origin> {
        Origin::of(&url.parse().unwrap(), private_allowed)
    }

    #[test]
    fn plain_http_needs_the_operators_word() {
        assert!(origin("http://provider.example", false).is_none());
        assert!(origin("http://provider.example", true).is_some());
        assert!(origin("https://provider.example", false).is_some());
        assert!(origin("ftp://provider.example", true).is_none());
        assert!(origin("https://user@provider.example", true).is_none());
    }

    #[test]
    fn the_rule_is_part_of_the_key() {
        assert_ne!(origin("https://provider.example", false), origin("https://provider.example", true));
        assert_eq!(origin("https://Provider.example", false), origin("https://provider.EXAMPLE", false));
    }

    #[test]
    fn host_and_port_are_read_from_the_authority() {
        for (url, host, port) in [
            ("https://a.example", "a.example", 443),
            ("http://a.example", "a.example", 80),
            ("https://a.example:8443", "a.example", 8443),
            ("https://[::1]:9", "::1", 9),
        ] {
            let origin = origin(url, true).unwrap();
            assert_eq!((origin.host(), origin.port()), (host, port), "{url}");
        }
    }
}
