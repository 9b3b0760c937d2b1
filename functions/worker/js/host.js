// The Worker's only JavaScript: whatever would cost one crossing per header, chunk or timer is done here in one.
// It knows requests, fetches, timers and streams, and nothing about the product. Ids (`call`, `op`) are numbered here,
// so they stay unique when the wasm instance is replaced. Every way into the wasm module ends in `crash` when it throws:
// what was running fails at once and the shim makes a new instance for the next request.
//
// Costs on workerd that shaped it, each measured: headers given as pairs 7 µs more than as an object, a listener on a
// request's signal 20 µs, queueMicrotask 2 µs more than a promise.

const DONE = 1; // a step of a stream: it has ended
const SAME = 2; // a step of a stream: the chunk goes out as it came in
const OK = 0; // outcomes of an operation, as in src/call.rs
const END = 1;
const TOO_LARGE = 2;
const BROKEN = 3;
const CONNECT = 4;
const OVERLOADED = 5;
const RETRYABLE = 6;
const UNAVAILABLE = 7;
const WHOLE_BYTES = 64 << 10; // an answer that says it is no longer than this is read in one go, with its head
const WATCH_MS = 100; // a request that takes longer than this watches for its client to leave
const BODILESS = [204, 205, 304];

let core = null; // the `Core` of the wasm instance that is alive
let serves = false; // whether it takes requests yet: an object's alarm may have started it
let wanted = []; // names of the request headers that it reads
let bindings = null; // the deployment's env
let serial = 0;
let emitted = null; // what the wasm side gave out during the crossing that runs
const calls = new Map(); // requests that are not over: id -> Call
const pumps = new Map(); // streams that run: id -> Pump

/** The wasm side names its entry points, once per instance. What an earlier instance left running is lost. */
export function install(instance) {
  abandon();
  core = instance;
  serves = false;
}

/** It has the deployment's configuration and can take requests, of which it reads these headers. */
export function open(headers) {
  serves = true;
  wanted = headers.split(' ');
}

globalThis.__gateway_host = { accept, sweep, secrets, unavailable, serves: () => serves };

function crash(error) {
  core = null;
  serves = false;
  globalThis.__worker_init_state.criticalError = true;
  console.error(JSON.stringify({ level: 'error', message: 'the wasm instance was lost', error: String(error?.name) }));
  abandon();
}

function abandon() {
  for (const call of [...calls.values()]) {
    call.settle(null);
    over(call.id);
  }
  for (const pump of [...pumps.values()]) pump.break();
}

addEventListener('error', ({ error }) => {
  if (error instanceof WebAssembly.RuntimeError) crash(error);
});

class Call {
  constructor(request, context) {
    this.id = ++serial;
    this.request = request;
    this.context = context;
    this.release = null; // ends what `hold` began
    this.timer = undefined;
    this.fires = Infinity; // when the timer does
    this.due = Infinity; // when the wasm side wants to be woken
    this.watched = false; // its client need not be watched for (any more)
    this.dropped = null; // operations that nobody waits for any more
    this.answer = new Promise((resolve) => (this.resolve = resolve));
    calls.set(this.id, this);
  }

  settle(response) {
    this.resolve(response);
  }

  /** From here on the request goes on until `over`, though its client may leave: what it used must be written down. */
  hold() {
    if (!this.release) this.context.waitUntil(new Promise((resolve) => (this.release = resolve)));
  }

  /** Cancels everything when the client leaves. */
  watch() {
    if (this.watched) return;
    this.watched = true;
    const { id, request } = this;
    if (request.signal.aborted) leave(id);
    else request.signal.addEventListener('abort', () => leave(id));
  }

  /** One timer: for what the wasm side waits for, and before that for `watch`. It is set anew only for an earlier time. */
  arm() {
    const fires = Math.min(this.due, this.watched ? Infinity : Date.now() + WATCH_MS);
    if (fires >= this.fires) return;
    clearTimeout(this.timer);
    this.fires = fires;
    this.timer = setTimeout(() => this.tick(), Math.max(Math.min(fires - Date.now(), 0x7fffffff), 0));
  }

  tick() {
    this.fires = Infinity;
    if (!calls.has(this.id)) return;
    this.watch();
    if (!calls.has(this.id)) return;
    if (this.due - Date.now() > 1) return this.arm();
    this.due = Infinity;
    try {
      core.tick(this.id);
    } catch (error) {
      crash(error);
    }
  }
}

