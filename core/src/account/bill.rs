//! What one attempt costs and how it went: opened when a target is picked, closed exactly once, however it ends.
//!
//! Dropping an open bill closes it: the client left. So nothing that a provider may charge for is forgotten.

use std::sync::Arc;

use crate::account::limiter::Dues;
use crate::account::{Cost, Estimate, Measure, Row, Tariff, Usage};
use crate::config::Config;
use crate::deferred::Deferred;
use crate::error::ErrorCode;
use crate::exchange::Sent;
use crate::line::{JsonLine, level_name};
use crate::model::{KeyRecord, TenantId};
use crate::ports::{Level, Platform, Store};
use crate::provider::Endpoint;
use crate::route::{Class, Seen, Ticket, Turn};

/// The account of one attempt.
pub(crate) struct Bill<P: Platform> {
    platform: P,
    open: Option<(Ticket, Facts)>,
    /// What its tokens are taken from.
    dues: Option<Dues>,
    /// The calls of the request, and how many there were before.
    sent: (Sent, u32),
    /// What is known so far, for the case that nobody closes it.
    pub(crate) so_far: Closing,
}

/// Whose attempt it is.
pub(crate) struct Facts {
    /// The gateway's id of the request.
    pub request_id: String,
    /// Which attempt of the request, from 1.
    pub number: u32,
    /// The tenant.
    pub tenant: TenantId,
    /// The caller's key; `None` for the operator.
    pub key: Option<Arc<KeyRecord>>,
    /// The configuration that the target is from.
    pub config: Arc<Config>,
    /// The index of the enabled model in it.
    pub at: usize,
    /// The name that the client called.
    pub alias: String,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// A stream was asked for.
    pub stream: bool,
    /// When it began, in milliseconds since the epoch.
    pub began_ms: u64,
    /// What the request has for text, for providers that do not tell what they used.
    pub asked: Estimate,
    /// What its tokens cost, if anybody knows.
    pub tariff: Option<Tariff>,
    /// From its beginning to its first content, in milliseconds.
    pub first_content_ms: Option<u64>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    /// What that means.
    pub class: Class,
    /// The error, if it was one.
    pub code: Option<ErrorCode>,
    /// How long the provider asks to be left alone, in milliseconds.
    pub wait_ms: Option<u64>,
    /// What was used; see [`Measure`].
    pub usage: Option<Usage>,
    /// That is an estimate of ours.
    pub estimated: bool,
    /// Calls made to the provider: counted when the bill is closed.
    pub calls: u32,
    /// The provider's last status.
    pub status: Option<u16>,
    /// The provider may have worked on what it did not answer.
    pub maybe_billed: bool,
}

impl Closing {
    /// An end of that class of which nothing else is known.
    pub(crate) const fn of(class: Class) -> Self {
        Self {
            class,
            code: None,
            wait_ms: None,
            usage: None,
            estimated: false,
            calls: 0,
            status: None,
            maybe_billed: false,
        }
    }
}

/// What an attempt comes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total {
    /// What was used.
    pub measure: Measure,
    /// What that costs, if it is known.
    pub cost: Option<Cost>,
}

impl<P: Platform> Bill<P> {
    /// Opens a bill.
    pub(crate) fn open(platform: P, ticket: Ticket, facts: Facts, dues: Option<Dues>, sent: Sent) -> Self {
        let before = sent.count();
        Self {
            platform,
            open: Some((ticket, facts)),
            dues,
            sent: (sent, before),
            so_far: Closing::of(Class::Cancelled),
        }
    }

    /// The first content has come.
    pub(crate) fn content(&mut self) {
        let Some((ticket, facts)) = &mut self.open else { return };
        if facts.first_content_ms.is_none() {
            let now = self.platform.now_ms();
            facts.first_content_ms = Some(now.saturating_sub(facts.began_ms));
            ticket.content(now);
        }
    }

    /// What the request has for text.
    pub(crate) fn asked(&self) -> Estimate {
        self.open.as_ref().map_or(Estimate::NONE, |(_, facts)| facts.asked)
    }

    /// Closes it. What it comes to.
    pub(crate) fn close(mut self, closing: Closing) -> Total {
        self.so_far = closing;
        self.settle()
    }

    fn settle(&mut self) -> Total {
        let Some((ticket, facts)) = self.open.take() else { return Total::default() };
        let now = self.platform.now_ms();
        let (sent, before) = &self.sent;
        self.so_far.calls = sent.count().saturating_sub(*before);
        if self.so_far.class == Class::Cancelled && self.so_far.usage.is_none() && self.so_far.calls > 0 {
            // The client left before anything came: what was asked has been read, at least.
            let Measure { usage, estimated } = Measure::guess(facts.asked, Estimate::NONE);
            self.so_far = Closing { usage, estimated, maybe_billed: true, ..self.so_far };
        }
        let Closing { class, wait_ms, usage, estimated, .. } = self.so_far;
        let cached = usage.and_then(|usage| usage.cache_read_tokens).is_some_and(|tokens| tokens > 0);
        let (turn, news) = ticket.end(Seen { class, wait_ms, cached }, now);
        if let Some(news) = news.filter(|_| self.platform.store().shares()) {
            self.platform.defer(Deferred::News(facts.tenant, Box::new(news)));
        }
        if let Some(turn) = turn {
            tell(&self.platform, &facts, turn);
        }
        if let (Some(dues), Some(usage)) = (self.dues.take(), usage.as_ref()) {
            dues.pay(&self.platform, usage);
        }
        // `None` if nothing was used, or nobody knows the price.
        let cost = facts.tariff.as_ref().and_then(|tariff| tariff.cost(usage.as_ref()?));
        let total = Total { measure: Measure { usage, estimated }, cost };
        self.platform.defer(Deferred::Row(Box::new(Row::new(facts, self.so_far, total.cost.clone(), now))));
        total
    }
}

impl<P: Platform> Drop for Bill<P> {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Logs that a target is let alone, or back (fault matrix U42: once for each change).
fn tell<P: Platform>(platform: &P, facts: &Facts, turn: Turn) {
    let Some(model) = facts.config.head().models.get(facts.at) else { return };
    let mut line = JsonLine::new();
    let (level, event, ms) = match turn {
        Turn::Ejected(ms) => (Level::Warn, "target_ejected", Some(ms)),
        Turn::Restored => (Level::Info, "target_restored", None),
    };
    line.put("level", &level_name(level).into());
    line.put("time_ms", &platform.now_ms().into());
    line.put("event", &event.into());
    line.put("request_id", &facts.request_id.as_str().into());
    line.put("tenant", &Some(&facts.tenant).into());
    line.put("provider", &model.provider.as_str().into());
    line.put("model", &model.uuid.as_str().into());
    line.put("for_ms", &ms.into());
    platform.log(level, &line.finish());
}
