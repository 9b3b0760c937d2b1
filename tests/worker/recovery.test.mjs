// What traps or aborts in the wasm module fails the requests that were running, as JSON, and nothing after them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Provider, Worker, completion, event, sleep, until } from './harness.mjs';

let worker, provider, tenant;

before(async () => {
  provider = await Provider.start(async (request, response) => {
    const slow = request.headers['user-agent'] && provider.slow;
    if (provider.streamed) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let n = 0; n < 100 && !response.destroyed; n++) {
        response.write(event('x'));
        await sleep(50);
      }
      return response.end();
    }
    if (slow) await sleep(3_000);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(completion));
  });
  worker = await Worker.start({ origin: provider.origin });
  tenant = await worker.tenant(provider.origin);
});

after(async () => {
  await worker?.stop();
  provider?.stop();
});

async function isOurs(response) {
  assert.equal(response.status, 500);
  const { error } = await response.json();
  assert.equal(error.code, 'internal_error');
}

for (const name of ['RuntimeError', 'RangeError']) {
  // Fault matrix: R1.
  test(`${name}: the request gets a 500, the next one is served`, async () => {
    await isOurs(await worker.chat(tenant.key, { headers: { 'x-test-trap': name } }));
    const next = await worker.chat(tenant.key);
    assert.equal(next.status, 200);
    assert.deepEqual(await next.json(), completion);
  });

  // Fault matrix: R1.
  test(`${name}: requests that wait get a 500 at once`, async () => {
    provider.slow = true;
    const waiting = [worker.chat(tenant.key), worker.chat(tenant.key)];
    await until(() => provider.open === 2);
    const from = Date.now();
    await isOurs(await worker.chat(tenant.key, { headers: { 'x-test-trap': name } }));
    for (const response of await Promise.all(waiting)) await isOurs(response);
    assert.ok(Date.now() - from < 2_000);
    provider.slow = false;
    await until(() => provider.open === 0);
    assert.equal((await worker.chat(tenant.key)).status, 200);
  });

  // Fault matrix: R6.
  test(`${name}: a stream that runs is cut, and its upstream is let go`, async () => {
    provider.streamed = true;
    const response = await worker.chat(tenant.key, { stream: true });
    const reader = response.body.getReader();
    await reader.read();
    await isOurs(await worker.chat(tenant.key, { headers: { 'x-test-trap': name } }));
    await assert.rejects(async () => {
      while (!(await reader.read()).done);
    });
    provider.streamed = false;
    await until(() => provider.open === 0);
    assert.equal((await worker.chat(tenant.key)).status, 200);
  });
}

// Fault matrix: R1.
test('objects go on after a trap', async () => {
  await isOurs(await worker.chat(tenant.key, { headers: { 'x-test-trap': 'RuntimeError' } }));
  const { status } = await worker.call('POST', '/v1/keys', { key: tenant.key, body: { name: 'k', scopes: ['inference'] } });
  assert.equal(status, 201);
});

test('the log names the place and no text of the error', () => {
  assert.ok(worker.lines().some((line) => line.message === 'the wasm instance was lost'));
  assert.ok(!worker.log.includes('unreachable'));
});

// Fault matrix: R2.
test('killed and started again, time after time, it serves at once', async () => {
  const first = await Worker.start({ origin: provider.origin });
  const { state } = first;
  const own = await first.tenant(provider.origin);
  await first.stop('SIGKILL');
  for (let round = 0; round < 8; round++) {
    const again = await Worker.start({ state, origin: provider.origin });
    const answers = await Promise.all(Array.from({ length: 4 }, () => again.chat(own.key)));
    for (const answer of answers) assert.equal(answer.status, 200, `${round}: ${await answer.text()}`);
    await again.stop('SIGKILL');
  }
});