/** Takes a request: a promise of its answer. Not called from within the wasm module: a trap must have no frames of it above. */
function accept(request, env, context) {
  bindings = env;
  const call = new Call(request, context);
  let head = `${request.method}\n${request.url}\n`;
  const { headers } = request;
  for (const name of wanted) {
    const value = headers.get(name);
    if (value !== null) head += `${name}\n${value}\n`;
  }
  try {
    core.begin(call.id, head);
  } catch (error) {
    crash(error);
  }
  if (calls.has(call.id)) call.arm();
  // A response may be made only by the request that it answers: `null` is how another one's trap ends this one.
  return call.answer.then((response) => response ?? failed());
}

/** Nothing of the call is left. Its timer is left alone: it ends with the request, and clearing it costs more. */
function over(id) {
  const call = calls.get(id);
  calls.delete(id);
  call?.release?.();
}

function failed() {
  const error = { message: 'The gateway failed to answer.', type: 'server_error', param: null, code: 'internal_error' };
  return Response.json({ error }, { status: 500 });
}

/** The deployment's own secrets cannot be read. The next request tries again. */
function unavailable(error) {
  console.error(JSON.stringify({ level: 'error', message: 'a Secrets Store does not answer', error: String(error?.name) }));
  const message = 'The gateway cannot reach what it depends on. Try again shortly.';
  const body = { error: { message, type: 'server_error', param: null, code: 'secrets_unavailable' } };
  return Response.json(body, { status: 503, headers: { 'retry-after': '1', 'cache-control': 'no-store' } });
}

/** Sweeps, as a call without a client. */
function sweep(env, context) {
  bindings = env;
  const call = new Call(null, context);
  call.watched = true;
  try {
    core.sweep(call.id);
  } catch (error) {
    crash(error);
  }
  return call.answer;
}

/** The client is gone: the wasm side forgets the request, and what that drops cancels the upstream. */
function leave(id) {
  const call = calls.get(id);
  const pump = pumps.get(id);
  if (!call && !pump) return;
  try {
    core.leave(id);
  } catch (error) {
    crash(error);
  }
  call?.settle(new Response(null, { status: 499 }));
  pump?.stop();
}

/** Answers with a whole body. */
export function answer(id, status, headers, body) {
  const bytes = BODILESS.includes(status) ? null : body.slice();
  const call = calls.get(id);
  if (!call) return;
  call.watched = true;
  call.settle(new Response(bytes, { status, headers: fields(headers) }));
}

/** Answers with a stream: `first`, then what the wasm side makes of the rest of `upstream`. It wants to be woken at `due`. */
export function stream(id, status, headers, first, upstream, due) {
  const call = calls.get(id);
  if (!call) return upstream.cancel();
  call.watch();
  const pump = new Pump(id, upstream, first.length ? first.slice() : null, due);
  call.settle(new Response(new ReadableStream(pump), { status, headers: fields(headers) }));
}

/** Bytes that the crossing which runs gives to the client. */
export function emit(bytes) {
  emitted = bytes.slice();
}

/** The source of a ReadableStream: one crossing for each chunk of the upstream, and only when the client reads. */
class Pump {
  constructor(id, upstream, first, due) {
    this.id = id;
    this.upstream = upstream;
    this.first = first;
    this.due = due;
    this.reader = upstream.reader();
    this.controller = null;
    this.timer = undefined;
    this.waiting = false;
    pumps.set(id, this);
  }

  start(controller) {
    this.controller = controller;
    if (this.first) controller.enqueue(this.first);
    this.first = null;
    this.arm(this.due);
  }

  async pull() {
    for (;;) {
      let outcome = OK;
      let chunk;
      this.waiting = true;
      try {
        const { done, value } = await this.reader.read();
        if (done) outcome = END;
        chunk = value;
      } catch (error) {
        outcome = fault(error);
      }
      this.waiting = false;
      if (!pumps.has(this.id)) return;
      try {
        if (this.give(outcome === OK ? core.push(this.id, chunk) : core.finish(this.id, outcome), chunk)) return;
      } catch (error) {
        return crash(error);
      }
    }
  }

