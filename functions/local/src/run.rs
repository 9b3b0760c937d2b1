//! Start and end of the process: state, keys, store, core, listener; signals.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway_core::{DefaultManager, Deployment, DeploymentError, Gateway};
use gateway_native::Log;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::demo::{self, Demo, DemoError};
use crate::later;
use crate::options::Options;
use crate::platform::Local;
use crate::server::{self, Server};
use crate::state::State;
use crate::store::{OpenError, RedbStore};

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory.
    #[error("cannot use the state directory {path}: {source}")]
    State {
        /// The directory.
        path: String,
        /// What happened.
        source: io::Error,
    },
    /// The store in it.
    #[error("cannot use the store in {path}: {source}")]
    Store {
        /// The directory.
        path: String,
        /// What happened.
        source: OpenError,
    },
    /// The configuration.
    #[error("{0}")]
    Deployment(#[from] DeploymentError),
    /// The address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What happened.
        source: io::Error,
    },
    /// The demo.
    #[error("the demo could not be set up: {0}")]
    Demo(#[from] DemoError),
}

/// Runs the gateway until SIGTERM or SIGINT. `lookup` answers environment variables.
pub async fn run(options: Options, lookup: impl Fn(&str) -> Option<String>) -> Result<(), StartError> {
    let log = Log::new(lookup("RUST_LOG").as_deref());
    gateway_native::quiet_panics(log);
    // First what can fail without a trace: an operator key that was made has to be shown.
    let listener = listen(&options).await?;
    let Keys { admin, admin_made, sealing, state, store } = keys(&options.state, &lookup).await?;
    let demo = if options.demo { Some(Demo::start(&state).await?) } else { None };
    let deployment = Deployment::read(
        |name| match (name, &demo) {
            ("GATEWAY_ADMIN_KEY", _) => Some(admin.clone()),
            ("GATEWAY_SEALING_KEY", _) => Some(sealing.clone()),
            ("EGRESS_ALLOW_ORIGINS", Some(demo)) => {
                Some(format!("{} {}", lookup(name).unwrap_or_default(), demo.origin()))
            }
            _ => lookup(name),
        },
        DefaultManager::Builtin,
    )?;
    let address = listener.local_addr().map_or_else(|_| options.listen.to_string(), |address| address.to_string());
    let room = server::room(lookup("GATEWAY_MAX_CONCURRENT").as_deref()).ok_or_else(|| DeploymentError {
        variable: "GATEWAY_MAX_CONCURRENT",
        advice: "must be the number of requests at once, 1 to 1000000".to_owned(),
    })?;
    let server = Server { gateway: Arc::new(Gateway::new(deployment)), platform: Local::new(store, log), room };
    let demo_key = match &demo {
        Some(demo) => Some(demo.provision(&server, &state, &admin).await?),
        None => None,
    };
    drop(tokio::spawn(sweep(server.clone())));
    drop(tokio::spawn(later::roll_up(server.clone())));
    let (stop_later, stopped_later) = oneshot::channel();
    let queue = server.platform.queue();
    let later = queue.map(|queue| tokio::spawn(later::carry_out(server.clone(), queue, stopped_later)));
    let stopped = stop_signal();
    say(&Greeting {
        url: &format!("http://{address}"),
        state: &options.state,
        admin_key: admin_made.then_some(&admin),
        admin_file: lookup("GATEWAY_ADMIN_KEY").is_none(),
        demo_key: demo_key.as_deref(),
    });
    server.serve(listener, stopped).await;
    drop(stop_later);
    if let Some(later) = later {
        let _ = tokio::time::timeout(LATER, later).await;
    }
    Ok(())
}

/// For work that nobody waits for, at the end of the process.
const LATER: Duration = Duration::from_secs(10);

struct Keys {
    admin: String,
    admin_made: bool,
    sealing: String,
    state: State,
    store: RedbStore,
}

/// Opens the store before the keys: its lock makes sure that one process only makes them.
async fn keys(directory: &Path, lookup: &impl Fn(&str) -> Option<String>) -> Result<Keys, StartError> {
    let path = || directory.display().to_string();
    let failed = |source| StartError::State { path: path(), source };
    let given = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
    let (admin, sealing) = (given("GATEWAY_ADMIN_KEY"), given("GATEWAY_SEALING_KEY"));
    let state = State::open(directory).map_err(failed)?;
    let at = state.store();
    let opened = tokio::task::spawn_blocking(move || RedbStore::open_path(&at)).await;
    let store = opened
        .map_err(|_| failed(io::ErrorKind::Other.into()))?
        .map_err(|source| StartError::Store { path: path(), source })?;
    let sealing = match sealing {
        Some(key) => key,
        None => state.sealing_key().map_err(failed)?.value,
    };
    let (admin, admin_made) = match admin {
        Some(key) => (key, false),
        None => state.admin_key().map(|kept| (kept.value, kept.made)).map_err(failed)?,
    };
    Ok(Keys { admin, admin_made, sealing, state, store })
}

async fn listen(options: &Options) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(options.listen).await;
    bound.map_err(|source| StartError::Listen { address: options.listen.to_string(), source })
}

async fn sweep(server: Server) {
    server.gateway.sweep(server.platform).await;
}

/// Ready at the first SIGTERM or SIGINT; the second one ends the process as signals do.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    }));
}

struct Greeting<'a> {
    url: &'a str,
    state: &'a Path,
    admin_key: Option<&'a String>,
    admin_file: bool,
    demo_key: Option<&'a str>,
}

impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url;
        if let Some(key) = self.admin_key {
            let file = self.state.join("admin-key");
            writeln!(
                f,
                "Operator key, made now and kept in {} (it is not shown again):\n\n    {key}\n",
                file.display()
            )?;
        }
        if let Some(key) = self.demo_key {
            return f.write_str(&demo::commands(url, key));
        }
        let admin = if self.admin_file {
            format!("$(cat {})", self.state.join("admin-key").display())
        } else {
            "$GATEWAY_ADMIN_KEY".to_owned()
        };
        writeln!(
            f,
            "A tenant, a provider and a model, with an API key of OpenAI in $OPENAI_API_KEY:

    curl -sS {url}/v1/tenant -H \"Authorization: Bearer {admin}\" \\
      -H 'Content-Type: application/json' -d '{{\"name\": \"test\", \"secrets_manager\": \"builtin\"}}'

    curl -sS {url}/v1/providers/openai -H \"Authorization: Bearer {admin}\" \\
      -H 'Content-Type: application/json' -d '{{\"name\": \"openai\", \"data\": {{\"apikey\": \"'\"$OPENAI_API_KEY\"'\"}}}}'

    curl -sS {url}/v1/providers/UUID_OF_THE_PROVIDER/models -H \"Authorization: Bearer {admin}\" \\
      -H 'Content-Type: application/json' -d '{{\"id\": \"gpt-4o-mini\"}}'
"
        )
    }
}

/// Prints the greeting, then the line that scripts wait for. Nobody reading is no error.
fn say(greeting: &Greeting<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{greeting}\nlistening on {}", greeting.url);
    let _ = out.flush();
}
