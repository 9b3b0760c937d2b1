//! The whole measurement: everything is started once, then measured in rounds, one after the other in every round, so that
//! what else the machine does falls on all alike.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Arguments;
use crate::cold::Cold;
use crate::memory::Growth;
use crate::report::{self, Facts};
use crate::sample::Sample;
use crate::subject::{Aws, Setting, Subject, words};
use crate::upstream::Wire;
use crate::worker::{self, Configured};
use crate::{Outcome, child, client, memory, meter, serve, translation};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The provider itself.
    Direct,
    /// The floor of a native gateway.
    Bare,
    Local,
    /// The floor of a Worker for whole answers.
    Pass,
    /// The floor of a Worker for streams.
    Pump,
    Worker,
    Lambda,
}

impl Role {
    fn is_gateway(self) -> bool {
        matches!(self, Self::Local | Self::Worker | Self::Lambda)
    }
}

/// A kind of load.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the provider speaks; the client speaks OpenAI's.
    pub(crate) wire: Wire,
    pub(crate) stream: bool,
    pub(crate) prompt: usize,
    pub(crate) connections: usize,
}

pub(crate) const CASES: [Case; 8] = [
    case("1 KB JSON", Wire::OpenAi, false, 1, 1),
    case("1 KB JSON", Wire::OpenAi, false, 1, 16),
    case("32 KB JSON", Wire::OpenAi, false, 32, 16),
    case("64-chunk stream", Wire::OpenAi, true, 1, 1),
    case("64-chunk stream", Wire::OpenAi, true, 1, 16),
    case("Anthropic 1 KB JSON", Wire::Anthropic, false, 1, 16),
    case("Anthropic 64-chunk stream", Wire::Anthropic, true, 1, 1),
    case("Anthropic 64-chunk stream", Wire::Anthropic, true, 1, 16),
];

const fn case(name: &'static str, wire: Wire, stream: bool, prompt_kb: usize, connections: usize) -> Case {
    Case { name, wire, stream, prompt: prompt_kb << 10, connections }
}

/// Samples by the case's place and what was measured, one of each round.
pub(crate) type Samples = BTreeMap<(usize, Role), Vec<Sample>>;

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let known = [
        "root",
        "work",
        "only",
        "rounds",
        "secs",
        "warmup",
        "streams",
        "write",
        "commit",
        "local",
        "bootstrap",
        "python",
        "workerd",
        "bundle",
        "wrangler",
    ];
    let arguments = Arguments::read(given, &known)?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = measure(&arguments) => ended,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        _ = terminated.recv() => Err("terminated".into()),
    }
}

async fn measure(arguments: &Arguments) -> Outcome<()> {
    let mut stage = Stage::set(arguments).await?;
    let rounds: usize = arguments.parsed("rounds", 9)?;
    let (secs, warmup): (f64, f64) = (arguments.parsed("secs", 1.0)?, arguments.parsed("warmup", 0.2)?);
    for (role, subject) in &stage.subjects {
        eprintln!("warming up {role:?}");
        // Compilers that work while a program runs need some seconds of it.
        let jit = matches!(role, Role::Pass | Role::Pump | Role::Worker);
        for stream in ["false", "true"] {
            let conns = if *role == Role::Lambda { "1" } else { "8" };
            let secs = if jit { "3" } else { "0.5" };
            for wire in [Wire::OpenAi, Wire::Anthropic] {
                let options = ["--stream", stream, "--conns", conns, "--secs", secs];
                load(&stage.setting, *role, subject, wire, &options).await?;
            }
        }
    }
    let mut samples = Samples::new();
    let rounds = if stage.subjects.is_empty() { 0 } else { rounds };
    for round in 1..=rounds {
        for (place, case) in CASES.iter().enumerate() {
            eprintln!("round {round} of {rounds}: {}, {} connection(s)", case.name, case.connections);
            for (role, subject) in stage.subjects.iter().filter(|(role, _)| takes_part(*role, case)) {
                let (stream, prompt) = (case.stream.to_string(), case.prompt.to_string());
                let (conns, secs, warmup) = (case.connections.to_string(), secs.to_string(), warmup.to_string());
                let mut options = vec!["--stream", &stream, "--prompt", &prompt, "--conns", &conns];
                options.extend(["--secs", &secs, "--warmup", &warmup]);
                let sample = load(&stage.setting, *role, subject, case.wire, &options).await?;
                samples.entry((place, *role)).or_default().push(sample);
            }
        }
    }
    let mut growth: Vec<(Role, Growth)> = Vec::new();
    for (role, subject) in &stage.subjects {
        if matches!(role, Role::Local | Role::Worker) {
            let streams = arguments.parsed("streams", 10_000)?;
            eprintln!("{streams} translated streams through {role:?}");
            growth.push((*role, memory::growth(&stage.setting, *role, subject, streams).await?));
        }
    }
    for (_, subject) in &mut stage.subjects {
        subject.check()?;
    }
    let core = if stage.core { translation::measure()? } else { Vec::new() };
    let meter = if stage.core { Some(meter::measure()?.share()) } else { None };
    let facts = Facts {
        commit: arguments.text("commit").unwrap_or("unknown").to_owned(),
        workerd: stage.workerd.clone(),
        rounds,
        secs,
        pinned: stage.setting.places.pinned(),
        cold: stage.cold,
        growth,
        core,
        meter,
    };
    let report = report::make(&facts, &samples)?;
    println!("{}", report.text);
    if let Some(path) = arguments.text("write") {
        let written = report::insert(&fs::read_to_string(path)?, &report.table)?;
        fs::write(path, written)?;
    }
    if report.missed > 0 { Err(format!("{} budget(s) missed", report.missed).into()) } else { Ok(()) }
}

