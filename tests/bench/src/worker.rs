//! Configuration files that run a Worker on workerd alone, with no proxy and no Node around it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::Outcome;
use crate::subject::Setting;

/// What `wrangler.toml` says, as wrangler reads it.
#[derive(Debug, Deserialize)]
pub(crate) struct Configured {
    compatibility_date: String,
    compatibility_flags: Vec<String>,
    kv_namespaces: Vec<Namespace>,
    durable_objects: Objects,
    migrations: Vec<Migration>,
    vars: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    binding: String,
}

#[derive(Debug, Deserialize)]
struct Objects {
    bindings: Vec<ObjectBinding>,
}

#[derive(Debug, Deserialize)]
struct ObjectBinding {
    name: String,
    class_name: String,
}

#[derive(Debug, Deserialize)]
struct Migration {
    #[serde(default)]
    new_sqlite_classes: Vec<String>,
}

/// Writes the configuration of a floor, `script` of `floors/`, and answers with its path.
pub(crate) fn floor(setting: &Setting, configured: &Configured, script: &str, port: u16) -> Outcome<String> {
    let folder = setting.work.join(script);
    fs::create_dir_all(&folder)?;
    fs::copy(setting.root.join("tests/bench/floors").join(script), folder.join(script))?;
    let worker = format!(
        "modules = [(name = {name}, esModule = embed {name})],\n  compatibilityDate = {date},\n  \
         bindings = [(name = \"PROVIDER\", text = {provider})],",
        name = quoted(script),
        date = quoted(&configured.compatibility_date),
        provider = quoted(&setting.provider),
    );
    write(&folder, port, &worker, "")
}

/// Writes the configuration of the gateway's Worker out of a built bundle.
pub(crate) fn gateway(setting: &Setting, configured: &Configured, bundle: &Path, port: u16) -> Outcome<String> {
    let folder = setting.work.join("worker");
    fs::create_dir_all(&folder)?;
    let kv = "kv.js";
    fs::copy(setting.root.join("tests/bench/floors").join(kv), folder.join(kv))?;
    let mut modules = String::new();
    for (name, kind) in [("main.js", "esModule"), ("index.js", "esModule"), ("index_bg.wasm", "wasm")] {
        fs::copy(bundle.join(name), folder.join(name))?;
        write!(modules, "\n    (name = {name}, {kind} = embed {name}),", name = quoted(name))?;
    }
    // With this flag fetch reaches the public Internet only, and not the mock provider.
    let flags = configured.compatibility_flags.iter().filter(|flag| *flag != "global_fetch_strictly_public");
    let flags: Vec<String> = flags.map(|flag| quoted(flag)).collect();
    let mut bindings = String::new();
    for (name, value) in setting.deployment() {
        write!(bindings, "\n    (name = {}, text = {}),", quoted(name), quoted(&value))?;
    }
    for (name, value) in &configured.vars {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        write!(bindings, "\n    (name = {}, text = {}),", quoted(name), quoted(&value))?;
    }
    for Namespace { binding } in &configured.kv_namespaces {
        write!(bindings, "\n    (name = {}, kvNamespace = \"kv\"),", quoted(binding))?;
    }
    for ObjectBinding { name, class_name } in &configured.durable_objects.bindings {
        write!(bindings, "\n    (name = {}, durableObjectNamespace = {}),", quoted(name), quoted(class_name))?;
    }
    let mut objects = String::new();
    for class in configured.migrations.iter().flat_map(|migration| &migration.new_sqlite_classes) {
        write!(objects, "\n    (className = {class}, uniqueKey = {class}, enableSql = true),", class = quoted(class))?;
    }
    fs::create_dir_all(folder.join("objects"))?;
    let worker = format!(
        "modules = [{modules}\n  ],\n  compatibilityDate = {date},\n  compatibilityFlags = [{flags}],\n  \
         bindings = [{bindings}\n  ],\n  durableObjectNamespaces = [{objects}\n  ],\n  \
         durableObjectStorage = (localDisk = \"objects\"),",
        date = quoted(&configured.compatibility_date),
        flags = flags.join(", "),
    );
    let services = format!(
        "\n    (name = \"kv\", worker = (\n      modules = [(name = {kv}, esModule = embed {kv})],\n      \
         compatibilityDate = {date},\n    )),\n    (name = \"objects\", disk = (path = {path}, writable = true)),",
        kv = quoted(kv),
        date = quoted(&configured.compatibility_date),
        path = quoted(&folder.join("objects").display().to_string()),
    );
    write(&folder, port, &worker, &services)
}

fn write(folder: &Path, port: u16, worker: &str, services: &str) -> Outcome<String> {
    let text = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\n\
         const config :Workerd.Config = (\n  services = [\n    (name = \"main\", worker = .main),\n    \
         (name = \"internet\", network = (allow = [\"public\", \"private\", \"local\"])),{services}\n  ],\n  \
         sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")],\n);\n\n\
         const main :Workerd.Worker = (\n  {worker}\n);\n"
    );
    let path = folder.join("workerd.capnp");
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// A Cap'n Proto text; the values here hold nothing that JSON writes in another way.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
