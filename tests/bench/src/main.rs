//! `gateway-bench`: what `infra/bench` and `infra/check-size` measure with.
//!
//! Everything listens on and calls loopback only. Each part is a process of its own, so that the CPU time of one is not
//! the other's: a mock provider, a load maker, the floors (a bare proxy, two small Workers) and a stand-in for Lambda.

mod arguments;
mod child;
mod client;
mod cold;
mod lambda;
mod load;
mod machine;
mod memory;
mod meter;
mod process;
mod proxy;
mod report;
mod run;
mod sample;
mod serve;
mod subject;
mod translation;
mod upstream;
mod worker;

use std::process::ExitCode;

/// What the parts of this program end with.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    let part = given.next().unwrap_or_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    let given = given.collect();
    let ended = runtime.block_on(async {
        match part.as_str() {
            "upstream" => upstream::main(given).await,
            "proxy" => proxy::main(given).await,
            "load" => load::main(given).await,
            "lambda" => lambda::main(given).await,
            "cold" => cold::main(given).await,
            "memory" => memory::main(given).await,
            "run" => run::main(given).await,
            _ => Err(USAGE.into()),
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("gateway-bench: {why}");
    ExitCode::FAILURE
}

const USAGE: &str = "\
usage: gateway-bench PART ...

    upstream --port N                                      the mock provider
    proxy    --port N --to HOST:PORT                       a hyper proxy that looks at nothing
    load     --url URL [--bearer KEY] [--model M] [--stream true] [--prompt BYTES] [--conns N] [--chunks N]
             [--pace-us N] [--secs S] [--warmup S] [--requests N] [--pid PID]
    lambda   --port N [--cpu N] -- PATH/bootstrap          a function URL before that bootstrap
    cold     --count N --bearer KEY [--model M] -- PATH/bootstrap
    memory   --root REPOSITORY --bootstrap PATH --work DIR --python VENV [--requests N]
    run      see infra/bench";
