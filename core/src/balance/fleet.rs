//! The fleet: requests come at a rate to isolates, calls go to upstreams, and what comes of it is counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use super::rival::Rival;
use crate::route::{Algorithm, Board, Class, Digest, Entropy, Next, Pick, Plan, Seen, Ticket};

/// When a scene begins, in milliseconds since the epoch.
const T0: u64 = 1_760_000_000_000;

/// Who chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// The gateway's board, by latency.
    Gateway,
    /// By weight, and whatever comes of it.
    Random,
    /// By weight, and three more tries whatever happens.
    Thrice,
    /// The target with the best average, and two more tries elsewhere.
    Quickest,
    /// The target with the best mean of ten times as LiteLLM keeps them, and two more tries elsewhere.
    TenTimes,
}

/// What an upstream does with a call.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// The middle of its times to first content, in milliseconds.
    pub ms: f64,
    /// Calls at once beyond which it gets slower.
    pub room: f64,
    /// The share of calls that fail.
    pub fails: f64,
    /// It takes no calls for so many milliseconds more.
    pub limited_ms: Option<u64>,
}

/// What is played.
#[derive(Clone, Copy)]
pub struct Scene {
    /// Isolates.
    pub isolates: usize,
    /// Each isolate has one request at a time and there are as many as are needed.
    pub alone: bool,
    /// They tell each other.
    pub told: bool,
    /// How old what they are told gets, in milliseconds.
    pub stale_ms: u64,
    /// Requests in a second.
    pub rate: f64,
    /// How long, in seconds.
    pub seconds: u64,
    /// From when on it is counted, in seconds.
    pub from: u64,
    /// Targets.
    pub targets: usize,
    /// What they do, by number and second.
    pub upstream: fn(usize, f64) -> Behaviour,
    /// Sessions with common beginnings of prompts; 0 for none.
    pub sessions: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests.
    pub requests: u64,
    /// Of them answered.
    pub answered: u64,
    /// Calls to upstreams.
    pub calls: u64,
    /// Calls to each upstream.
    pub per_target: Vec<u64>,
    /// Times to first content, in milliseconds, sorted.
    pub times: Vec<u64>,
    /// Prompts whose target had seen all that is not new in them, of those that were not the first of their session.
    pub cached: (u64, u64),
    /// Most calls of one isolate to a target that had told that isolate to wait, while it was to wait.
    pub disregard: u64,
    /// Isolates.
    pub isolates: usize,
    /// Most calls at once at one target.
    pub peak: u64,
}

impl Figures {
    /// The share of requests that were answered.
    pub fn success(&self) -> f64 {
        self.answered as f64 / self.requests.max(1) as f64
    }

    /// Calls for each request.
    pub fn amplification(&self) -> f64 {
        self.calls as f64 / self.requests.max(1) as f64
    }

    /// A time that so large a share of answered requests did not exceed, in milliseconds.
    pub fn time(&self, share: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the list")]
        let at = ((self.times.len() as f64 * share) as usize).min(self.times.len().saturating_sub(1));
        self.times.get(at).copied().unwrap_or(0)
    }

    /// The share of prompts that were cached up to what is new in them.
    pub fn hits(&self) -> f64 {
        self.cached.0 as f64 / self.cached.1.max(1) as f64
    }

    /// A target's share of the calls.
    pub fn share(&self, at: usize) -> f64 {
        self.per_target.get(at).copied().unwrap_or(0) as f64 / self.calls.max(1) as f64
    }
}

struct Isolate {
    board: Arc<Board>,
    heard_ms: u64,
    /// Until when each target told it to wait.
    waits: Vec<u64>,
    disregard: u64,
}

struct Request {
    began_ms: u64,
    isolate: usize,
    plan: Plan,
    session: Option<u64>,
    ticket: Option<Ticket>,
    at: usize,
    outcome: (Class, Option<u64>),
    call_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Call(usize),
    End(usize),
}

