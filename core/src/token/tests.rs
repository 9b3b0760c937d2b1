use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use serde_json::json;

use super::*;
use crate::deployment::{DefaultManager, Deployment};
use crate::lease::Plan;
use crate::ports::HttpError;
use crate::testing::{Answer, Chunk, World};

const T0: u64 = 1_760_000_000_000;
const MINUTE: u64 = 60_000;

struct Bench {
    world: World,
    gateway: Gateway,
    settings: Settings,
    credential: Credential,
}

impl Bench {
    fn new() -> Self {
        Self::of("https://iam.example.com", "IBM+KEY")
    }

    fn of(auth_url: &str, key: &str) -> Self {
        let sealing = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode([7_u8; 32])
        };
        let lookup = |name: &str| match name {
            "GATEWAY_ADMIN_KEY" => Some("operator-key-0123456789-0123456789".to_owned()),
            "GATEWAY_SEALING_KEY" => Some(sealing.clone()),
            _ => None,
        };
        let mut credential = Credential::default();
        credential.set("apikey", Secret::new(key.to_owned()));
        Self {
            world: World::at(T0),
            gateway: Gateway::new(Deployment::read(lookup, DefaultManager::Builtin).unwrap()),
            settings: serde_json::from_value(json!({"auth_url": auth_url})).unwrap(),
            credential,
        }
    }

    /// The token service answers after `wait_ms`.
    fn answers(&self, token: &str, expires_in: u64, wait_ms: u64) {
        let body = json!({"access_token": token, "expires_in": expires_in}).to_string();
        let chunks = vec![Chunk::Wait(wait_ms), Chunk::Bytes(Bytes::from(body))];
        self.world.http().push(Answer::with(200, "application/json", chunks));
    }

    async fn ask(&self, ms: u64) -> Result<String, ErrorCode> {
        let deadline_ms = self.world.now_ms() + ms;
        let found = bearer(&self.gateway, &self.world, &self.settings, &self.credential, deadline_ms).await;
        found.map(|token| token.open().to_owned()).map_err(|failure| failure.code)
    }

    fn asked(&self) -> Result<String, ErrorCode> {
        self.world.run(self.ask(30_000))
    }

    fn refuse(&self, token: &str) -> Result<Option<String>, ErrorCode> {
        let refused = Secret::new(token.to_owned());
        let deadline_ms = self.world.now_ms() + 30_000;
        let work = another(&self.gateway, &self.world, &self.settings, &self.credential, &refused, deadline_ms);
        self.world.run(work).map(|token| token.map(|token| token.open().to_owned())).map_err(|failure| failure.code)
    }

    fn calls(&self) -> usize {
        self.world.http().take_sent().len()
    }
}

/// Runs futures side by side, as requests of one isolate do.
async fn all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + '_>>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Some(future), None)).collect();
    poll_fn(move |context| {
        for (future, done) in &mut running {
            if let Some(Poll::Ready(value)) = future.as_mut().map(|future| future.as_mut().poll(context)) {
                *done = Some(value);
                *future = None;
            }
        }
        if running.iter().any(|(future, _)| future.is_some()) {
            return Poll::Pending;
        }
        Poll::Ready(running.drain(..).filter_map(|(_, done)| done).collect())
    })
    .await
}

#[test]
fn the_exchange_is_a_form() {
    let bench = Bench::new();
    bench.answers("a", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "a");
    let sent = bench.world.http().take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].target, "POST https://iam.example.com/identity/token");
    let form = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=IBM%2BKEY";
    assert_eq!(sent[0].body, form);
    let header = |name: &str| sent[0].headers.iter().filter(|(known, _)| known == name).collect::<Vec<_>>();
    assert_eq!(header("content-type")[0].1, "application/x-www-form-urlencoded");
    assert_eq!(header("content-type").len(), 1);
    assert_eq!(header("accept")[0].1, "application/json");
    assert!(header("authorization").is_empty());
}

