//! `bootstrap`: the gateway as an AWS Lambda function.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let lookup = |name: &str| std::env::var(name).ok();
    // One event at a time needs one thread, and threads cost start-up time.
    let mut runtime = if gateway_lambda::concurrency(lookup) > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let ended = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(gateway_lambda::run(lookup)),
        Err(error) => Err(error.to_string()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "bootstrap: {why}");
            ExitCode::FAILURE
        }
    }
}
