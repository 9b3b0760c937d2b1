//! A stand-in for AWS: moto's server, started for a test on a free port and ended with it.

use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// A running server.
pub(crate) struct Moto {
    _process: Child,
    pub(crate) url: String,
}

impl Moto {
    /// Starts a server; `None` where there is no moto and nobody said that there must be.
    pub(crate) async fn start() -> Option<Self> {
        let program =
            std::env::var("GATEWAY_VENV").map_or_else(|_| "moto_server".to_owned(), |v| format!("{v}/bin/moto_server"));
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let started = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) if std::env::var("CI").is_err() => {
                eprintln!("SKIPPED: {program} cannot be started ({error}); infra/setup installs it");
                return None;
            }
            Err(error) => panic!("{program} cannot be started: {error}"),
        };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(Self { _process: process, url: format!("http://127.0.0.1:{port}") });
            }
            assert!(process.try_wait().unwrap().is_none(), "{program} ended by itself");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{program} did not listen within a minute");
    }

    /// What Lambda would put into the environment.
    pub(crate) fn environment(&self) -> impl Fn(&str) -> Option<String> + use<> {
        let url = self.url.clone();
        move |name| match name {
            "AWS_REGION" => Some("us-east-1".to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("testing".to_owned()),
            "AWS_ENDPOINT_URL" => Some(url.clone()),
            _ => None,
        }
    }
}