#[test]
fn many_requests_make_one_exchange() {
    let bench = Bench::new();
    bench.answers("a", 3600, 300);
    let requests: Vec<Pin<Box<dyn Future<Output = _> + '_>>> =
        (0..20).map(|_| Box::pin(bench.ask(30_000)) as Pin<Box<dyn Future<Output = _>>>).collect();
    let found = bench.world.run(all(requests));
    assert_eq!(found, vec![Ok("a".to_owned()); 20]);
    assert_eq!(bench.calls(), 1);
    assert!(bench.world.now_ms() - T0 <= 300 + limits::TOKEN_POLL_MS, "followers come soon after");
}

#[test]
fn other_keys_and_places_have_other_tokens() {
    let bench = Bench::new();
    bench.answers("a", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "a");
    let credential = Bench::of("https://iam.example.com", "another").credential;
    let other = Bench { credential, ..bench };
    other.answers("b", 3600, 0);
    assert_eq!(other.asked().unwrap(), "b");
    let place = Bench { settings: serde_json::from_value(json!({})).unwrap(), ..other };
    place.answers("c", 3600, 0);
    assert_eq!(place.asked().unwrap(), "c");
    assert_eq!(place.calls(), 3);
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let bench = Bench::new();
    bench.answers("a", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "a");
    bench.world.pass(45 * MINUTE - 1);
    assert_eq!(bench.asked().unwrap(), "a");
    assert_eq!(bench.calls(), 1);
    bench.world.pass(1);
    bench.answers("b", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "b");
    assert_eq!(bench.calls(), 1);
    bench.world.pass(60 * MINUTE);
    bench.answers("c", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "c");
    assert_eq!(bench.calls(), 1);
}

#[test]
fn a_token_that_is_due_serves_while_its_service_is_down() {
    let bench = Bench::new();
    bench.answers("a", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "a");
    bench.world.pass(46 * MINUTE);
    bench.world.http().push(Answer::Hang);
    let began = bench.world.now_ms();
    assert_eq!(bench.asked().unwrap(), "a");
    assert_eq!(bench.world.now_ms() - began, limits::TOKEN_RENEW_MS, "a renewal that hangs costs little");
    assert_eq!(bench.asked().unwrap(), "a");
    assert_eq!(bench.calls(), 2, "and is not tried again at once");
    bench.world.pass(15 * MINUTE);
    assert_eq!(bench.asked().unwrap_err(), ErrorCode::UpstreamAuthUnavailable);
}

