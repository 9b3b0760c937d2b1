//! The buckets of rate limits in the table: one item per tenant, replaced only if it still has the version that was read.
//!
//! Questions of one tenant that wait at the same time in this process are answered together, with one read and at most one
//! write; between processes who loses reads again, after a short random wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gateway_core::bucket;
use gateway_core::model::TenantId;
use gateway_core::ports::{Buckets, Fault, HeadRecord, PortError};
use tokio::sync::oneshot;

use super::item::{Item, Place};
use super::write::Condition;
use super::{DynamoStore, corrupt};

const OPERATION: &str = "buckets.ask";

/// Where questions of this process wait, by tenants that have some.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<TenantId, Arc<Queue>>>);

/// The questions of one tenant. Who holds `turn` answers all that wait.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    question: Bytes,
    now_ms: u64,
    answer: oneshot::Sender<Result<Bytes, PortError>>,
}

impl Queues {
    fn of(&self, tenant: TenantId) -> Arc<Queue> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_default())
    }

    /// Forgets a queue that nobody else has in hand.
    fn leave(&self, tenant: TenantId, queue: Arc<Queue>) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        if queues.get(&tenant).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&tenant);
        }
    }
}

impl Queue {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets for DynamoStore {
    async fn ask(&self, tenant: TenantId, question: Bytes, now_ms: u64) -> Result<Bytes, PortError> {
        let queue = self.queues.of(tenant);
        let answer = loop {
            // Who takes a question along may leave with it: then it is put again.
            if let Some(answer) = self.wait(tenant, &queue, question.clone(), now_ms).await {
                break answer;
            }
        };
        self.queues.leave(tenant, queue);
        answer
    }
}

impl DynamoStore {
    /// The answer; `None` if who took the question along has left.
    async fn wait(
        &self,
        tenant: TenantId,
        queue: &Queue,
        question: Bytes,
        now_ms: u64,
    ) -> Option<Result<Bytes, PortError>> {
        let (answer, mut answered) = oneshot::channel();
        queue.waiting().push(Waiting { question, now_ms, answer });
        let _turn = queue.turn.lock().await;
        match answered.try_recv() {
            Ok(answer) => return Some(answer),
            Err(oneshot::error::TryRecvError::Closed) => return None,
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        let mut batch = std::mem::take(&mut *queue.waiting());
        // Who left meanwhile takes nothing.
        batch.retain(|waiting| !waiting.answer.is_closed());
        let outcome = self.answer_all(tenant, &batch).await;
        for (at, waiting) in batch.into_iter().enumerate() {
            let answer = match &outcome {
                Ok(answers) => answers.get(at).cloned().flatten().ok_or_else(|| corrupt(OPERATION)),
                Err(error) => Err(error.clone()),
            };
            // Who waits no more has left.
            let _ = waiting.answer.send(answer);
        }
        answered.try_recv().ok()
    }

    /// Answers questions one after the other on one record; `None` for what cannot be understood.
    async fn answer_all(&self, tenant: TenantId, batch: &[Waiting]) -> Result<Vec<Option<Bytes>>, PortError> {
        let place = Place::limits(tenant);
        for tried in 0..TRIES {
            let found = self.get(OPERATION, &place).await?;
            let (version, mut record) = match &found {
                None => (None, None),
                Some(item) => {
                    let (Some(version), Some(data)) = (item.version(), item.data()) else {
                        return Err(corrupt(OPERATION));
                    };
                    (Some(version), Some(data))
                }
            };
            let (mut answers, mut changed) = (Vec::with_capacity(batch.len()), false);
            for waiting in batch {
                let answered = bucket::answer(record.as_deref(), &waiting.question, waiting.now_ms);
                answers.push(answered.map(|answered| {
                    if let Some(next) = answered.record {
                        changed = true;
                        record = (!next.is_empty()).then_some(next);
                    }
                    answered.answer
                }));
            }
            if !changed {
                return Ok(answers);
            }
            let next = record.map(|bytes| Item::head(&place, &HeadRecord { version: version.unwrap_or(0) + 1, bytes }));
            let condition = version.map_or(Condition::Absent, Condition::Version);
            if self.write_if(OPERATION, &place, &condition, next).await? {
                return Ok(answers);
            }
            pause(tried).await;
        }
        Err(PortError::new(OPERATION, Fault::Throttled, "contended"))
    }
}

/// Up to 4, 8 and so on to 64 ms, at random.
async fn pause(tried: u32) {
    let mut random = [0; 1];
    gateway_native::fill_random(&mut random);
    gateway_native::timer((4_u64 << tried.min(4)) * u64::from(random[0]) / 256).await;
}

/// A hundred others can be first before a question is given up.
const TRIES: u32 = 100;
