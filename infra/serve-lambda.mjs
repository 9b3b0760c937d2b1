// A function URL on loopback: a Lambda Runtime API and the HTTP front before it, for development and tests.
//
//   node infra/serve-lambda.mjs --port N --bootstrap PATH [--environments 16] [--timeout-s 900] [--no-freeze]
//
// What it keeps of the real thing, because code can depend on it: an environment handles one event at a time and a
// new one is started when all are busy; between events an environment is frozen (SIGSTOP), so that work left behind
// after an answer does not run; repeated headers arrive joined by commas; the path stays percent-encoded; a body that
// is not text arrives in base64; 6 MB are the most it takes; an answer may be streamed; a client that leaves is not
// noticed. Environments inherit this process's variables.
//
// POST /2015-03-31/functions/function/invocations hands an event over as it is, as Lambda's Invoke does: what a schedule sends.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '8787' },
    bootstrap: { type: 'string' },
    environments: { type: 'string', default: '16' },
    'timeout-s': { type: 'string', default: '900' },
    'no-freeze': { type: 'boolean', default: false },
  },
});
if (!options.bootstrap) {
  console.error('--bootstrap PATH is missing');
  process.exit(2);
}

const MAX_EVENT_BYTES = 6 * 1024 * 1024;
const TIMEOUT_MS = Number(options['timeout-s']) * 1000;
const INVOKE = '/2015-03-31/functions/function/invocations';
const PRELUDE_END = Buffer.alloc(8);
const TEXTUAL = /^(text\/|application\/(json|javascript|xml|.*\+json|.*\+xml)\b)/i;

/** Events nobody has taken yet. */
const waiting = [];
/** Running events by request id. */
const running = new Map();
const environments = new Set();
let ending = false;

// --- environments

class Environment {
  constructor() {
    this.poll = null; // the open GET /next
    this.event = null; // the event it works on
    this.api = http.createServer((request, response) => this.serve(request, response));
    this.api.requestTimeout = 0;
    this.api.listen(0, '127.0.0.1', () => this.start());
    environments.add(this);
  }

