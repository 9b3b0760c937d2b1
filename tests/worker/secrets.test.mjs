// The deployment's own secrets out of a Secrets Store, and the schedule that sweeps.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';

import { Provider, Worker, completion, until } from './harness.mjs';

const key = () => randomBytes(32).toString('base64');
const started = [];
let provider;

before(async () => {
  provider = await Provider.start((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(completion));
  });
});

after(async () => {
  for (const worker of started) await worker.stop();
  provider?.stop();
});

async function start(options) {
  const worker = await Worker.start({ origin: provider.origin, ...options });
  started.push(worker);
  return worker;
}

test('a sealing key of a Secrets Store is as good as a secret of the Worker, and an outage of it passes', async () => {
  const sealing = key();
  const variables = { GATEWAY_SEALING_KEY: sealing };
  const first = await start({ variables });
  const tenant = await first.tenant(provider.origin);
  await first.stop();
  // The first request of all, by which the start is known, finds the store down.
  const faults = { stored: ['GATEWAY_SEALING_KEY'], storeFailures: 2 };
  const stored = await start({ state: first.state, variables, faults });
  const down = await stored.chat(tenant.key);
  assert.equal(down.status, 503);
  assert.equal((await down.json()).error.code, 'secrets_unavailable');
  const answer = await stored.chat(tenant.key);
  assert.equal(answer.status, 200);
  await answer.json();
  assert(!stored.log.includes(sealing));
});

test('the schedule brings sealed credentials under the new key', async () => {
  const [old, renewed] = [key(), key()];
  const first = await start({ variables: { GATEWAY_SEALING_KEY: old } });
  const tenant = await first.tenant(provider.origin);
  await first.stop();
  const both = { GATEWAY_SEALING_KEY: renewed, GATEWAY_SEALING_KEY_PREVIOUS: old };
  const second = await start({ state: first.state, variables: both });
  for (const count of [1, 0]) {
    assert.equal((await second.call('PUT', '/__faults/sweep')).status, 204);
    await until(() => second.log.includes(`renewed: ${count}`), 5_000, () => second.log);
  }
  await second.stop();
  // The old key is gone: what was sealed under it opens, but its bearer keys do not.
  const third = await start({ state: first.state, variables: { GATEWAY_SEALING_KEY: renewed } });
  const key1 = await third.call('POST', '/v1/keys', { body: { name: 'k' }, headers: { 'x-gateway-tenant': tenant.id } });
  const answer = await third.chat(key1.json.api_key);
  assert.equal(answer.status, 200);
  await answer.json();
  assert.equal((await third.chat(tenant.key)).status, 401);
});
