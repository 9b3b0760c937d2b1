//! A panic ends the wasm instance (`panic = "abort"`): JavaScript then fails what was running and makes a new one.
//! Only the place is logged: a panic's message may hold what a client sent.

use std::cell::Cell;

use gateway_core::ports::Level;

use crate::entry::Core;
use crate::{host, isolate};

thread_local! {
    static INSTALLED: Cell<bool> = const { Cell::new(false) };
}

/// Once per instance: takes over the panic hook and names the entry points to JavaScript.
pub(crate) fn install() {
    if INSTALLED.replace(true) {
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let (file, line) = info.location().map_or(("unknown", 0), |at| (at.file(), at.line()));
        isolate::log(Level::Error, &format!(r#"{{"level":"error","message":"panic at {file}:{line}"}}"#));
    }));
    host::install(Core {});
}