struct Play {
    scene: Scene,
    router: Router,
    entropy: Entropy,
    isolates: Vec<Isolate>,
    idle: Vec<usize>,
    digest: Digest,
    rival: Rival,
    requests: Vec<Request>,
    running: Vec<f64>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    seen: HashSet<(u64, usize)>,
    last: HashMap<u64, usize>,
    figures: Figures,
}

/// Plays a scene.
pub fn run(scene: &Scene, router: Router, seed: u64) -> Figures {
    let mut play = Play {
        scene: *scene,
        router,
        entropy: Entropy::new(seed),
        isolates: Vec::new(),
        idle: Vec::new(),
        digest: Digest::default(),
        rival: Rival::new(scene.targets),
        requests: Vec::new(),
        running: vec![0.0; scene.targets],
        events: BinaryHeap::new(),
        number: 0,
        seen: HashSet::new(),
        last: HashMap::new(),
        figures: Figures { per_target: vec![0; scene.targets], ..Figures::default() },
    };
    play.at(T0, Event::Arrive);
    while let Some(Reverse((now, _, event))) = play.events.pop() {
        match event {
            Event::Arrive => play.arrive(now),
            Event::Call(request) => play.call(request, now),
            Event::End(request) => play.end(request, now),
        }
    }
    let mut figures = play.figures;
    figures.times.sort_unstable();
    figures.isolates = play.isolates.len();
    figures.disregard = play.isolates.iter().map(|isolate| isolate.disregard).max().unwrap_or(0);
    figures
}

