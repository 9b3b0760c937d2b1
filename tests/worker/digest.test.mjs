// What isolates tell each other of targets: an object of its own, whose loss costs a failed attempt and nothing else.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Provider, Worker, completion, sleep, until } from './harness.mjs';

// src/wire.rs
const DIGEST = 19;
const SWAP_DIGEST = 20;

let provider, worker;
let answer;

before(async () => {
  provider = await Provider.start((request, response) => answer(request, response));
  worker = await Worker.start({ origin: provider.origin });
});

after(async () => {
  await worker?.stop();
  provider?.stop();
});

function well(request, response) {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(completion));
}

function limited(request, response) {
  response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '120' }).end('{}');
}

async function chat(tenant) {
  const response = await worker.chat(tenant.key);
  await response.text();
  return response.status;
}

async function asked() {
  return (await worker.call('GET', '/__faults')).json.counts.verbs;
}

test('a limit is told once, and read beside calls, at most every five seconds', async () => {
  const tenant = await worker.tenant(provider.origin);
  answer = limited;
  const before = await asked();
  const count = async (verb) => ((await asked())[verb] ?? 0) - (before[verb] ?? 0);
  assert.equal(await chat(tenant), 429);
  await until(async () => (await count(SWAP_DIGEST)) === 1);
  const reads = await count(DIGEST);
  assert.ok(reads >= 1 && reads <= 2, `${reads} reads: one with the configuration, one to tell`);
  const { calls } = provider;
  for (let n = 0; n < 5; n++) assert.equal(await chat(tenant), 429);
  assert.equal(provider.calls, calls, 'who is to wait is not called');
  assert.equal(await count(SWAP_DIGEST), 1);
  assert.equal(await count(DIGEST), reads);
});

test('an isolate that knows nothing yet learns it before its first call', async () => {
  const tenant = await worker.tenant(provider.origin);
  answer = limited;
  const before = (await asked())[SWAP_DIGEST] ?? 0;
  assert.equal(await chat(tenant), 429);
  await until(async () => ((await asked())[SWAP_DIGEST] ?? 0) === before + 1);
  await sleep(300);
  const { state } = worker;
  await worker.stop();
  worker = await Worker.start({ origin: provider.origin, state });
  const { calls } = provider;
  answer = well;
  const response = await worker.chat(tenant.key);
  assert.equal(response.status, 429);
  assert.equal(response.headers.get('retry-after'), '60');
  assert.equal(provider.calls, calls);
  // An object that is lost or hangs is not waited for: the provider is called, and well.
  for (const object of ['unreachable', 'silent']) {
    await worker.stop();
    worker = await Worker.start({ origin: provider.origin, state, faults: { object, verb: DIGEST } });
    const began = Date.now();
    assert.equal(await chat(tenant), 200);
    assert.ok(Date.now() - began < 2_000, `${object}: ${Date.now() - began} ms`);
  }
  await worker.faults({});
});

test('calls that go well tell nothing', async () => {
  const tenant = await worker.tenant(provider.origin);
  answer = well;
  const before = (await asked())[SWAP_DIGEST] ?? 0;
  for (let n = 0; n < 5; n++) assert.equal(await chat(tenant), 200);
  await sleep(300);
  assert.equal((await asked())[SWAP_DIGEST] ?? 0, before);
});

test('an object that cannot be reached or is silent costs nothing', async () => {
  for (const object of ['unreachable', 'overloaded', 'silent']) {
    for (const verb of [DIGEST, SWAP_DIGEST]) {
      const tenant = await worker.tenant(provider.origin);
      await worker.faults({ object, verb });
      answer = well;
      const began = Date.now();
      assert.equal(await chat(tenant), 200);
      assert.ok(Date.now() - began < 2_000, `${object}: ${Date.now() - began} ms`);
      answer = limited;
      assert.equal(await chat(tenant), 429, object);
      await worker.faults({});
    }
  }
});
