//! `POST /v1/route/explain`: where a chat would go, and why. Nothing is sent to a provider.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::journey::{Journey, Patience};
use crate::api::input::Input;
use crate::api::json;
use crate::dialect::openai_chat;
use crate::error::Outcome;
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::limits;
use crate::ports::{Platform, RequestBody};
use crate::provider::Endpoint;
use crate::route::{Candidate, Next, Out, Standing, Stop};
use crate::tenancy::{self, Caller};

/// Explains where the body of a chat completion would go now.
pub(in crate::api) async fn explain<P: Platform, B: RequestBody>(
    gateway: &Gateway,
    exchange: &mut Exchange<P>,
    mut caller: Caller,
    input: Input<'_, B>,
) -> Outcome<Response<Bytes>> {
    let patience = Patience::read(input.headers());
    let body = input.read(limits::DATA_BODY_BYTES).await?;
    let call = openai_chat::read_call(Endpoint::Chat, &body)?;
    if caller.config.targets(&call.model).is_empty() {
        caller = tenancy::confirmed(gateway, exchange, caller).await?;
    }
    let mut journey = Journey::new(gateway, exchange, &caller, &call, &patience)?;
    let now = exchange.platform().now_ms();
    let standings = gateway.board.standings(&journey.plan, now);
    let known = caller.config.targets(&call.model);
    let mut targets = Vec::with_capacity(standings.len());
    for (at, standing) in standings.iter().enumerate() {
        let Some(target) = known.get(at) else { continue };
        let Some(candidate) = journey.plan.candidates.get(at) else { continue };
        let mut entry = Map::new();
        entry.insert("model_uuid".into(), target.model.uuid.as_str().into());
        entry.insert("id".into(), target.model.id.as_str().into());
        entry.insert("provider_uuid".into(), target.provider.uuid.as_str().into());
        entry.insert("provider".into(), super::super::models::owner(target.provider).into());
        entry.insert("weight".into(), target.weight.into());
        entry.insert("priority".into(), target.priority.into());
        stand(&mut entry, candidate, standing);
        targets.push(Value::Object(entry));
    }
    let algorithm = journey.plan.algorithm.as_str();
    let pick = match gateway.board.peek(&journey.plan, now, &mut journey.entropy) {
        Next::Call(pick) => {
            let target = journey.target(&caller, pick.at)?;
            json!({"model_uuid": target.model.uuid, "reason": pick.reason.as_str(), "after_ms": pick.after_ms})
        }
        Next::Stop(Stop::Cooling { wait_ms, .. }) => {
            json!({"model_uuid": null, "reason": "cooling", "wait_ms": wait_ms})
        }
        Next::Stop(Stop::Last | Stop::Nothing) => json!({"model_uuid": null, "reason": "none"}),
    };
    let answer =
        json!({"object": "route", "model": call.model, "algorithm": algorithm, "targets": targets, "pick": pick});
    json(StatusCode::OK, &answer)
}

/// Whether a target can be picked, and if not, why and for how long.
fn stand(entry: &mut Map<String, Value>, candidate: &Candidate, standing: &Standing) {
    let (out, for_ms) = match candidate.out {
        Some(Out::Limited(ms)) => (Some("rate_limited"), Some(ms)),
        Some(out) => (Some(out.as_str()), None),
        None => (standing.out, standing.for_ms),
    };
    entry.insert("eligible".into(), out.is_none().into());
    entry.insert("why_not".into(), out.into());
    entry.insert("for_ms".into(), for_ms.into());
    entry.insert("expected_ms".into(), standing.expected_ms.into());
    entry.insert("in_flight".into(), standing.in_flight.into());
}
