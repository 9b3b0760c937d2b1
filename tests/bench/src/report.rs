//! From samples to the README's table and the verdict on the budgets.

use std::fmt::Write;

use crate::cold::Cold;
use crate::memory::Growth;
use crate::run::{CASES, Case, Role, Samples};
use crate::sample::{Sample, median};
use crate::translation::Cost;
use crate::upstream::Wire;
use crate::{Outcome, machine};

/// What a reader has to know about a run.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) commit: String,
    pub(crate) workerd: Option<String>,
    pub(crate) rounds: usize,
    pub(crate) secs: f64,
    pub(crate) pinned: bool,
    pub(crate) cold: Option<Cold>,
    pub(crate) growth: Vec<(Role, Growth)>,
    /// What core alone costs.
    pub(crate) core: Vec<Cost>,
    /// The meter's part in a request, in per cent.
    pub(crate) meter: Option<f64>,
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Report {
    /// All of it.
    pub(crate) text: String,
    /// What belongs into the README.
    pub(crate) table: String,
    /// How many budgets are missed.
    pub(crate) missed: usize,
}

pub(crate) fn make(facts: &Facts, samples: &Samples) -> Outcome<Report> {
    for ((place, role), rounds) in samples {
        if let Some(fault) = rounds.iter().find_map(|sample| sample.fault.as_deref()) {
            let name = CASES.get(*place).map_or("?", |case| case.name);
            return Err(format!("{role:?} answered wrongly in {name}: {fault}").into());
        }
    }
    let budgets = budgets(facts, samples);
    let mut parts = Vec::new();
    if !samples.is_empty() {
        parts.extend([heading(facts), entries(samples)]);
    }
    if !facts.core.is_empty() {
        parts.push(core(&facts.core));
    }
    if !budgets.is_empty() {
        parts.push(budget_table(&budgets));
    }
    let table = parts.join("\n");
    let cold = facts.cold.map(cold_starts).unwrap_or_default();
    let everything = if samples.is_empty() { String::new() } else { everything(samples) };
    let text = format!("{everything}\n{cold}{table}");
    Ok(Report { text, table, missed: budgets.iter().filter(|budget| !budget.holds()).count() })
}

/// Puts a table between the marks of a README.
pub(crate) fn insert(readme: &str, table: &str) -> Outcome<String> {
    let marks = readme.find(BEGIN).zip(readme.find(END)).filter(|(begin, end)| begin < end);
    let (begin, end) = marks.ok_or_else(|| format!("the README has no {BEGIN} and {END}"))?;
    let (before, after) = (readme.get(..begin).unwrap_or_default(), readme.get(end..).unwrap_or_default());
    Ok(format!("{before}{BEGIN}\n{}\n{after}", table.trim()))
}

fn heading(facts: &Facts) -> String {
    let workerd = facts.workerd.as_ref().map(|version| format!(", {version}")).unwrap_or_default();
    let pinned = if facts.pinned { "each gateway on a CPU of its own" } else { "all on one CPU" };
    format!(
        "Commit {commit}, {machine}{workerd}: medians of {rounds} interleaved rounds of {secs} s, \
         {pinned}, provider and client on the same machine. CPU is that of the gateway's process, in user and kernel mode. The floor \
         is the least that could stand in its place: for local a hyper proxy, for the Worker one of JavaScript on the same \
         workerd that passes the answer on (streams chunk by chunk); neither looks at what it passes. Anthropic's answers are \
         translated by the gateway and passed on as they are by the floor.\n",
        commit = facts.commit,
        machine = machine::describe(),
        rounds = facts.rounds,
        secs = facts.secs,
    )
}