#[test]
fn a_failure_is_not_kept_for_long() {
    let bench = Bench::new();
    for (answer, code, pause) in [
        (Answer::json(500, "{}"), ErrorCode::UpstreamAuthUnavailable, limits::TOKEN_FAILED_MS),
        (Answer::Fail(HttpError::Connect), ErrorCode::UpstreamAuthUnavailable, limits::TOKEN_FAILED_MS),
        (Answer::json(400, r#"{"errorCode":"BXNIM0415E"}"#), ErrorCode::UpstreamAuthFailed, limits::TOKEN_REJECTED_MS),
    ] {
        bench.world.http().push(answer);
        assert_eq!(bench.asked().unwrap_err(), code);
        bench.answers("never", 3600, 0);
        bench.world.pass(pause - 1);
        assert_eq!(bench.asked().unwrap_err(), code);
        assert_eq!(bench.calls(), 1);
        bench.world.pass(1);
        assert_eq!(bench.asked().unwrap(), "never");
        bench.world.pass(60 * MINUTE);
        bench.calls();
    }
}

#[test]
fn a_service_that_hangs_is_given_up_at_the_end_of_the_lease() {
    let bench = Bench::new();
    bench.world.http().push(Answer::Hang);
    assert_eq!(bench.asked().unwrap_err(), ErrorCode::UpstreamAuthUnavailable);
    assert_eq!(bench.world.now_ms() - T0, limits::TOKEN_LEASE_MS);
}

#[test]
fn a_request_without_time_does_not_fail_the_others() {
    let bench = Bench::new();
    bench.world.http().push(Answer::Hang);
    bench.answers("a", 3600, 0);
    let found = bench.world.run(all(vec![
        Box::pin(bench.ask(100)) as Pin<Box<dyn Future<Output = _>>>,
        Box::pin(bench.ask(50)),
        Box::pin(bench.ask(30_000)),
    ]));
    assert_eq!(
        found,
        vec![Err(ErrorCode::UpstreamAuthUnavailable), Err(ErrorCode::UpstreamAuthUnavailable), Ok("a".to_owned())]
    );
    assert!(bench.world.now_ms() - T0 < 1_000, "nobody waits for a lease that was given back");
    assert_eq!(bench.calls(), 2);
}

#[test]
fn a_leader_that_is_let_go_is_replaced_at_once() {
    let bench = Bench::new();
    bench.world.http().push(Answer::Hang);
    assert_eq!(bench.world.run_for(50, bench.ask(30_000)), None);
    bench.answers("a", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "a");
    assert!(bench.world.now_ms() - T0 < 1_000);
    assert_eq!(bench.calls(), 2);
}

#[test]
fn a_leader_that_is_never_heard_of_again_is_replaced_in_time() {
    let bench = Bench::new();
    bench.world.http().push(Answer::Hang);
    // On Workers a request can stop being polled without being dropped.
    let mut lost = pin!(bench.ask(30_000));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(lost.as_mut().poll(&mut context).is_pending());
    bench.answers("a", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "a");
    assert_eq!(bench.world.now_ms() - T0, limits::TOKEN_LEASE_MS);
}

#[test]
fn a_refused_token_is_replaced_only_if_it_is_the_kept_one() {
    let bench = Bench::new();
    bench.answers("a", 3600, 0);
    assert_eq!(bench.asked().unwrap(), "a");
    bench.answers("b", 3600, 0);
    assert_eq!(bench.refuse("a").unwrap().as_deref(), Some("b"));
    assert_eq!(bench.calls(), 2);
    // Another call that was refused with the old one finds the new one.
    assert_eq!(bench.refuse("a").unwrap().as_deref(), Some("b"));
    assert_eq!(bench.calls(), 0);
    // Refused again at once: there is no better one.
    assert_eq!(bench.refuse("b").unwrap(), None);
    assert_eq!(bench.calls(), 0);
    bench.world.pass(limits::TOKEN_REJECT_AGAIN_MS);
    bench.answers("b", 3600, 0);
    assert_eq!(bench.refuse("b").unwrap(), None, "the same token again is no other one");
    assert_eq!(bench.calls(), 1);
}

#[test]
fn the_cache_is_bounded_and_forgets_what_ended() {
    let bench = Bench::new();
    let keys: Vec<TokenKey> = (0..=limits::CACHED_TOKENS)
        .map(|n| {
            let address = Address::of(None, &bench.gateway.deployment.allowed).unwrap();
            TokenKey::of(&address, &Secret::new(n.to_string()))
        })
        .collect();
    let keep = |key: TokenKey, life_ms: u64| {
        bench.gateway.cache.token(key, T0, |slot| {
            let Plan::Fetch { lease, .. } = slot.plan(T0) else { panic!("no lease") };
            let token = Token { value: Secret::new("t".into()), refresh_at_ms: T0 + 1, expires_ms: T0 + life_ms };
            slot.done(lease, &Ok(token), T0);
        });
    };
    for (n, key) in keys.iter().enumerate() {
        keep(*key, 1_000 + n as u64);
    }
    let kept = |key: TokenKey, now: u64| bench.gateway.cache.token(key, now, |slot| slot.kept_until_ms() > now);
    assert!(!kept(keys[0], T0), "the one that ends first made room");
    assert!(kept(keys[2], T0) && kept(keys[limits::CACHED_TOKENS], T0));
}

#[test]
fn a_wrong_configuration_makes_no_call() {
    let bench = Bench::of("http://iam.example.com", "k");
    assert_eq!(bench.asked().unwrap_err(), ErrorCode::UpstreamUnreachable);
    let bench = Bench { credential: Credential::default(), ..Bench::new() };
    assert_eq!(bench.asked().unwrap_err(), ErrorCode::UpstreamAuthFailed);
    assert_eq!(bench.calls(), 0);
}
