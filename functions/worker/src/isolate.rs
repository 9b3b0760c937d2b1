//! What one isolate keeps between requests: the gateway with its caches, the log level, spare random bytes.
//! No JavaScript object of a request may be kept here.

use std::cell::{Cell, OnceCell, RefCell};

use gateway_core::ports::Level;
use gateway_core::{DefaultManager, Deployment, Gateway};
use wasm_bindgen::JsValue;

use crate::host;

thread_local! {
    static GATEWAY: OnceCell<Option<&'static Gateway>> = const { OnceCell::new() };
    static LEVEL: Cell<Option<Level>> = const { Cell::new(Some(Level::Info)) };
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { bytes: [0; Random::SIZE], used: Random::SIZE }) };
}

/// Makes the gateway at the isolate's first request.
pub(crate) fn prepare(env: &JsValue) {
    GATEWAY.with(|cell| {
        cell.get_or_init(|| build(env));
    });
}

/// The gateway of this isolate; `None` if the deployment is not configured rightly.
pub(crate) fn gateway() -> Option<&'static Gateway> {
    GATEWAY.with(|cell| cell.get().copied().flatten())
}

fn build(env: &JsValue) -> Option<&'static Gateway> {
    LEVEL.set(Level::most(host::variable(env, "RUST_LOG").as_deref()));
    match Deployment::read(|name| host::variable(env, name), DefaultManager::Builtin) {
        Ok(deployment) => Some(Box::leak(Box::new(Gateway::new(deployment)))),
        Err(error) => {
            // The text names a variable and never holds its value.
            let line = format!(r#"{{"level":"error","message":"deployment: {error}"}}"#);
            log(Level::Error, &line);
            None
        }
    }
}

/// Writes a line to the Worker's log if its level is wanted.
pub(crate) fn log(level: Level, line: &str) {
    if LEVEL.get().is_some_and(|most| level <= most) {
        host::log(level as u32, line);
    }
}

/// Fills `bytes` from the system's random source, fetched in larger pieces.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    RANDOM.with_borrow_mut(|random| random.fill(bytes));
}

struct Random {
    bytes: [u8; Self::SIZE],
    used: usize,
}

impl Random {
    const SIZE: usize = 512;

    fn fill(&mut self, out: &mut [u8]) {
        if out.len() > Self::SIZE {
            return out.chunks_mut(Self::SIZE).for_each(|part| self.fill(part));
        }
        if Self::SIZE - self.used < out.len() {
            host::random(&mut self.bytes);
            self.used = 0;
        }
        let end = self.used + out.len();
        if let Some(spare) = self.bytes.get_mut(self.used..end) {
            out.copy_from_slice(spare);
            spare.fill(0);
        }
        self.used = end;
    }
}

/// An id for what the entry answers by itself.
pub(crate) fn request_id() -> String {
    let mut bytes = [0; 16];
    fill_random(&mut bytes);
    bytes.iter().fold(String::from("req_"), |id, byte| id + &format!("{byte:02x}"))
}
