//! One request's way through the targets of its alias.

use super::{AliasId, Class, TargetId};

/// How an alias spreads its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Two draws by weight, and the quicker one; keys of prompt caches stay at their target.
    #[default]
    Latency,
    /// By weight alone.
    WeightedRandom,
    /// In turn.
    RoundRobin,
    /// In turn, as often as the weight says.
    WeightedRoundRobin,
    /// Where the fewest calls run.
    LeastConnections,
    /// By priority, as long as the quota lasts.
    QuotaPriority,
}

/// How long a request is, for what it may be compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Size {
    /// Up to about 1,000 tokens.
    #[default]
    Small,
    /// Up to about 8,000.
    Medium,
    /// Up to about 32,000.
    Large,
    /// More.
    Huge,
}

impl Size {
    /// Of a request's body: four bytes are about one token.
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        match bytes {
            0..=4_096 => Self::Small,
            4_097..=32_768 => Self::Medium,
            32_769..=131_072 => Self::Large,
            _ => Self::Huge,
        }
    }
}

/// Why a target cannot take this request, whatever its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// Its weight is 0.
    Drained,
    /// Its provider type has no such endpoint.
    Endpoint,
    /// The caller may not use it.
    Forbidden,
    /// A limit of the tenant's for this target is reached; for so many milliseconds.
    Limited(u64),
}

/// A target as a plan sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Which one.
    pub id: TargetId,
    /// Its share, above 0 unless it is drained.
    pub weight: f64,
    /// The lowest number comes first; others when none of it is left.
    pub priority: u32,
    /// Calls in a minute that it takes before others, for [`Algorithm::QuotaPriority`].
    pub quota: Option<u32>,
    /// Why it cannot take the request.
    pub out: Option<Out>,
}

/// What one request has tried, and may still try.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The alias.
    pub alias: AliasId,
    /// All targets, in the order of the configuration.
    pub candidates: Vec<Candidate>,
    /// How to choose among those of the best priority.
    pub algorithm: Algorithm,
    /// What ties the request to a target: the hash of its prompt's beginning or of a session.
    pub affinity: Option<u64>,
    /// How long the request is.
    pub size: Size,
    /// The answer is a stream.
    pub stream: bool,
    /// The process has one request at a time.
    pub alone: bool,
    /// Until when all must be over, in milliseconds since the epoch.
    pub deadline_ms: u64,
    /// Most calls in all.
    pub most: u32,
    /// The calls so far: index of the candidate.
    pub tried: Vec<usize>,
    /// What the last of them meant.
    pub last: Option<Class>,
    /// A target that is out for its faults was tried, as there was no other.
    pub panicked: bool,
    /// The request was counted.
    pub counted: bool,
}

/// Why a target was picked, for the log and the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is no other.
    Only,
    /// Drawn by weight.
    Weighted,
    /// Drawn by weight, and expected to be quicker than another draw.
    Latency,
    /// Drawn to learn how quick it is.
    Explore,
    /// Where the prompt's beginning was before.
    Affinity,
    /// Its turn.
    Turn,
    /// The fewest calls run there.
    LeastConnections,
    /// The first with quota left.
    Quota,
    /// Another one failed.
    Failover,
    /// The same again, as there is no other.
    Again,
    /// All others are out too.
    Panic,
    /// It was waited for.
    Waited,
}

/// A decision to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Index of the candidate.
    pub at: usize,
    /// How long to wait before, in milliseconds.
    pub after_ms: u64,
    /// Why this one.
    pub reason: Reason,
}

/// What a plan says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Call this one.
    Call(Pick),
    /// No further call.
    Stop(Stop),
}

/// Why there is no further call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What the last call said is the answer.
    Last,
    /// Those that are left want to be left alone.
    Cooling {
        /// How long, in milliseconds.
        wait_ms: u64,
        /// One of them because it is overloaded, not because of a rate.
        overloaded: bool,
    },
    /// None can take the request.
    Nothing,
}

impl Plan {
    /// A limit of the tenant's for a candidate was found to be reached before it was called: it was not tried.
    pub(crate) fn shut(&mut self, at: usize, wait_ms: u64) {
        if let Some(last) = self.tried.iter().rposition(|tried| *tried == at) {
            self.tried.remove(last);
        }
        if let Some(candidate) = self.candidates.get_mut(at) {
            candidate.out = Some(Out::Limited(wait_ms));
        }
    }

    /// What the last call meant.
    pub(crate) fn ended(&mut self, class: Class) {
        self.last = Some(class);
    }
}

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Latency,
        Self::WeightedRandom,
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::QuotaPriority,
    ];

    /// By its name in the API.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// As a record names it; what a newer version wrote and this one does not know is the default here.
    pub(crate) fn stored(name: &str) -> Self {
        Self::parse(name).unwrap_or_default()
    }

    /// What can be done of it. A process that is `alone` with one request at a time sees no other calls: it can count
    /// nothing and has no turns, so calls are spread by weight.
    pub(crate) const fn in_effect(self, alone: bool) -> Self {
        match self {
            Self::RoundRobin | Self::WeightedRoundRobin | Self::LeastConnections | Self::QuotaPriority if alone => {
                Self::WeightedRandom
            }
            known => known,
        }
    }

    /// As it is written in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::WeightedRandom => "weighted_random",
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::QuotaPriority => "quota_priority",
        }
    }
}

impl Out {
    /// For explanations.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Endpoint => "unsupported_endpoint",
            Self::Forbidden => "forbidden",
            Self::Limited(_) => "rate_limited",
        }
    }
}

impl Reason {
    /// For the log, headers and explanations.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Weighted => "weighted",
            Self::Latency => "latency",
            Self::Explore => "explore",
            Self::Affinity => "affinity",
            Self::Turn => "turn",
            Self::LeastConnections => "least_connections",
            Self::Quota => "quota",
            Self::Failover => "failover",
            Self::Again => "again",
            Self::Panic => "panic",
            Self::Waited => "waited",
        }
    }
}