  start() {
    this.child = spawn(options.bootstrap, [], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        AWS_LAMBDA_FUNCTION_NAME: 'model-gateway',
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '256',
        AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
        AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
        ...process.env,
        AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${this.api.address().port}`,
      },
    });
    this.child.on('error', (error) => {
      console.error(`environment: ${error.message}`);
      process.exit(1);
    });
    this.child.on('exit', (code, signal) => this.gone(signal ?? code));
  }

  gone(why) {
    environments.delete(this);
    this.api.close();
    this.api.closeAllConnections();
    this.event?.fail(`Runtime exited with ${why}`);
    if (ending) return;
    if (!this.event && !this.polled) {
      // It never asked for an event: starting it again at once would only spin.
      for (const event of waiting.splice(0)) event.fail(`Runtime exited during init: ${why}`);
      return;
    }
    dispatch();
  }

  serve(request, response) {
    const [, , , , id, action] = request.url.split('/'); // /2018-06-01/runtime/invocation/<id>/<action>
    if (request.method === 'GET' && request.url.endsWith('/runtime/invocation/next')) {
      this.poll = response;
      this.polled = true;
      this.event = null;
      if (waiting.length === 0) this.freeze();
      dispatch();
    } else if (request.method === 'POST' && action === 'response') {
      request.on('end', () => accepted(response));
      const event = take(id);
      if (event) event.answer(request);
      else request.resume();
    } else if (request.method === 'POST' && (action === 'error' || request.url.endsWith('/init/error'))) {
      collect(request).then((body) => {
        console.error(`environment reports: ${body}`);
        take(id)?.fail('Internal Server Error');
        accepted(response);
      });
    } else {
      request.resume();
      response.writeHead(404).end();
    }
  }

  freeze() {
    if (!options['no-freeze'] && this.child?.exitCode === null) this.child.kill('SIGSTOP');
  }

  run(event) {
    const { poll } = this;
    this.poll = null;
    this.event = event;
    event.environment = this;
    running.set(event.id, event);
    event.timer = setTimeout(() => this.child.kill('SIGKILL'), TIMEOUT_MS);
    this.child.kill('SIGCONT');
    poll.writeHead(200, {
      'content-type': 'application/json',
      'lambda-runtime-aws-request-id': event.id,
      'lambda-runtime-deadline-ms': String(Date.now() + TIMEOUT_MS),
      'lambda-runtime-invoked-function-arn': 'arn:aws:lambda:us-east-1:123456789012:function:model-gateway',
      'lambda-runtime-trace-id': `Root=1-${event.id.slice(0, 8)}-${event.id.replaceAll('-', '').slice(0, 24)};Sampled=0`,
    });
    poll.end(event.payload);
  }
}

function take(id) {
  const event = running.get(id);
  running.delete(id);
  return event;
}

function accepted(response) {
  response.writeHead(202, { 'content-type': 'application/json' }).end('{"status":"OK"}');
}

/** Hands waiting events to idle environments; starts another one when all are busy. */
function dispatch() {
  const idle = [...environments].filter((environment) => environment.poll);
  while (waiting.length > 0 && idle.length > 0) idle.shift().run(waiting.shift());
  const starting = [...environments].filter((environment) => !environment.poll && !environment.event).length;
  const room = Number(options.environments) - environments.size;
  for (let missing = Math.min(waiting.length - starting, room); missing > 0; missing--) new Environment();
}

// --- the front

class Event {
  /** `invoked`: its answer goes back as it is. */
  constructor(response, payload, id, invoked) {
    Object.assign(this, { response, payload, id, invoked });
  }

  fail(message) {
    clearTimeout(this.timer);
    running.delete(this.id);
    if (this.response.headersSent) {
      this.response.destroy();
      return;
    }
    if (this.invoked) this.response.setHeader('x-amz-function-error', 'Unhandled');
    this.response.writeHead(this.invoked ? 200 : 502, { 'content-type': 'application/json', 'x-amzn-errortype': 'InternalFailure' });
    this.response.end(JSON.stringify({ Message: message }));
  }

  answer(request) {
    const streamed = request.headers['lambda-runtime-function-response-mode'] === 'streaming';
    request.on('error', () => this.fail('the runtime broke off its answer'));
    if (streamed) this.stream(request);
    else collect(request).then((body) => this.buffered(body));
  }

  buffered(body) {
    clearTimeout(this.timer);
    if (this.invoked) return this.response.end(body);
    let answer;
    try {
      answer = JSON.parse(body);
    } catch {
      return this.fail('the answer is not JSON');
    }
    this.head(answer);
    this.response.end(Buffer.from(answer.body ?? '', answer.isBase64Encoded ? 'base64' : 'utf8'));
  }

  /** A JSON prelude, eight zero bytes, then the body as it is. */
  stream(request) {
    let held = Buffer.alloc(0);
    let started = false;
    request.on('data', (bytes) => {
      if (started) return void this.response.write(bytes);
      held = Buffer.concat([held, bytes]);
      const end = held.indexOf(PRELUDE_END);
      if (end < 0) return;
      started = true;
      this.head(JSON.parse(held.subarray(0, end)));
      const rest = held.subarray(end + PRELUDE_END.length);
      if (rest.length > 0) this.response.write(rest);
      else this.response.flushHeaders();
    });
    request.on('end', () => {
      clearTimeout(this.timer);
      if (!started) this.fail('a streamed answer without prelude');
      else if (request.trailers['lambda-runtime-function-error-type']) this.response.destroy();
      else this.response.end();
    });
  }

  head(answer) {
    const headers = { ...answer.headers };
    for (const [name, list] of Object.entries(answer.multiValueHeaders ?? {})) headers[name] ??= list;
    for (const name of Object.keys(headers)) {
      if (/^(connection|content-length|transfer-encoding)$/i.test(name)) delete headers[name];
    }
    if (answer.cookies?.length) headers['set-cookie'] = answer.cookies;
    headers['x-amzn-requestid'] = this.id;
    this.response.writeHead(answer.statusCode ?? 200, headers);
  }
}

async function collect(stream, limit = Infinity) {
  const parts = [];
  let size = 0;
  for await (const part of stream) {
    size += part.length;
    if (size <= limit) parts.push(part);
  }
  return size <= limit ? Buffer.concat(parts) : null;
}

function payload(request, body, id) {
  const headers = {};
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i].toLowerCase();
    if (name === 'cookie' || name === 'connection' || name === 'transfer-encoding') continue;
    const value = request.rawHeaders[i + 1];
    headers[name] = name in headers ? `${headers[name]},${value}` : value;
  }
  Object.assign(headers, {
    'x-amzn-trace-id': `Root=1-${id}`,
    'x-forwarded-for': '198.51.100.7',
    'x-forwarded-port': '443',
    'x-forwarded-proto': 'https',
  });
  const [rawPath, ...query] = request.url.split('?');
  const text = body.toString('utf8');
  const textual = TEXTUAL.test(headers['content-type'] ?? '') && Buffer.from(text).equals(body);
  const now = new Date();
  return JSON.stringify({
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString: query.join('?'),
    ...(request.headers.cookie && { cookies: request.headers.cookie.split('; ') }),
    headers,
    ...(query.length > 0 && { queryStringParameters: Object.fromEntries(new URLSearchParams(query.join('?'))) }),
    requestContext: {
      accountId: 'anonymous',
      apiId: 'loopback',
      domainName: headers.host ?? 'loopback.lambda-url.us-east-1.on.aws',
      domainPrefix: 'loopback',
      http: {
        method: request.method,
        path: rawPath,
        protocol: 'HTTP/1.1',
        sourceIp: '198.51.100.7',
        userAgent: headers['user-agent'] ?? '',
      },
      requestId: id,
      routeKey: '$default',
      stage: '$default',
      time: now.toUTCString(),
      timeEpoch: now.getTime(),
    },
    ...(body.length > 0 && { body: textual ? text : body.toString('base64') }),
    isBase64Encoded: body.length > 0 && !textual,
  });
}

const front = http.createServer(async (request, response) => {
  response.on('error', () => {});
  const body = await collect(request, MAX_EVENT_BYTES).catch(() => undefined);
  if (body === undefined) return; // the client left while sending
  if (body === null) {
    response.writeHead(413, { 'content-type': 'application/json' }).end('{"Message":"Request Entity Too Large"}');
    return;
  }
  const id = randomUUID();
  const invoked = request.url === INVOKE;
  waiting.push(new Event(response, invoked ? body : payload(request, body, id), id, invoked));
  dispatch();
});
front.requestTimeout = 0;
front.keepAliveTimeout = 75_000;
front.listen(Number(options.port), '127.0.0.1', () => {
  new Environment(); // so that a bootstrap that cannot start is seen at once
});
front.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    ending = true;
    for (const environment of environments) environment.child?.kill('SIGKILL');
    process.exit(0);
  });
}