  /** Passes on what a crossing gave; whether the client has something to read now, or the end. */
  give(step, chunk) {
    const bytes = step & SAME ? chunk : emitted;
    emitted = null;
    if (bytes) this.controller.enqueue(bytes);
    if (step & DONE) {
      this.stop();
      this.controller.close();
      return true;
    }
    return bytes !== null;
  }

  /** One timer per stream, set anew only when it fires: chunks only ever move the time later. */
  arm(due) {
    this.timer = setTimeout(() => this.tick(), Math.max(due - Date.now(), 1));
  }

  tick() {
    try {
      // No read is under way while the client is slow: then it is not the upstream that is late.
      if (this.waiting && core.due(this.id) <= Date.now()) this.give(core.wake(this.id));
      if (pumps.has(this.id)) this.arm(core.due(this.id));
    } catch (error) {
      crash(error);
    }
  }

  cancel() {
    leave(this.id);
  }

  /** Lets go of everything but the client. */
  stop() {
    pumps.delete(this.id);
    clearTimeout(this.timer);
    this.upstream.cancel();
  }

  break() {
    this.stop();
    this.controller?.error(new Error('the gateway failed'));
  }
}

/**
 * Sends a request upstream; `Core.answered` or `Core.settle` hears of it. It goes without an AbortController, which costs as
 * much as all headers: a fetch that is called off ends with the request itself, or as soon as it is answered.
 */
export function send(call, head, body) {
  const op = ++serial;
  calls.get(call)?.hold();
  const [method, url] = head.split('\n', 2);
  const init = {
    method,
    headers: fields(head, 2),
    body: body.length ? body.slice() : undefined,
    redirect: 'manual',
    encodeResponseBody: 'manual', // also: the body comes as it was encoded
  };
  fetch(url, init).then(
    (response) => answered(call, op, response),
    (error) => settle(call, op, fault(error)),
  );
  return op;
}

async function answered(call, op, response) {
  const caller = calls.get(call);
  if (!caller || caller.dropped?.has(op)) return cancelBody(response);
  let head = `${response.status}\n`;
  response.headers.forEach((value, name) => (head += `${name}\n${value}\n`));
  const length = response.headers.get('content-length');
  let bytes;
  if (length !== null && Number(length) <= WHOLE_BYTES) {
    try {
      bytes = await response.bytes();
    } catch (error) {
      return settle(call, op, fault(error));
    }
  }
  try {
    core.answered(call, op, head, bytes ? undefined : new Upstream(response), bytes);
  } catch (error) {
    crash(error);
  }
}

/** Calls off a fetch that has no answer yet; nothing happens to other operations. */
function cancel(call, op) {
  const caller = calls.get(call);
  if (caller) (caller.dropped ??= new Set()).add(op);
}

function cancelBody(response) {
  response.body?.cancel().catch(() => {});
}

/** The body of an upstream's answer. */
class Upstream {
  constructor(response) {
    this.response = response;
    this.source = null;
  }

  reader() {
    return (this.source ??= this.response.body?.getReader() ?? { read: async () => ({ done: true }) });
  }

  cancel() {
    if (this.source) this.source.cancel?.().catch(() => {});
    else cancelBody(this.response);
  }
}

/** Reads on in an upstream's body. */
export function read(call, upstream) {
  const op = ++serial;
  upstream
    .reader()
    .read()
    .then(
      ({ done, value }) => (done ? settle(call, op, END) : settle(call, op, OK, value)),
      (error) => settle(call, op, fault(error)),
    );
  return op;
}

/** Ends the interest in an upstream's body. */
export function discard(upstream) {
  upstream.cancel();
}

/** Reads the body of a client's request; `known`: its Content-Length is within the limit. */
export function body(call, known, limit) {
  const op = ++serial;
  const { request } = calls.get(call);
  (known ? request.bytes() : collect(request, limit)).then(
    (bytes) => (bytes ? settle(call, op, OK, bytes) : settle(call, op, TOO_LARGE)),
    () => settle(call, op, BROKEN),
  );
  return op;
}

async function collect(request, limit) {
  if (!request.body) return new Uint8Array();
  const parts = [];
  let length = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts).bytes();
    length += value.length;
    if (length > limit) {
      reader.cancel().catch(() => {});
      return null;
    }
    parts.push(value);
  }
}

