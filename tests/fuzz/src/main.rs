//! Calls core's fuzz targets with inputs made of the golden data, the same ones for the same seed and number.
//!
//!     cargo run --profile fuzz -p gateway-fuzz -- [--seconds N] [--target NAME] [--seed S]
//!     cargo run --profile fuzz -p gateway-fuzz -- --target NAME --input FILE
//!
//! Without a target all of them share the time. An input that makes a target panic is written to a file, to be given
//! with `--input`; the program then ends with 1.

mod corpus;
mod mutate;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gateway_core::fuzz::{Dice, TARGETS, Target};

use crate::corpus::Golden;
use crate::mutate::Mutator;

/// Longest time that an input may take. Far more than any needs: a machine may be busy.
const SLOW: Duration = Duration::from_secs(10);

/// What the command line says.
struct Options {
    seconds: f64,
    target: Option<String>,
    seed: u64,
    input: Option<PathBuf>,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { seconds: 10.0, target: None, seed: 1, input: None };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} lacks its value"))?;
            let wrong = || format!("{word} does not take '{value}'");
            match word.as_str() {
                "--seconds" => options.seconds = value.parse().map_err(|_| wrong())?,
                "--seed" => options.seed = value.parse().map_err(|_| wrong())?,
                "--target" => options.target = Some(value),
                "--input" => options.input = Some(value.into()),
                _ => return Err(format!("unknown option {word}")),
            }
        }
        Ok(options)
    }

    fn targets(&self) -> Result<Vec<&'static Target>, String> {
        let wanted = |target: &&Target| self.target.as_ref().is_none_or(|name| name == target.name);
        let targets: Vec<_> = TARGETS.iter().filter(wanted).collect();
        if targets.is_empty() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            return Err(format!("no such target; there are {}", names.join(", ")));
        }
        Ok(targets)
    }
}

/// Where and why the last panic was.
static PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
    }));
    let outcome = Options::read(std::env::args().skip(1)).and_then(|options| match &options.input {
        Some(input) => replay(&options, input),
        None => fuzz(&options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn replay(options: &Options, input: &PathBuf) -> Result<(), String> {
    let bytes = std::fs::read(input).map_err(|error| format!("{}: {error}", input.display()))?;
    for target in options.targets()? {
        call(target, &bytes).map_err(|fault| format!("{}: {fault}", target.name))?;
        println!("{}: passed", target.name);
    }
    Ok(())
}

fn fuzz(options: &Options) -> Result<(), String> {
    let targets = options.targets()?;
    let golden = Golden::read()?;
    let (begin, mut all) = (Instant::now(), 0_u64);
    println!("{:<20} {:>12} {:>14}   seed {}", "target", "executions", "per second", options.seed);
    for (at, target) in targets.iter().enumerate() {
        // What earlier targets left over or took too much is shared among the later ones.
        let left = options.seconds - begin.elapsed().as_secs_f64();
        let share = Duration::from_secs_f64((left / (targets.len() - at) as f64).max(0.01));
        let (executions, took) = run(target, &golden, options.seed, share)?;
        all += executions;
        println!("{:<20} {executions:>12} {:>14.0}", target.name, executions as f64 / took.as_secs_f64());
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "fuzz: {all} executions of {} targets in {seconds:.1} s ({:.0} per second), seed {}, no fault",
        targets.len(),
        all as f64 / seconds,
        options.seed
    );
    Ok(())
}

/// First the corpus as it is, then changes of it until the time is over.
fn run(target: &Target, golden: &Golden, seed: u64, share: Duration) -> Result<(u64, Duration), String> {
    let mut corpus: Vec<Vec<u8>> = target.material.iter().flat_map(|material| golden.of(*material)).collect();
    corpus.extend((target.examples)());
    if corpus.is_empty() {
        return Err(format!("{}: there is nothing to begin with", target.name));
    }
    let begin = Instant::now();
    let mut executions = 0;
    let mut mutator = Mutator::new(&corpus, Dice::new(seed ^ Dice::of(target.name.as_bytes()).roll()));
    let mut seeds = corpus.iter();
    loop {
        let input = seeds.next().cloned().unwrap_or_else(|| mutator.next());
        let called = Instant::now();
        let mut outcome = call(target, &input);
        executions += 1;
        let took = called.elapsed();
        if outcome.is_ok() && took > SLOW {
            outcome = Err(format!("took {:.1} s", took.as_secs_f64()));
        }
        if let Err(fault) = outcome {
            let input = shrink(target, input);
            let file = std::env::temp_dir().join(format!("fuzz-{}-{seed}", target.name));
            let kept = std::fs::write(&file, &input).map_err(|error| error.to_string());
            return Err(format!(
                "{} failed with seed {seed} at execution {executions}: {fault}\n{} bytes in {} {}",
                target.name,
                input.len(),
                file.display(),
                kept.err().unwrap_or_default()
            ));
        }
        if begin.elapsed() >= share && seeds.len() == 0 {
            return Ok((executions, begin.elapsed()));
        }
    }
}

/// Calls a target; the panic's message if it does.
fn call(target: &Target, input: &[u8]) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)))
        .map_err(|_| PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// The same fault in fewer bytes: leaves out ranges, smaller and smaller ones, for a while.
fn shrink(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let begin = Instant::now();
    let mut length = input.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < input.len() && begin.elapsed() < Duration::from_secs(5) {
            let mut shorter = input.clone();
            shorter.drain(at..(at + length).min(input.len()));
            if call(target, &shorter).is_err() {
                input = shorter;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    input
}