/// One window of the load maker. A floor is asked as the provider is, a gateway always in OpenAI's format.
pub(crate) async fn load(
    setting: &Setting,
    role: Role,
    subject: &Subject,
    wire: Wire,
    options: &[&str],
) -> Outcome<Sample> {
    let asked = if role.is_gateway() { Wire::OpenAi } else { wire };
    let url = format!("{}{}", subject.origin, asked.path());
    let pid = subject.pid.to_string();
    let mut command = words([&setting.program, "load", "--url", &url, "--pid", &pid, "--bearer", &subject.bearer]);
    command.extend(words(["--model", client::model(wire)]));
    command.extend(options.iter().map(|option| (*option).to_owned()));
    Ok(serde_json::from_str(&child::output(&command, &[], setting.places.tools.as_deref()).await?)?)
}

/// Everything that is measured, running.
struct Stage {
    setting: Setting,
    subjects: Vec<(Role, Subject)>,
    cold: Option<Cold>,
    workerd: Option<String>,
    /// Whether core is measured by itself as well.
    core: bool,
    _aws: Option<Aws>,
}

impl Stage {
    async fn set(arguments: &Arguments) -> Outcome<Self> {
        let only = arguments.text("only").unwrap_or("local,worker,lambda,core");
        let wanted = |entry: &str| only.split(',').any(|name| name == entry);
        let root = PathBuf::from(arguments.needed("root")?);
        let setting = Setting::new(root, PathBuf::from(arguments.needed("work")?)).await?;
        let core = wanted("core");
        let mut stage = Self { setting, subjects: Vec::new(), cold: None, workerd: None, core, _aws: None };
        if ["local", "worker", "lambda"].into_iter().any(wanted) {
            stage.subjects.push((Role::Direct, stage.setting.direct().await?));
        }
        if wanted("local") {
            stage.subjects.push((Role::Bare, stage.setting.bare().await?));
            stage.subjects.push((Role::Local, stage.setting.local(arguments.needed("local")?).await?));
        }
        if wanted("worker") {
            stage.add_workers(arguments).await?;
        }
        if wanted("lambda") {
            stage.add_function(arguments).await?;
        }
        Ok(stage)
    }

    async fn add_workers(&mut self, arguments: &Arguments) -> Outcome<()> {
        let workerd = arguments.needed("workerd")?;
        let configured: Configured = serde_json::from_str(&fs::read_to_string(arguments.needed("wrangler")?)?)?;
        for (role, script) in [(Role::Pass, "pass.js"), (Role::Pump, "pump.js")] {
            let port = serve::free_port().await?;
            let config = worker::floor(&self.setting, &configured, script, port)?;
            self.subjects.push((role, self.setting.floor_worker(workerd, &config, port).await?));
        }
        if let Some(bundle) = arguments.text("bundle") {
            let port = serve::free_port().await?;
            let config = worker::gateway(&self.setting, &configured, Path::new(bundle), port)?;
            self.subjects.push((Role::Worker, self.setting.worker(workerd, &config, port).await?));
        }
        self.workerd = Some(child::output(&words([workerd, "--version"]), &[], None).await?.trim().to_owned());
        Ok(())
    }

    async fn add_function(&mut self, arguments: &Arguments) -> Outcome<()> {
        let aws = Aws::start(&self.setting.root, arguments.needed("python")?, &self.setting.places).await?;
        let bootstrap = arguments.needed("bootstrap")?;
        let subject = self.setting.function(bootstrap, &aws).await?;
        eprintln!("cold starts of the function");
        let mut command = words([&self.setting.program, "cold", "--count", "40", "--bearer", &subject.bearer]);
        if let Some(cpu) = &self.setting.places.subjects {
            command.extend(words(["--cpu", cpu]));
        }
        command.extend(words(["--", bootstrap]));
        let environment = self.setting.function_environment(&aws);
        let cold = child::output(&command, &environment, self.setting.places.tools.as_deref()).await?;
        self.cold = Some(serde_json::from_str(&cold)?);
        self.subjects.push((Role::Lambda, subject));
        self._aws = Some(aws);
        Ok(())
    }
}

/// An environment of Lambda has one event at a time; each floor of a Worker is for one kind of answer.
fn takes_part(role: Role, case: &Case) -> bool {
    match role {
        Role::Direct | Role::Bare | Role::Local | Role::Worker => true,
        Role::Pass => !case.stream,
        Role::Pump => case.stream,
        Role::Lambda => case.connections == 1,
    }
}