#[expect(clippy::indexing_slicing, reason = "a simulation: numbers are its own, and a wrong one must end it")]
impl Play {
    fn at(&mut self, ms: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((ms, self.number, event)));
    }

    fn counts(&self, began_ms: u64) -> bool {
        began_ms >= T0 + self.scene.from * 1000
    }

    fn arrive(&mut self, now: u64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive time")]
        let gap = (-self.entropy.unit().max(1e-12).ln() * 1000.0 / self.scene.rate).round() as u64;
        if now + gap < T0 + self.scene.seconds * 1000 {
            self.at(now + gap, Event::Arrive);
        }
        let isolate = self.isolate();
        let session = (self.scene.sessions > 0).then(|| self.entropy.next() % self.scene.sessions);
        let key = session.map(|session| crate::route::hash(&[&session.to_le_bytes()]));
        let mut plan = super::plan(&vec![1.0; self.scene.targets], Algorithm::Latency, key, now);
        plan.alone = self.scene.alone;
        let cold = self.isolates[isolate].heard_ms == 0;
        if cold {
            self.hear(isolate, now);
        }
        self.requests.push(Request {
            began_ms: now,
            isolate,
            plan,
            session,
            ticket: None,
            at: 0,
            outcome: (Class::Success, None),
            call_ms: now,
        });
        self.figures.requests += u64::from(self.counts(now));
        self.next(self.requests.len() - 1, now);
        // Beside the call.
        self.hear(isolate, now);
    }

    fn isolate(&mut self) -> usize {
        let new = || Isolate { board: Arc::default(), heard_ms: 0, waits: vec![0; self.scene.targets], disregard: 0 };
        if self.scene.alone {
            return self.idle.pop().unwrap_or_else(|| {
                self.isolates.push(new());
                self.isolates.len() - 1
            });
        }
        while self.isolates.len() < self.scene.isolates {
            self.isolates.push(Isolate {
                board: Arc::default(),
                heard_ms: 0,
                waits: vec![0; self.scene.targets],
                disregard: 0,
            });
        }
        usize::try_from(self.entropy.next() % self.isolates.len() as u64).unwrap_or(0)
    }

    fn hear(&mut self, isolate: usize, now: u64) {
        let isolate = &mut self.isolates[isolate];
        if self.scene.told && (isolate.heard_ms == 0 || now >= isolate.heard_ms + self.scene.stale_ms) {
            isolate.board.learn(&self.digest, self.scene.alone, now);
        } else if isolate.heard_ms > 0 {
            return;
        }
        isolate.heard_ms = now;
    }

    fn next(&mut self, number: usize, now: u64) {
        let request = &mut self.requests[number];
        let next = match self.router {
            Router::Gateway => self.isolates[request.isolate].board.next(&mut request.plan, now, &mut self.entropy),
            router => {
                let most = match router {
                    Router::Random => 1,
                    Router::Thrice => 4,
                    _ => 3,
                };
                if request.plan.tried.len() >= most {
                    Next::Stop(crate::route::Stop::Last)
                } else {
                    let tried = if router == Router::Thrice { &[][..] } else { &request.plan.tried };
                    let at = self.rival.pick(router, tried, now, &mut self.entropy);
                    request.plan.tried.push(at);
                    Next::Call(Pick { at, after_ms: 0, reason: crate::route::Reason::Weighted })
                }
            }
        };
        match next {
            Next::Call(pick) => {
                request.at = pick.at;
                self.at(now + pick.after_ms, Event::Call(number));
            }
            Next::Stop(_) => self.leave(number),
        }
    }

    fn leave(&mut self, number: usize) {
        if self.scene.alone {
            self.idle.push(self.requests[number].isolate);
        }
    }

    fn call(&mut self, number: usize, now: u64) {
        let request = &mut self.requests[number];
        let at = request.at;
        let isolate = &mut self.isolates[request.isolate];
        if self.router == Router::Gateway {
            let id = request.plan.candidates[at].id;
            request.ticket = Some(isolate.board.begin(&request.plan, id, now, self.entropy.next()));
        }
        request.call_ms = now;
        isolate.disregard += u64::from(now < isolate.waits[at]);
        self.running[at] += 1.0;
        let behaviour = (self.scene.upstream)(at, (now - T0) as f64 / 1000.0);
        // The logarithm of times is about normal: the sum of some uniform numbers.
        let normal = (0..6).map(|_| self.entropy.unit()).sum::<f64>() * 1.414 - 4.243;
        let load = (self.running[at] / behaviour.room).max(1.0);
        let mut ms = behaviour.ms * (0.3 * normal).exp() * load;
        request.outcome = (Class::Success, None);
        if let Some(wait) = behaviour.limited_ms {
            request.outcome = (Class::RateLimited, Some(wait));
            isolate.waits[at] = isolate.waits[at].max(now + wait);
            ms = 20.0;
        } else if self.entropy.unit() < behaviour.fails {
            request.outcome = (Class::Failed, None);
            ms *= 0.3;
        }
        let began_ms = request.began_ms;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive time")]
        let end = now + ms as u64 + 1;
        self.at(end, Event::End(number));
        if self.counts(began_ms) {
            self.figures.calls += 1;
            self.figures.per_target[at] += 1;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let running = self.running[at] as u64;
            self.figures.peak = self.figures.peak.max(running);
        }
    }

    fn end(&mut self, number: usize, now: u64) {
        let request = &mut self.requests[number];
        let (at, (class, wait_ms)) = (request.at, request.outcome);
        self.running[at] -= 1.0;
        if class == Class::Success {
            self.rival.sample(self.router, at, (now - request.call_ms) as f64);
        }
        let cached = request.session.is_some_and(|session| self.seen.contains(&(session, at)));
        if let Some(mut ticket) = request.ticket.take() {
            if class == Class::Success {
                ticket.content(now);
            }
            let (_, news) = ticket.end(Seen { class, wait_ms, cached }, now);
            if let Some(news) = news.filter(|_| self.scene.told) {
                self.digest.merge(&news, now);
                let isolate = &self.isolates[request.isolate];
                isolate.board.learn(&self.digest, self.scene.alone, now);
            }
        }
        if class != Class::Success {
            request.plan.ended(class);
            return self.next(number, now);
        }
        let (began_ms, session) = (request.began_ms, request.session);
        if let Some(session) = session {
            if let Some(last) = self.last.insert(session, at) {
                self.figures.cached.1 += 1;
                self.figures.cached.0 += u64::from(last == at);
            }
            self.seen.insert((session, at));
        }
        if self.counts(began_ms) {
            self.figures.answered += 1;
            self.figures.times.push(now - began_ms);
        }
        self.leave(number);
    }
}