/** Asks a Durable Object, in one round trip. */
export function ask(call, binding, name, message) {
  const op = ++serial;
  const body = message.slice();
  (async () => {
    const space = bindings[binding];
    const response = await space.get(space.idFromName(name)).fetch('http://object/', { method: 'POST', body });
    const bytes = await response.bytes();
    settle(call, op, response.status === 200 ? OK : UNAVAILABLE, bytes);
  })().catch((error) => settle(call, op, error?.overloaded ? OVERLOADED : error?.retryable ? RETRYABLE : UNAVAILABLE));
  return op;
}

/** Reads a published copy. */
export function copy(call, key) {
  const op = ++serial;
  (async () => {
    const value = await bindings.CONFIG.get(key, 'arrayBuffer');
    if (value) settle(call, op, OK, new Uint8Array(value));
    else settle(call, op, END);
  })().catch(() => settle(call, op, UNAVAILABLE));
  return op;
}

/** Wants `Core.tick` at `due`, in milliseconds since the epoch. Later times wait until an earlier one has come. */
function arm(id, due) {
  const call = calls.get(id);
  if (!call) return;
  call.due = due;
  call.arm();
}

/** What follows the answer must come to its end. Whoever called upstream is held already. */
function hold(id) {
  calls.get(id)?.hold();
}

/** Wants `Core.resume` in a moment. */
function nudge(call) {
  Promise.resolve()
    .then(() => core.resume(call))
    .catch(crash);
}

function settle(call, op, outcome, bytes) {
  if (!calls.has(call)) return;
  try {
    core.settle(call, op, outcome, bytes);
  } catch (error) {
    crash(error);
  }
}

/** What became of a fetch; workerd tells it by the text of its errors only. */
function fault(error) {
  return /connection refused|dns|tls|certificate/i.test(String(error?.message)) ? CONNECT : BROKEN;
}

const names = new Map(); // header names as V8 keeps the names of properties: those cut out of a text are looked up slowly

/** Headers out of lines, name and value in turn, from the line `at` on. Values of one name follow each other. */
function fields(text, at = 0) {
  const lines = text.split('\n');
  const headers = {};
  let last;
  for (let n = at; n + 1 < lines.length; n += 2) {
    const name = names.get(lines[n]) ?? intern(lines[n]);
    headers[name] = name === last ? `${headers[name]}, ${lines[n + 1]}` : lines[n + 1];
    last = name;
  }
  return headers;
}

function intern(name) {
  const [key] = Object.keys({ [name]: 0 });
  if (names.size < 200) names.set(key, key);
  return key;
}

const stored = new Map(); // secrets of a Secrets Store by the names of their bindings

/** Reads the secrets that are bound from a Secrets Store, once per isolate; null if there are none to be read. */
function secrets(env) {
  const bound = Object.entries(env).filter(
    ([name, value]) => name.startsWith('GATEWAY_') && typeof value === 'object' && value !== null && !stored.has(name),
  );
  if (!bound.length) return null;
  return Promise.all(bound.map(async ([name, secret]) => stored.set(name, await secret.get())));
}

/** A variable or secret of the deployment. */
export function variable(env, name) {
  const value = env[name];
  return typeof value === 'string' ? value : stored.get(name);
}

export function random(bytes) {
  crypto.getRandomValues(bytes);
}

export function log(level, line) {
  if (level === 0) console.error(line);
  else if (level === 1) console.warn(line);
  else console.log(line);
}

/** Durable Objects: the message of a request. */
export function message(request) {
  return request.bytes();
}

/** Durable Objects: an answer. */
export function reply(status, bytes) {
  return new Response(bytes.slice(), { status });
}

/** Durable Objects: runs a statement with bound parameters; its rows, each an array of columns. */
export function query(state, statement, parameters) {
  return state.storage.sql
    .exec(statement, ...parameters)
    .raw()
    .toArray();
}

/** Durable Objects: when the alarm is to ring. */
export function alarm(state, time) {
  return state.storage.setAlarm(time);
}

/** Writes a published copy; with `seconds` it ends after that time. */
export function publish(env, key, bytes, seconds) {
  return env.CONFIG.put(key, bytes.slice(), seconds ? { expirationTtl: seconds } : {});
}

// Functions of numbers alone would be imported once more each by the generated code, and esbuild warns of it.
export const calling = { arm, cancel, hold, nudge, over };
