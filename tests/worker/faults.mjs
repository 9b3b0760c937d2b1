// The Worker's bundle with faults around it: KV that is slow or fails, objects that cannot be reached, a wasm instance that
// is lost. infra/serve-worker.mjs --faults makes this the main module; the bundle is the one that is deployed.
//
//   PUT /__faults          {"putDelayMs": 0, "putFailures": 0} for KV; for objects {"object": "unreachable" | "overloaded" |
//                          "retryable" | "silent", "times": 1, "verb": number in src/wire.rs, "done": true (only the answer is lost)}
//   GET /__faults          what is set, and counts
//   GET /__faults/copy/ID  the published copy of a tenant: {"sequence", "version", "head", "keys", "secrets"}, or 404
//   PUT /__faults/sweep    runs the schedule
//   x-test-trap: NAME      the request's first look at the clock throws the error NAME inside the wasm module
//
// GATEWAY_TEST_FAULTS (JSON) is what holds at the start; {"stored": ["NAME"], "storeFailures": 1} has these secrets in a Secrets
// Store that fails so often.
import worker, * as built from './main.js';

let faults = null;
const counts = { puts: 0, asks: 0, verbs: {} };

export default {
  async fetch(request, env, context) {
    faults ??= JSON.parse(env.GATEWAY_TEST_FAULTS ?? '{}');
    const { pathname } = new URL(request.url);
    if (pathname === '/__faults/sweep') return swept(env);
    if (pathname.startsWith('/__faults')) return control(request, env, pathname);
    const name = request.headers.get('x-test-trap');
    if (name) trap(name);
    return worker.fetch(request, around(env), context);
  },
};

export class RegistryObject {
  constructor(state, env) {
    return new built.RegistryObject(state, around(env));
  }
}

export class TenantObject {
  constructor(state, env) {
    return new built.TenantObject(state, around(env));
  }
}

export class DigestObject {
  constructor(state, env) {
    return new built.DigestObject(state, around(env));
  }
}

export class LimitsObject {
  constructor(state, env) {
    return new built.LimitsObject(state, around(env));
  }
}

export class UsageObject {
  constructor(state, env) {
    return new built.UsageObject(state, around(env));
  }
}

async function swept(env) {
  let done;
  worker.scheduled({}, around(env), { waitUntil: (promise) => (done = promise) });
  const response = await done;
  return new Response(null, { status: response?.status ?? 500 });
}

async function control(request, env, pathname) {
  if (request.method === 'PUT') {
    faults = await request.json();
    return new Response();
  }
  const [, tenant] = pathname.split('/copy/');
  if (!tenant) return Response.json({ faults, counts });
  const bytes = await env.CONFIG.get(`tenant:${tenant}`, 'arrayBuffer');
  return bytes ? Response.json(decode(bytes)) : new Response(null, { status: 404 });
}

function trap(name) {
  const now = Date.now;
  Date.now = () => {
    Date.now = now;
    throw name === 'RangeError' ? new RangeError('Maximum call stack size exceeded') : new WebAssembly.RuntimeError('unreachable');
  };
}

function around(env) {
  const stored = (faults?.stored ?? []).map((name) => [name, secretOf(env[name])]);
  return { ...env, ...Object.fromEntries(stored), CONFIG: slowNamespace(env.CONFIG), TENANT: brokenObjects(env.TENANT), USAGE: brokenObjects(env.USAGE), LIMITS: brokenObjects(env.LIMITS), DIGEST: brokenObjects(env.DIGEST) };
}

function secretOf(value) {
  return {
    async get() {
      if (faults.storeFailures > 0) {
        faults.storeFailures -= 1;
        throw new Error('Secrets Store is down');
      }
      return value;
    },
  };
}

function slowNamespace(namespace) {
  return {
    get: (key, type) => namespace.get(key, type),
    async put(key, value, options) {
      counts.puts += 1;
      if (faults?.putFailures > 0) {
        faults.putFailures -= 1;
        throw new Error('KV PUT failed: 429 Too Many Requests');
      }
      // The delays shrink, so that a later put would overtake an earlier one if both were under way.
      const delay = faults?.putDelayMs ?? 0;
      if (faults?.putDelayMs) faults.putDelayMs = Math.floor(delay / 2);
      if (delay) await new Promise((resolve) => setTimeout(resolve, delay));
      return namespace.put(key, value, options);
    },
  };
}

function brokenObjects(namespace) {
  return {
    idFromName: (name) => namespace.idFromName(name),
    get: (id) => ({
      async fetch(url, init) {
        counts.asks += 1;
        counts.verbs[init.body[4]] = (counts.verbs[init.body[4]] ?? 0) + 1;
        const meant = faults?.verb === undefined || faults.verb === init.body[4];
        if (faults?.object && meant && (faults.times ?? Infinity) > 0) {
          if (faults.times) faults.times -= 1;
          if (faults.object === 'silent') return new Promise((resolve) => setTimeout(resolve, 60_000));
          // The object does what it was asked, and the answer is lost.
          if (faults.done) await namespace.get(id).fetch(url, init);
          throw Object.assign(new Error('Durable Object failed'), { [faults.object]: true });
        }
        return namespace.get(id).fetch(url, init);
      },
    }),
  };
}

/** Reads the form of src/wire.rs and src/copy.rs. */
function decode(buffer) {
  const view = new DataView(buffer);
  const fields = [];
  for (let at = 0; at < buffer.byteLength; ) {
    const length = view.getUint32(at, true);
    at += 4;
    fields.push(length === 0xffffffff ? null : new Uint8Array(buffer, at, length));
    at += length === 0xffffffff ? 0 : length;
  }
  const number = (field) => field && Number(new DataView(field.buffer, field.byteOffset).getBigUint64(0, true));
  const text = (field) => field && new TextDecoder().decode(field);
  const [, sequence, version, head, keys] = fields;
  const rest = fields.slice(5);
  const pairs = rest.filter((_, index) => index % 2 === 1).map(text);
  return {
    sequence: number(sequence),
    version: number(version),
    head: text(head),
    keys: pairs.slice(0, number(keys)),
    secrets: pairs.slice(number(keys)),
  };
}
