//! A running gateway, and calls to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A gateway on a free port; killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) port: u16,
    /// What it printed before the line that says it listens.
    pub(crate) greeting: String,
}

impl Running {
    pub(crate) fn start(state: &Path, options: &[&str]) -> Self {
        let mut child = command(state, options).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut greeting = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(port) = line.strip_prefix("listening on http://127.0.0.1:") {
                return Self { child, port: port.parse().unwrap(), greeting };
            }
            greeting.push_str(&line);
            greeting.push('\n');
        }
        panic!("ended without listening: {:?}\n{greeting}", child.wait());
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends these bytes and reads to the end of the connection.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The other side may have answered and closed before it read everything.
        let _ = stream.write_all(bytes);
        rest(stream)
    }

    /// One request on a connection of its own.
    pub(crate) fn call(&self, method: &str, path: &str, key: &str, body: &str) -> String {
        self.exchange(request(method, path, key, body).as_bytes())
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with a free port and nothing of this process's environment.
pub(crate) fn command(state: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    command.env_clear().env("RUST_LOG", "off").args(["--port", "0", "--state"]).arg(state).args(options);
    command
}

pub(crate) fn request(method: &str, path: &str, key: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Everything up to the end; a reset counts as one.
pub(crate) fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..n]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn kept(state: &Path, name: &str) -> String {
    std::fs::read_to_string(state.join(name)).unwrap().trim().to_owned()
}
