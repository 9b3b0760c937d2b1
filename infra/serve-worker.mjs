// Runs the built Worker (build/) on the real workerd, with what wrangler.toml binds, kept under a folder.
//
//   node infra/serve-worker.mjs [--port 8787] [--state .gateway/worker] [--bundle build] [--faults]
//
// Requests reach the Worker by a socket of its own, without wrangler's and Miniflare's proxies, so that what arrives is what
// was sent. Variables and secrets come from the environment; keys that are missing are made once and kept in the state
// folder. The Worker's log goes to stderr. `--faults` puts tests/worker/faults.mjs around the same bundle: tests can then
// delay or fail its KV and Durable Objects. Nothing of it is in what is deployed.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const need = createRequire(path.join(root, 'package.json'));
const { Log, LogLevel, Miniflare, convertV4MiniflareOptions } = createRequire(need.resolve('wrangler'))('miniflare');
const { unstable_getMiniflareWorkerOptions: bindingsOf } = need('wrangler');

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '8787' },
    state: { type: 'string', default: path.join(root, '.gateway/worker') },
    bundle: { type: 'string', default: path.join(root, 'build') },
    faults: { type: 'boolean', default: false },
  },
});
const port = Number(options.port);
const state = path.resolve(options.state);
fs.mkdirSync(state, { recursive: true, mode: 0o700 });

const { workerOptions } = bindingsOf(path.join(root, 'wrangler.toml'));
const { rootPath, modulesRules, ...configured } = workerOptions;

const worker = {
  ...configured,
  name: 'model-gateway',
  // The flag keeps fetch from everything that is not on the public Internet, and with it from the tests' providers.
  // What may be called is decided by core and EGRESS_ALLOW_ORIGINS all the same.
  compatibilityFlags: configured.compatibilityFlags.filter((flag) => flag !== 'global_fetch_strictly_public'),
  bindings: { ...configured.bindings, ...variables() },
  ...modules(path.resolve(options.bundle)),
  unsafeDirectSockets: [{ host: '127.0.0.1', port }],
};

const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    host: '127.0.0.1',
    port: 0,
    cf: false,
    log: new Log(LogLevel.ERROR),
    handleStructuredLogs: ({ message }) => process.stderr.write(`${message}\n`),
    resourcePersistencePath: state,
    workers: [worker],
  }),
);

const AFTERWARDS_MS = 300; // usage is written 50 ms after an answer
let ending = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.removeAllListeners(signal); // Miniflare's own end workerd in the middle of its work
  process.on(signal, async () => {
    if (ending) return;
    ending = true;
    // As on the platform: what requests do after their answers (`waitUntil`) comes to its end.
    await new Promise((resolve) => setTimeout(resolve, AFTERWARDS_MS));
    await miniflare.dispose();
    process.exit(0);
  });
}

await miniflare.ready;
await answered(`http://127.0.0.1:${port}/healthz`);
console.log(`listening on http://127.0.0.1:${port}`);

/** The deployment's variables and secrets: all of ours that the environment has, and keys made up where it has none. */
function variables() {
  const names = ['SECRETS_MANAGERS', 'EGRESS_ALLOW_ORIGINS', 'CORS_ALLOW_ORIGINS', 'RUST_LOG'];
  const given = Object.entries(process.env).filter(([name]) => name.startsWith('GATEWAY_') || names.includes(name));
  return {
    GATEWAY_ADMIN_KEY: kept('admin-key', 'base64url'),
    GATEWAY_SEALING_KEY: kept('sealing-key', 'base64'),
    ...Object.fromEntries(given.filter(([, value]) => value)),
  };
}

function kept(name, encoding) {
  if (process.env[`GATEWAY_${name.toUpperCase().replace('-', '_')}`]) return undefined;
  const file = path.join(state, name);
  if (!fs.existsSync(file)) fs.writeFileSync(file, randomBytes(32).toString(encoding), { mode: 0o600 });
  return fs.readFileSync(file, 'utf8');
}

/** The bundle's modules, the main one first. */
function modules(bundle) {
  const module = (type, name, contents) => ({ type, path: path.join(bundle, name), contents });
  const built = [
    module('ESModule', 'main.js'),
    module('ESModule', 'index.js'),
    module('CompiledWasm', 'index_bg.wasm'),
  ];
  if (options.faults) {
    const around = fs.readFileSync(path.join(root, 'tests/worker/faults.mjs'), 'utf8');
    built.unshift(module('ESModule', 'faults.mjs', around));
  }
  return { modules: built, modulesRoot: bundle };
}

async function answered(url) {
  for (let tries = 0; ; tries++) {
    try {
      return await fetch(url);
    } catch (error) {
      if (tries >= 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
