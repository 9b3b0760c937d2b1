//! Programs that are started for a measurement and end with it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{Outcome, client};

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    child: tokio::process::Child,
}

impl Child {
    /// Starts a command with more environment, on one CPU if that is given. What it prints is thrown away, since keeping
    /// it would be measured; what the function prints before it serves anything else is not.
    pub(crate) fn start(command: &[String], environment: &[(&str, String)], cpu: Option<&str>) -> Outcome<Self> {
        let mut command = prepared(command, cpu)?;
        command.stdout(Stdio::null()).envs(environment.iter().map(|(name, value)| (name, value)));
        if std::env::var_os("BENCH_LOGS").is_none() {
            command.stderr(Stdio::null());
        }
        let name = format!("{:?}", command.as_std());
        Ok(Self { child: command.spawn().map_err(|error| format!("{name}: {error}"))?, name })
    }

    /// Starts a command that says one line when it is ready.
    pub(crate) async fn announcing(
        command: &[String],
        environment: &[(&str, String)],
        cpu: Option<&str>,
    ) -> Outcome<(Self, String)> {
        let mut command = prepared(command, cpu)?;
        command.stdout(Stdio::piped()).envs(environment.iter().map(|(name, value)| (name, value)));
        let name = format!("{:?}", command.as_std());
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("no output")?).read_line(&mut line).await?;
        Ok((Self { child, name }, line.trim().to_owned()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("ended with {status} (BENCH_LOGS=1 shows what it says): {}", self.name).into()),
            None => Ok(()),
        }
    }

    /// Waits until `url` is answered with a success.
    pub(crate) async fn answers(&mut self, url: &str) -> Outcome<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.check()?;
            if client::get(url).await.is_ok_and(|status| status.is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("no answer from {url} (BENCH_LOGS=1 shows more): {}", self.name).into())
    }
}

/// Runs a command to its end and gives what it printed.
pub(crate) async fn output(command: &[String], environment: &[(&str, String)], cpu: Option<&str>) -> Outcome<String> {
    let mut command = prepared(command, cpu)?;
    command.stdout(Stdio::piped()).envs(environment.iter().map(|(name, value)| (name, value)));
    let name = format!("{:?}", command.as_std());
    let output = command.spawn().map_err(|error| format!("{name}: {error}"))?.wait_with_output().await?;
    if !output.status.success() {
        return Err(format!("{name} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// taskset becomes the program it starts, so the process has its id.
fn prepared(command: &[String], cpu: Option<&str>) -> Outcome<tokio::process::Command> {
    let pinned = cpu.map(|cpu| ["taskset".to_owned(), "-c".to_owned(), cpu.to_owned()]);
    let mut words = pinned.iter().flatten().chain(command);
    let mut prepared = tokio::process::Command::new(words.next().ok_or("no command to start")?);
    prepared.args(words).kill_on_drop(true).stdin(Stdio::null());
    Ok(prepared)
}

const PATIENCE: Duration = Duration::from_secs(30);
