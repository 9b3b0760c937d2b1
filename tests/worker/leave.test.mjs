// When the client leaves, its upstream call is closed, and the request is logged once.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Provider, Worker, event, leaver, sleep, until } from './harness.mjs';

let worker, provider, tenant;
let answer;

before(async () => {
  provider = await Provider.start((request, response) => answer(request, response));
  worker = await Worker.start({ origin: provider.origin });
  tenant = await worker.tenant(provider.origin);
});

after(async () => {
  await worker?.stop();
  provider?.stop();
});

function chats() {
  return worker.lines().filter((line) => line['http.route'] === '/v1/chat/completions');
}

async function leaves(stream, when) {
  const logged = chats().length;
  const client = await leaver(worker, tenant.key, stream);
  await until(() => provider.open === 1);
  await until(() => when(client));
  // A request is watched for its client only when it takes a while.
  await sleep(200);
  client.leave();
  await until(() => provider.open === 0, 2_000);
  await until(() => chats().length === logged + 1);
  await sleep(300);
  assert.equal(chats().length, logged + 1);
  return chats().at(-1);
}

// Fault matrix: C11.
test('before the head of the answer', async () => {
  answer = () => {};
  for (const stream of [false, true]) {
    const line = await leaves(stream, () => true);
    assert.equal(line['http.response.status_code'], 499);
  }
});

// Fault matrix: C11.
test('before the first content', async () => {
  answer = (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': nothing yet\n\n');
  };
  const line = await leaves(true, () => true);
  assert.equal(line['http.response.status_code'], 499);
});

test('in the middle of a body that is not streamed', async () => {
  answer = (request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{"id":"c",');
  };
  await leaves(false, () => true);
});

// Fault matrix: C12, R15.
test('in the middle of a stream', async () => {
  answer = async (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    while (!response.destroyed) {
      response.write(event('x'));
      await sleep(20);
    }
  };
  await leaves(true, (client) => client.received().includes('data: '));
});

test('in the middle of a stream that has gone silent', async () => {
  answer = (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(event('x'));
  };
  await leaves(true, (client) => client.received().includes('data: '));
});

// Fault matrix: C12, R14, R15.
test('a thousand streams that are left leave nothing behind', async () => {
  answer = async (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    while (!response.destroyed) {
      response.write(event('x'));
      await sleep(20);
    }
  };
  const logged = chats().length;
  for (let round = 0; round < 50; round++) {
    const clients = await Promise.all(Array.from({ length: 20 }, () => leaver(worker, tenant.key, true)));
    await until(() => clients.every((client) => client.received().includes('data: ')));
    for (const client of clients) client.leave();
  }
  await until(() => provider.open === 0, 5_000);
  await until(() => chats().length === logged + 1_000, 5_000);
});

// Fault matrix: U16, U17.
test('an upstream that is given up is closed', async () => {
  const variables = { GATEWAY_FIRST_CONTENT_TIMEOUT_MS: '300', GATEWAY_ANSWER_TIMEOUT_MS: '300' };
  const hasty = await Worker.start({ origin: provider.origin, variables });
  const { key } = await hasty.tenant(provider.origin);
  const answers = [
    () => {},
    (request, response) => response.writeHead(200, { 'content-type': 'application/json' }).write('{'),
    (request, response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': \n\n'),
  ];
  for (answer of answers) {
    for (const stream of [false, true]) {
      const response = await hasty.chat(key, { stream });
      assert.ok(response.status >= 500, String(response.status));
      await response.text();
      await until(() => provider.open === 0, 2_000);
    }
  }
  await hasty.stop();
});