/// One row for each entry and case, its floor beside it.
fn entries(samples: &Samples) -> String {
    let mut table = String::from(
        "| entry | case | connections | CPU µs/request | floor | ratio | requests/s | p50 ms | p99 ms |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for role in [Role::Local, Role::Worker, Role::Lambda] {
        for (place, case) in CASES.iter().enumerate() {
            let Some(rounds) = samples.get(&(place, role)) else { continue };
            let floor = floor(role, case).and_then(|floor| samples.get(&(place, floor)));
            let (floor, ratio) = match floor {
                Some(floor) => (number(of(floor, |s| s.cpu_us), 0), number(ratio(rounds, floor), 2)),
                None => ("–".to_owned(), "–".to_owned()),
            };
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {floor} | {ratio} | {} | {} | {} |",
                name(role),
                case.name,
                case.connections,
                number(of(rounds, |s| s.cpu_us), 0),
                number(of(rounds, |s| s.rate), 0),
                number(of(rounds, |s| s.whole.p50), 2),
                number(of(rounds, |s| s.whole.p99), 2),
            );
        }
    }
    table
}

/// Every number of every subject, for who looks closer.
fn everything(samples: &Samples) -> String {
    let mut table = String::from(
        "| case | conns | subject | CPU µs | requests/s | p50 ms | p99 ms | first p50 | tail p50 | tail p90 | reads | peak MB |\n\
         |---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((place, role), rounds) in samples {
        let Some(case) = CASES.get(*place) else { continue };
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            case.name,
            case.connections,
            name(*role),
            number(of(rounds, |s| s.cpu_us), 1),
            number(of(rounds, |s| s.rate), 0),
            number(of(rounds, |s| s.whole.p50), 3),
            number(of(rounds, |s| s.whole.p99), 3),
            number(of(rounds, |s| s.first.p50), 3),
            number(of(rounds, |s| s.tail.p50), 3),
            number(of(rounds, |s| s.tail.p90), 3),
            number(of(rounds, |s| s.reads), 1),
            number(of(rounds, |s| s.peak_mb), 1),
        );
    }
    table
}

/// What an event of a stream costs in core.
fn core(costs: &[Cost]) -> String {
    let mut table = String::from(
        "Core alone, natively: from the provider's bytes to the client's, framing and checksums included.\n\n\
         | stream of | bytes of an event | ns per event, one in a chunk | ns per event, chunks of 16 KB |\n\
         |---|---:|---:|---:|\n",
    );
    for Cost { name, bytes, single_ns, packed_ns } in costs {
        let (single, packed) = (number(*single_ns, 0), number(*packed_ns, 0));
        let _ = writeln!(table, "| {name} | {bytes} | {single} | {packed} |");
    }
    table
}

fn cold_starts(cold: Cold) -> String {
    let Cold { ready, answered } = cold;
    format!(
        "Cold starts of Lambda, ms: to the first request for an event p50 {:.2}, p99 {:.2}; to the end of the first answer \
         p50 {:.1}, p99 {:.1}, most of it in the stand-in for DynamoDB and Secrets Manager.\n\n",
        ready.p50, ready.p99, answered.p50, answered.p99,
    )
}

/// Something that has to hold.
#[derive(Debug)]
struct Budget {
    what: String,
    limit: f64,
    measured: f64,
    unit: &'static str,
}

impl Budget {
    /// What was not measured does not hold.
    fn holds(&self) -> bool {
        self.measured <= self.limit
    }
}

fn budgets(facts: &Facts, samples: &Samples) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for role in [Role::Local, Role::Worker] {
        for (place, case) in CASES.iter().enumerate() {
            let pair =
                floor(role, case).and_then(|floor| samples.get(&(place, role)).zip(samples.get(&(place, floor))));
            let (Some((rounds, floor)), Some(limit)) = (pair, limit(role, case)) else { continue };
            let what =
                format!("{}, {}, {} connection(s): CPU over the floor's", name(role), case.name, case.connections);
            budgets.push(Budget { what, limit, measured: ratio(rounds, floor), unit: "×" });
        }
    }
    for (role, growth) in &facts.growth {
        let what =
            format!("{}, {} translated streams: memory at the end over that at the start", name(*role), growth.streams);
        budgets.push(Budget { what, limit: FLAT, measured: growth.late_mb / growth.early_mb, unit: "×" });
    }
    for (place, case) in CASES.iter().enumerate() {
        let Some(rounds) = samples.get(&(place, Role::Lambda)) else { continue };
        let what = format!("Lambda, {}: from the provider's last text to the client's last byte, p90", case.name);
        budgets.push(Budget { what, limit: NO_STALL_MS, measured: of(rounds, |s| s.tail.p90), unit: "ms" });
    }
    if let Some(cold) = facts.cold {
        let what = "Lambda: from exec to asking for the first event, p50".to_owned();
        budgets.push(Budget { what, limit: COLD_MS, measured: cold.ready.p50, unit: "ms" });
    }
    if let Some(measured) = facts.meter {
        let what = "core: the meter's part in a streamed request, off and on in turn".to_owned();
        budgets.push(Budget { what, limit: METER_PERCENT, measured, unit: "%" });
    }
    budgets
}

