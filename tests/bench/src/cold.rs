//! Cold starts of a `bootstrap`: from its start to its first request for an event, and to the end of the first answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::arguments::Arguments;
use crate::lambda::{self, Event, Function};
use crate::sample::Spread;
use crate::upstream::Wire;
use crate::{Outcome, client};

/// Times of many starts, ms.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cold {
    /// To the first request for an event: what Lambda calls the init phase, less its own part.
    pub(crate) ready: Spread,
    /// To the last byte of the first answer.
    pub(crate) answered: Spread,
}

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let arguments = Arguments::read(given, &["count", "bearer", "model", "cpu"])?;
    let body = serde_json::json!({
        "model": arguments.text("model").unwrap_or(client::model(Wire::OpenAi)),
        "messages": [{"role": "user", "content": "hello"}],
    });
    let headers = HashMap::from([
        ("authorization", Cow::from(format!("Bearer {}", arguments.needed("bearer")?))),
        ("content-type", Cow::from("application/json")),
        ("host", Cow::from("bench.lambda-url.us-east-1.on.aws")),
    ]);
    let payload = lambda::payload("POST", "/v1/chat/completions", &headers, body.to_string().as_bytes());
    let (mut ready, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..arguments.parsed("count", 30)? {
        let (function, asked) = Function::start(&arguments.rest, arguments.text("cpu")).await?;
        let asked = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| "the bootstrap asks for no event")??;
        ready.push(asked.duration_since(function.begun));
        let (answer, response) = oneshot::channel();
        function.events.send(Event { payload: payload.clone(), answer }).map_err(|_| "the stand-in is gone")?;
        let response = tokio::time::timeout(PATIENCE, response).await??;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("a cold start was answered with {status}: {}", String::from_utf8_lossy(&text)).into());
        }
        answered.push(function.begun.elapsed());
    }
    println!("{}", serde_json::to_string(&Cold { ready: spread(ready), answered: spread(answered) })?);
    Ok(())
}

fn spread(times: Vec<Duration>) -> Spread {
    Spread::of(times.into_iter().map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect())
}

const PATIENCE: Duration = Duration::from_secs(10);
