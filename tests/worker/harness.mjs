// What the Worker's tests share: the built Worker on workerd, a provider under the test's hand, and a tenant.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const admin = 'tests-worker-0123456789abcdef0123456789';

/** The built Worker, with faults around it. */
export class Worker {
  static async start({ state, faults = {}, origin = '', variables = {} } = {}) {
    const worker = new Worker();
    worker.state = state ?? fs.mkdtempSync(path.join(os.tmpdir(), 'gateway-worker-'));
    worker.port = await freePort();
    worker.url = `http://127.0.0.1:${worker.port}`;
    worker.log = '';
    const script = path.join(root, 'infra/serve-worker.mjs');
    worker.child = spawn(process.execPath, [script, '--faults', '--port', worker.port, '--state', worker.state], {
      env: {
        ...process.env,
        GATEWAY_ADMIN_KEY: admin,
        GATEWAY_TEST_FAULTS: JSON.stringify(faults),
        EGRESS_ALLOW_ORIGINS: origin,
        ...variables,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a process group of its own: see `stop`
    });
    worker.child.stderr.on('data', (data) => (worker.log += data));
    let out = '';
    worker.child.stdout.on('data', (data) => (out += data));
    await until(() => out.includes('listening on') || worker.child.exitCode !== null, 30_000, () => worker.log);
    if (worker.child.exitCode !== null) throw new Error(`ended at once: ${out}${worker.log}`);
    return worker;
  }

  async stop(signal = 'SIGTERM') {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    // A killed server ends nothing that it started: all of its group goes with it.
    if (signal === 'SIGKILL') process.kill(-this.child.pid, signal);
    else this.child.kill(signal);
    await ended;
  }

  /** A call of the management API or of `/__faults`; its status and JSON. */
  async call(method, target, { body, key = admin, headers = {} } = {}) {
    const response = await fetch(this.url + target, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, json: text && JSON.parse(text) };
  }

  /** A new tenant with one provider at `origin` that serves the model `m`. */
  async tenant(origin) {
    const made = await this.call('POST', '/v1/tenant', { body: { name: `t-${Math.random()}`, secrets_manager: 'builtin' } });
    const { api_key: key, id } = made.json;
    const data = { apikey: 'sk-test', base_url: `${origin}/v1` };
    const provider = await this.call('POST', '/v1/providers/openai', { key, body: { name: 'p', data } });
    const models = `/v1/providers/${provider.json.uuid}/models`;
    const model = await this.call('POST', models, { key, body: { id: 'm', alias: 'm' } });
    return { id, key, model: `${models}/${model.json.uuid}` };
  }

  chat(key, { stream = false, headers = {}, ...init } = {}) {
    return fetch(`${this.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'm', stream, messages: [{ role: 'user', content: 'hi' }] }),
      ...init,
    });
  }

  /** Changes the tenant's head so that it holds `note`. */
  change(tenant, note) {
    return this.call('PATCH', tenant.model, { key: tenant.key, body: { metadata: { note } } });
  }

  faults(set) {
    return this.call('PUT', '/__faults', { body: set });
  }

  async copy(tenant) {
    const { status, json } = await this.call('GET', `/__faults/copy/${tenant}`);
    return status === 200 ? json : null;
  }

  lines() {
    return this.log.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
  }
}

/** A provider: `answer(request, response)` is the test's. Counts what is open. */
export class Provider {
  static async start(answer) {
    const provider = new Provider();
    provider.open = 0;
    provider.calls = 0;
    provider.server = http.createServer((request, response) => {
      provider.calls += 1;
      provider.open += 1;
      response.on('close', () => (provider.open -= 1));
      request.resume();
      answer(request, response);
    });
    provider.server.listen(0, '127.0.0.1');
    await once(provider.server, 'listening');
    provider.origin = `http://127.0.0.1:${provider.server.address().port}`;
    return provider;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

export const completion = {
  id: 'c',
  object: 'chat.completion',
  created: 1,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'hello' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
};

export function event(content, finish_reason = null) {
  const chunk = { id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm' };
  return `data: ${JSON.stringify({ ...chunk, choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`;
}

/** Waits until `condition` holds. */
export async function until(condition, ms = 5_000, detail = () => '') {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) if (await condition()) return;
  throw new Error(`did not come true within ${ms} ms: ${condition} ${detail()}`);
}

/** A POST by a client that can break off: `leave()` resets the connection, as a proxy in front of a Worker does. */
export async function leaver(worker, key, stream) {
  const body = JSON.stringify({ model: 'm', stream, messages: [{ role: 'user', content: 'hi' }] });
  const socket = net.connect(worker.port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer ${key}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  let received = '';
  socket.on('data', (data) => (received += data));
  return { received: () => received, leave: () => socket.resetAndDestroy() };
}

export { sleep };

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
