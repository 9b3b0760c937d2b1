// The tenant's object and its published copy: what is published in the end is the newest state, whatever KV does, and
// it serves when the object cannot be reached.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';

import { Provider, Worker, completion, sleep, until } from './harness.mjs';

// src/wire.rs
const SWAP = 2;
const ASK_BUCKETS = 18;

let provider, worker;

before(async () => {
  provider = await Provider.start((request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(completion));
  });
  worker = await Worker.start({ origin: provider.origin });
});

after(async () => {
  await worker?.stop();
  provider?.stop();
});

/** Changes the head `count` times; what it holds in the end. */
async function change(tenant, count, pause = 0) {
  let note;
  for (let n = 0; n < count; n++) {
    note = `note-${n}-${Math.random()}`;
    assert.equal((await worker.change(tenant, note)).status, 200);
    if (pause) await sleep(pause);
  }
  return note;
}

// Fault matrix: S3.
test('changes in a row are published together, at most one a second', async () => {
  const tenant = await worker.tenant(provider.origin);
  await until(async () => (await worker.copy(tenant.id))?.head.includes('"p"'));
  const before = (await worker.call('GET', '/__faults')).json.counts.puts;
  const note = await change(tenant, 20);
  await until(async () => (await worker.copy(tenant.id)).head.includes(note));
  const puts = (await worker.call('GET', '/__faults')).json.counts.puts - before;
  assert.ok(puts <= 3, `${puts} puts`);
});

test('overlapping changes never leave an old copy when puts are delayed', async () => {
  const tenant = await worker.tenant(provider.origin);
  await worker.faults({ putDelayMs: 4_000 });
  const note = await change(tenant, 12, 400);
  await until(async () => (await worker.copy(tenant.id))?.head.includes(note), 15_000);
  // Nothing that was still under way may overtake it.
  await sleep(4_500);
  const copy = await worker.copy(tenant.id);
  assert.ok(copy.head.includes(note));
  assert.equal(copy.secrets.length, 1);
  await worker.faults({});
});

// Fault matrix: S3.
test('failed puts are repeated', async () => {
  const tenant = await worker.tenant(provider.origin);
  await until(async () => await worker.copy(tenant.id));
  await worker.faults({ putFailures: 2 });
  const note = await change(tenant, 1);
  await until(async () => (await worker.copy(tenant.id)).head.includes(note), 20_000);
});

// Fault matrix: R2.
test('a change is published though the runtime was killed before', async () => {
  const tenant = await worker.tenant(provider.origin);
  await until(async () => await worker.copy(tenant.id));
  await worker.faults({ putDelayMs: 60_000 });
  const note = await change(tenant, 1);
  await sleep(1_500);
  await worker.stop('SIGKILL');
  const { state } = worker;
  await sleep(500);
  worker = await Worker.start({ origin: provider.origin, state });
  await until(async () => (await worker.copy(tenant.id)).head.includes(note), 15_000);
});

// Fault matrix: S4.
test('a revoked key and a deleted tenant leave the copy', async () => {
  const tenant = await worker.tenant(provider.origin);
  const made = await worker.call('POST', '/v1/keys', { key: tenant.key, body: { name: 'k', scopes: ['inference'] } });
  await until(async () => (await worker.copy(tenant.id))?.keys.length === 2);
  await worker.call('DELETE', `/v1/keys/${made.json.id}`, { key: tenant.key });
  await until(async () => (await worker.copy(tenant.id)).keys.length === 1);
  await worker.call('DELETE', '/v1/tenant', { key: tenant.key });
  await until(async () => {
    const copy = await worker.copy(tenant.id);
    return copy.head === null && copy.keys.length === 0 && copy.secrets.length === 0;
  });
});