fn budget_table(budgets: &[Budget]) -> String {
    let mut table = String::from("| budget | limit | measured | |\n|---|---:|---:|---|\n");
    for budget in budgets {
        let verdict = if budget.holds() { "holds" } else { "**missed**" };
        let Budget { what, limit, measured, unit } = budget;
        let _ = writeln!(table, "| {what} | {limit} {unit} | {} {unit} | {verdict} |", number(*measured, 2));
    }
    table
}

/// How much CPU an entry may use, in terms of its floor.
fn limit(role: Role, case: &Case) -> Option<f64> {
    match (role, case.stream) {
        (Role::Local, true) if case.wire == Wire::Anthropic => Some(2.0),
        (Role::Worker, true) if case.wire == Wire::Anthropic => Some(1.8),
        (Role::Local | Role::Worker, false) if case.wire == Wire::Anthropic => None,
        (Role::Local, false) => Some(3.0),
        (Role::Local, true) => Some(1.6),
        // What a large prompt costs is copying it into wasm, which the floor does not do at all.
        (Role::Worker, false) => (case.prompt == 1024).then_some(1.6),
        (Role::Worker, true) => Some(1.4),
        (Role::Direct | Role::Bare | Role::Pass | Role::Pump | Role::Lambda, _) => None,
    }
}

fn floor(role: Role, case: &Case) -> Option<Role> {
    match (role, case.stream) {
        (Role::Local, _) => Some(Role::Bare),
        (Role::Worker, false) => Some(Role::Pass),
        (Role::Worker, true) => Some(Role::Pump),
        (Role::Direct | Role::Bare | Role::Pass | Role::Pump | Role::Lambda, _) => None,
    }
}

/// The median of the rounds' ratios: what a round suffered, both suffered.
fn ratio(rounds: &[Sample], floor: &[Sample]) -> f64 {
    median(rounds.iter().zip(floor).map(|(sample, floor)| sample.cpu_us / floor.cpu_us))
}

fn of(rounds: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    median(rounds.iter().map(value))
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Direct => "(no gateway)",
        Role::Bare => "(hyper proxy)",
        Role::Local => "local",
        Role::Pass => "(JS pass-through)",
        Role::Pump => "(JS pump)",
        Role::Worker => "Worker",
        Role::Lambda => "Lambda",
    }
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{value:.digits$}") }
}

const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";
/// A stall waits for a delayed acknowledgement, 40 ms on Linux.
const NO_STALL_MS: f64 = 20.0;
const COLD_MS: f64 = 5.0;
const FLAT: f64 = 1.1;
const METER_PERCENT: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_goes_between_the_marks() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(insert(&readme, "| new |\n").unwrap(), format!("a\n{BEGIN}\n| new |\n{END}\nb\n"));
        assert!(insert("no marks", "").is_err());
        assert!(insert(&format!("{END} {BEGIN}"), "").is_err());
    }

    #[test]
    fn a_budget_that_was_not_measured_is_missed() {
        let budget = |measured| Budget { what: String::new(), limit: 1.0, measured, unit: "" };
        assert!(budget(1.0).holds());
        assert!(!budget(1.1).holds());
        assert!(!budget(f64::NAN).holds());
    }
}
