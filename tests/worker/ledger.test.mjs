// What requests leave in the ledger when its object fails, when an answer of it is lost, and when clients leave: each attempt
// once, and the client does not wait for it. The alarm of a usage object rolls up.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Provider, Worker, completion, event, leaver, sleep, until } from './harness.mjs';

const WRITE = 14; // src/wire.rs: WriteUsage

let provider, worker;
let answer = whole;

function whole(request, response) {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(completion));
}

before(async () => {
  provider = await Provider.start((request, response) => answer(request, response));
  worker = await Worker.start({ origin: provider.origin });
});

after(async () => {
  await worker?.stop();
  provider?.stop();
});

async function usage(tenant) {
  const { json } = await worker.call('GET', `/v1/usage?start_time=${Math.floor(Date.now() / 1000) - 60}`, { key: tenant.key });
  const results = json.data.flatMap((bucket) => bucket.results);
  return results[0] ?? { num_model_requests: 0 };
}

async function counts(tenant, attempts, ms = 8_000) {
  await until(async () => (await usage(tenant)).num_model_requests >= attempts, ms);
  await sleep(300);
  const sums = await usage(tenant);
  assert.equal(sums.num_model_requests, attempts);
  return sums;
}

test('an answer does not wait for its row, and the row is written', async () => {
  const tenant = await worker.tenant(provider.origin);
  await worker.faults({ object: 'unreachable', verb: WRITE, times: 4 });
  const began = Date.now();
  const response = await worker.chat(tenant.key);
  assert.equal(response.status, 200);
  await response.json();
  const took = Date.now() - began;
  const sums = await counts(tenant, 1);
  assert.equal(sums.input_tokens, 1);
  assert.ok(took < 400, `${took} ms`);
  await worker.faults({});
});

test('a row whose confirmation was lost is counted once', async () => {
  const tenant = await worker.tenant(provider.origin);
  await worker.faults({ object: 'unreachable', verb: WRITE, times: 2, done: true });
  await (await worker.chat(tenant.key)).json();
  await counts(tenant, 1);
  await worker.faults({});
});

/** How often the usage objects were asked to write. */
async function writes() {
  return (await worker.call('GET', '/__faults')).json.counts.verbs[WRITE] ?? 0;
}

// 90 rows are two statements of 32, three of 8 and two of 1 when they come together.
for (const [name, faults] of [
  ['in few writes', {}],
  ['once, though the confirmation of a write was lost', { object: 'unreachable', verb: WRITE, times: 2, done: true }],
]) {
  test(`calls that end together are written ${name}`, async () => {
    const tenant = await worker.tenant(provider.origin);
    await (await worker.chat(tenant.key)).json();
    await counts(tenant, 1);
    await worker.faults(faults);
    const before = await writes();
    const chat = async () => (await worker.chat(tenant.key)).json();
    await Promise.all(Array.from({ length: 90 }, chat));
    const sums = await counts(tenant, 91);
    assert.equal(sums.input_tokens, 91);
    const made = (await writes()) - before;
    assert.ok(made > 0 && made <= 30, `${made} writes`);
    await worker.faults({});
  });
}

test('rows of a request that never hears of its write are written by another', { timeout: 60_000 }, async () => {
  const tenant = await worker.tenant(provider.origin);
  await worker.faults({ object: 'silent', verb: WRITE, times: 1 });
  const chat = async () => (await worker.chat(tenant.key)).json();
  await Promise.all(Array.from({ length: 10 }, chat));
  await counts(tenant, 10, 20_000);
  await worker.faults({});
});

test('after an outage longer than a request may wait all rows are there', { timeout: 90_000 }, async () => {
  const tenant = await worker.tenant(provider.origin);
  await worker.faults({ object: 'unreachable', verb: WRITE });
  const end = Date.now() + 30_000;
  let made = 0;
  for (; Date.now() < end; made += 1) {
    await (await worker.chat(tenant.key)).json();
    await sleep(1_000);
  }
  await worker.faults({});
  await (await worker.chat(tenant.key)).json();
  await counts(tenant, made + 1, 20_000);
});

test('a client that leaves at once, or while it is answered, leaves a row', async () => {
  const tenant = await worker.tenant(provider.origin);
  answer = () => {};
  const at = provider.calls;
  for (const wait of [0, 20, 200]) {
    const client = await leaver(worker, tenant.key, false);
    const open = provider.calls;
    await until(() => provider.calls > open || provider.open > 0);
    await sleep(wait);
    client.leave();
    await until(() => provider.open === 0);
  }
  answer = (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(event('hello'));
  };
  const client = await leaver(worker, tenant.key, true);
  await until(() => client.received().includes('hello'));
  client.leave();
  await until(() => provider.open === 0);
  answer = whole;
  const sums = await counts(tenant, provider.calls - at);
  assert.equal(sums.num_cancelled, 4);
});