// Fault matrix: S12.
test('an object that is overloaded is asked once and the answer is 503', async () => {
  const tenant = await worker.tenant(provider.origin);
  const before = (await worker.call('GET', '/__faults')).json.counts.asks;
  await worker.faults({ object: 'overloaded' });
  const { status, json } = await worker.call('GET', '/v1/keys', { key: tenant.key });
  assert.equal(status, 503);
  assert.equal(json.error.code, 'store_unavailable');
  const { counts } = (await worker.call('GET', '/__faults')).json;
  await worker.faults({});
  assert.equal(counts.asks - before, 1);
});

// Fault matrix: S13.
test('an object that was reset is asked once more, of a new stub', async () => {
  const tenant = await worker.tenant(provider.origin);
  await worker.faults({ object: 'retryable', times: 1 });
  assert.equal((await worker.call('GET', '/v1/keys', { key: tenant.key })).status, 200);
  await worker.faults({});
});

// Fault matrix: S10.
test('a change whose answer was lost is reported as what is true', async () => {
  const tenant = await worker.tenant(provider.origin);
  for (const object of ['retryable', 'unreachable']) {
    await until(async () => (await worker.copy(tenant.id))?.head.includes('"m"'));
    const before = (await worker.copy(tenant.id)).version;
    await worker.faults({ object, times: 1, verb: SWAP, done: true });
    assert.equal((await worker.change(tenant, object)).status, 200);
    assert.equal((await worker.call('GET', '/__faults')).json.faults.times, 0);
    await worker.faults({});
    await until(async () => (await worker.copy(tenant.id))?.head.includes(object));
    // Done once: the repeated question changed nothing.
    assert.equal((await worker.copy(tenant.id)).version, before + 1);
  }
});

// Fault matrix: S2, S14.
test('the copy serves when the object cannot be reached', async () => {
  const tenant = await worker.tenant(provider.origin);
  await until(async () => (await worker.copy(tenant.id))?.secrets.length === 1 && (await worker.copy(tenant.id)).head.includes('"m"'));
  const { state } = worker;
  await worker.stop();
  // A new process remembers nothing.
  worker = await Worker.start({ origin: provider.origin, state, faults: { object: 'unreachable' } });
  const served = await worker.chat(tenant.key);
  assert.equal(served.status, 200);
  assert.deepEqual(await served.json(), completion);
  await until(async () => worker.lines().some((line) => line.stale === true));
  assert.equal((await worker.change(tenant, 'other')).status, 503);
  await worker.faults({});
});

// Fault matrix: S1.
test('without a copy, an object that cannot be reached is 503', async () => {
  await worker.faults({ putFailures: 1e9 });
  const tenant = await worker.tenant(provider.origin);
  const { state } = worker;
  await worker.stop();
  worker = await Worker.start({ origin: provider.origin, state, faults: { object: 'unreachable', putFailures: 1e9 } });
  const { status } = await worker.call('GET', '/v1/models', { key: tenant.key });
  assert.equal(status, 503, worker.log);
  await worker.faults({});
});

// Fault matrix: S11.
test('limits whose object cannot be reached let nothing through', async () => {
  const tenant = await worker.tenant(provider.origin);
  const bucket = { capacity: 2, amount: 1, duration: '24h' };
  assert.equal((await worker.call('POST', '/v1/rate-limits', { key: tenant.key, body: { type: 'tenant', request: bucket } })).status, 201);
  for (const object of ['unreachable', 'overloaded']) {
    await worker.faults({ object, verb: ASK_BUCKETS });
    const refused = await worker.chat(tenant.key);
    assert.equal(refused.status, 503);
    assert.equal(refused.headers.get('retry-after'), '1');
    assert.equal((await refused.json()).error.code, 'store_unavailable');
  }
  await worker.faults({});
  const statuses = [];
  for (let n = 0; n < 3; n++) statuses.push((await worker.chat(tenant.key)).status);
  assert.deepEqual(statuses, [200, 200, 429]);
});

test('the storage holds no credential', async () => {
  await worker.tenant(provider.origin);
  await sleep(1_500);
  for (const file of fs.readdirSync(worker.state, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    const bytes = fs.readFileSync(`${file.parentPath}/${file.name}`);
    assert.ok(!bytes.includes('sk-test'), file.name);
  }
});
