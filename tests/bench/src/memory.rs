//! Memory: of a `bootstrap` that has answered some requests, and of a process under many streams. In MB.

use std::path::PathBuf;

use crate::arguments::Arguments;
use crate::run::{self, Role};
use crate::sample::{Sample, median};
use crate::subject::{Aws, Setting, Subject};
use crate::upstream::Wire;
use crate::{Outcome, process};

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let arguments = Arguments::read(given, &["root", "bootstrap", "work", "python", "requests"])?;
    let root = PathBuf::from(arguments.needed("root")?);
    let setting = Setting::new(root, PathBuf::from(arguments.needed("work")?)).await?;
    let aws = Aws::start(&setting.root, arguments.needed("python")?, &setting.places).await?;
    let subject = setting.function(arguments.needed("bootstrap")?, &aws).await?;
    let requests: u64 = arguments.parsed("requests", 200)?;
    let mut answered = 0;
    for stream in ["false", "true"] {
        let count = (requests / 2).to_string();
        let limits = ["--stream", stream, "--requests", &count, "--warmup", "0", "--secs", "60"];
        let sample: Sample = run::load(&setting, Role::Lambda, &subject, Wire::OpenAi, &limits).await?;
        if sample.bad > 0 {
            return Err(sample.fault.unwrap_or_default().into());
        }
        answered += sample.good;
    }
    println!("{{\"requests\":{answered},\"resident_mb\":{:.1}}}", process::resident_mb(subject.pid));
    Ok(())
}

/// Resident memory of a process that translates stream after stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) streams: u64,
    /// After the first of them.
    pub(crate) early_mb: f64,
    /// After the last.
    pub(crate) late_mb: f64,
}

/// Sends translated streams over 50 connections: `streams` for the heap to find its size (workerd's takes some thousands,
/// and then stays), and as many that must leave it so. A collector of garbage lets memory swing, so that the middle one of
/// three readings counts at both ends.
pub(crate) async fn growth(setting: &Setting, role: Role, subject: &Subject, streams: u64) -> Outcome<Growth> {
    let part = (streams / PARTS).max(1).to_string();
    let options = ["--stream", "true", "--conns", "50", "--requests", &part, "--warmup", "0", "--secs", "600"];
    let (mut resident, mut answered) = (Vec::new(), 0);
    for number in 0..2 * PARTS {
        let sample = run::load(setting, role, subject, Wire::Anthropic, &options).await?;
        if let Some(fault) = sample.fault {
            return Err(format!("{role:?} answered wrongly under many streams: {fault}").into());
        }
        if number >= PARTS {
            answered += sample.good;
            resident.push(process::resident_mb(subject.pid));
        }
    }
    let early = resident.iter().take(3).copied();
    let late = resident.iter().rev().take(3).copied();
    Ok(Growth { streams: answered, early_mb: median(early), late_mb: median(late) })
}

const PARTS: u64 = 10;
