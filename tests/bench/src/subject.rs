//! What is measured: the entries of the gateway, and the floors beside them.

mod aws;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

pub(crate) use self::aws::Aws;
use crate::child::Child;
use crate::machine::Places;
use crate::{Outcome, client, serve};

/// Something that answers chat completions.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) origin: String,
    pub(crate) bearer: String,
    /// The process whose CPU time and memory count.
    pub(crate) pid: u32,
    /// Ends with this.
    child: Child,
}

/// What every subject is started with.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) places: Places,
    /// The repository.
    pub(crate) root: PathBuf,
    /// A folder that is thrown away afterwards.
    pub(crate) work: PathBuf,
    /// This program.
    pub(crate) program: String,
    /// The mock provider's origin.
    pub(crate) provider: String,
    /// The mock provider, unless it is another's.
    _mock: Child,
}

impl Setting {
    pub(crate) async fn new(root: PathBuf, work: PathBuf) -> Outcome<Self> {
        let places = Places::find();
        let program = std::env::current_exe()?.display().to_string();
        let port = serve::free_port().await?;
        let provider = format!("http://127.0.0.1:{port}");
        let mut mock =
            Child::start(&words([&program, "upstream", "--port", &port.to_string()]), &[], places.tools.as_deref())?;
        mock.answers(&provider).await?;
        Ok(Self { places, root, work, program, provider, _mock: mock })
    }

    /// A second mock provider, where a gateway would be.
    pub(crate) async fn direct(&self) -> Outcome<Subject> {
        let port = serve::free_port().await?;
        self.started(&words([&self.program, "upstream", "--port", &port.to_string()]), &[], port, "/").await
    }

    pub(crate) async fn bare(&self) -> Outcome<Subject> {
        let port = serve::free_port().await?;
        let to = self.provider.trim_start_matches("http://");
        self.started(&words([&self.program, "proxy", "--port", &port.to_string(), "--to", to]), &[], port, "/").await
    }

    pub(crate) async fn local(&self, program: &str) -> Outcome<Subject> {
        let port = serve::free_port().await?;
        let state = self.work.join("local").display().to_string();
        let command = words([program, "--port", &port.to_string(), "--state", &state]);
        self.provisioned(self.started(&command, &self.deployment(), port, "/healthz").await?).await
    }

    /// A Worker on workerd alone; `config` is its configuration file.
    pub(crate) async fn floor_worker(&self, workerd: &str, config: &str, port: u16) -> Outcome<Subject> {
        self.started(&words([workerd, "serve", config]), &[], port, "/").await
    }

    pub(crate) async fn worker(&self, workerd: &str, config: &str, port: u16) -> Outcome<Subject> {
        self.provisioned(self.started(&words([workerd, "serve", config]), &[], port, "/healthz").await?).await
    }

    pub(crate) async fn function(&self, bootstrap: &str, aws: &Aws) -> Outcome<Subject> {
        let port = serve::free_port().await?;
        let mut command = words([&self.program, "lambda", "--port", &port.to_string()]);
        if let Some(cpu) = &self.places.subjects {
            command.extend(words(["--cpu", cpu]));
        }
        command.extend(words(["--", bootstrap]));
        let environment = self.function_environment(aws);
        let (mut child, pid) = Child::announcing(&command, &environment, self.places.tools.as_deref()).await?;
        let origin = format!("http://127.0.0.1:{port}");
        child.answers(&format!("{origin}/healthz")).await?;
        self.provisioned(Subject { origin, bearer: String::new(), pid: pid.parse()?, child }).await
    }

    pub(crate) fn function_environment(&self, aws: &Aws) -> Vec<(&'static str, String)> {
        let mut environment = self.deployment();
        environment.extend(aws.environment());
        environment
    }

    /// The operator's configuration, the same for every entry.
    pub(crate) fn deployment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("GATEWAY_ADMIN_KEY", ADMIN_KEY.to_owned()),
            ("GATEWAY_SEALING_KEY", BASE64.encode(SEALING_KEY)),
            ("EGRESS_ALLOW_ORIGINS", self.provider.clone()),
        ]
    }

    async fn started(
        &self,
        command: &[String],
        environment: &[(&str, String)],
        port: u16,
        ready: &str,
    ) -> Outcome<Subject> {
        let mut child = Child::start(command, environment, self.places.subjects.as_deref())?;
        let origin = format!("http://127.0.0.1:{port}");
        child.answers(&format!("{origin}{ready}")).await?;
        Ok(Subject { origin, bearer: "none".to_owned(), pid: child.id(), child })
    }

    async fn provisioned(&self, mut subject: Subject) -> Outcome<Subject> {
        subject.bearer = client::provision(&subject.origin, ADMIN_KEY, &self.provider).await?;
        Ok(subject)
    }
}

impl Subject {
    /// Whether it runs still.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        self.child.check()
    }
}

/// A command.
pub(crate) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

const ADMIN_KEY: &str = "operator.of.a.gateway.that.is.only.measured";
const SEALING_KEY: &[u8; 32] = b"sealing key of a measured gatew.";
