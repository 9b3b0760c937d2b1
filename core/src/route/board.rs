//! What an isolate remembers of targets: how quick they are, how they fail, how long to leave them alone.

use std::sync::Arc;

use super::{Candidate, Class, Entropy, Next, Pick, Plan, Reason, Stop, TargetId};

/// The isolate's memory of targets. Shared: a stream that is under way reports to it.
#[derive(Debug, Default)]
pub(crate) struct Board {}

/// How a call went, for the board.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// What the outcome means.
    pub class: Class,
    /// How long the provider asks to be left alone, in milliseconds.
    pub wait_ms: Option<u64>,
    /// Tokens written, if they are known: with the time they took, they tell the target's pace.
    pub output_tokens: Option<u64>,
}

/// A call under way at a target. Dropped without an end, it counts as cancelled.
#[derive(Debug)]
pub(crate) struct Ticket {
    board: Arc<Board>,
    target: TargetId,
}

/// A target's state in an explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    /// Why it would not be picked; `None` if it can be.
    pub out: Option<&'static str>,
    /// For how long, in milliseconds.
    pub for_ms: Option<u64>,
    /// Its expected time to the first content, in milliseconds, if it is known.
    pub expected_ms: Option<u64>,
    /// Calls under way.
    pub in_flight: u32,
}

impl Board {
    /// What to do next.
    pub(crate) fn next(&self, plan: &mut Plan, _now_ms: u64, entropy: &mut Entropy) -> Next {
        let fit = |at: &usize| plan.candidates.get(*at).is_some_and(|c: &Candidate| c.out.is_none());
        let open: Vec<usize> = (0..plan.candidates.len()).filter(fit).filter(|at| !plan.tried.contains(at)).collect();
        let over = plan.last.is_some_and(|class| !class.elsewhere());
        if over || plan.tried.len() >= plan.most as usize || open.is_empty() {
            return Next::Stop(if plan.tried.is_empty() { Stop::Nothing } else { Stop::Last });
        }
        let at = usize::try_from(entropy.next() % open.len() as u64).unwrap_or(0);
        let at = open.get(at).copied().unwrap_or(0);
        let reason = if plan.tried.is_empty() { Reason::Weighted } else { Reason::Failover };
        plan.tried.push(at);
        Next::Call(Pick { at, after_ms: 0, reason })
    }

    /// What [`Self::next`] would say; nothing is remembered of it.
    pub(crate) fn peek(&self, plan: &mut Plan, now_ms: u64, entropy: &mut Entropy) -> Next {
        self.next(plan, now_ms, entropy)
    }

    /// Whether a target that was not tried could take over.
    pub(crate) fn has_other(&self, plan: &Plan, _now_ms: u64) -> bool {
        let open = |(at, candidate): (usize, &Candidate)| candidate.out.is_none() && !plan.tried.contains(&at);
        plan.tried.len() < plan.most as usize && plan.candidates.iter().enumerate().any(open)
    }

    /// A call at a candidate begins.
    pub(crate) fn begin(self: &Arc<Self>, _plan: &Plan, target: TargetId, _now_ms: u64) -> Ticket {
        Ticket { board: Arc::clone(self), target }
    }

    /// How the candidates of a plan stand.
    pub(crate) fn standings(&self, plan: &Plan, _now_ms: u64) -> Vec<Standing> {
        let standing = |_: &Candidate| Standing { out: None, for_ms: None, expected_ms: None, in_flight: 0 };
        plan.candidates.iter().map(standing).collect()
    }
}

impl Ticket {
    /// The first content is there. `cached`: the provider read a part of the prompt out of its cache.
    pub(crate) fn content(&mut self, _now_ms: u64) {
        let _ = (&self.board, self.target);
    }

    /// The call is over.
    pub(crate) fn end(self, _seen: Seen, _now_ms: u64) {}
}
