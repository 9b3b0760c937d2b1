// OpenAI's own Node SDK, unmodified, against the gateway. Run by test_openai_node.py, which sets the environment.
import assert from 'node:assert/strict';
import test from 'node:test';
import OpenAI from 'openai';

const { BASE_URL: baseURL, API_KEY: apiKey, CUT_KEY, FAILING_KEY } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 20_000 });
const messages = [{ role: 'user', content: 'Hello!' }];
const model = 'openai/gpt-4o';
const tools = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } } }];

test('chat', async () => {
  const completion = await client.chat.completions.create({ model, messages });
  assert.ok(completion.choices[0].message.content);
  assert.equal(completion.choices[0].finish_reason, 'stop');
  assert.ok(completion.usage.total_tokens > 0);
  assert.ok(completion._request_id);
});

test('chat, streamed', async () => {
  const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
  let text = '';
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    usage ??= chunk.usage;
  }
  assert.ok(text);
  assert.ok(usage.total_tokens > 0);
});

test('chat, accumulated', async () => {
  const completion = await client.chat.completions.stream({ model, messages }).finalChatCompletion();
  assert.ok(completion.choices[0].message.content);
});

test('tools, whole and streamed', async () => {
  const completion = await client.chat.completions.create({ model, messages, tools, tool_choice: 'required' });
  assert.equal(completion.choices[0].message.tool_calls[0].function.name, 'get_weather');
  const streamed = await client.chat.completions.stream({ model, messages, tools, tool_choice: 'required' }).finalChatCompletion();
  assert.equal(streamed.choices[0].message.tool_calls[0].function.name, 'get_weather');
});

test('completions', async () => {
  const completion = await client.completions.create({ model: 'instruct', prompt: 'Say this is a test' });
  assert.ok(completion.choices[0].text);
});

test('embeddings', async () => {
  const given = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'] });
  assert.equal(given.data.length, 2);
  assert.equal(typeof given.data[0].embedding[0], 'number');
  const plain = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'], encoding_format: 'float' });
  assert.equal(given.data[1].embedding.length, plain.data[1].embedding.length);
});

test('models', async () => {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  assert.equal(ids.length, 3);
  assert.equal((await client.models.retrieve(model)).object, 'model');
});

test('errors are typed', async () => {
  await assert.rejects(client.chat.completions.create({ model: 'nobody', messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    assert.equal(error.param, 'model');
    return true;
  });
  await assert.rejects(client.chat.completions.create({ model, messages, temperature: 7 }), OpenAI.BadRequestError);
  const wrong = new OpenAI({ baseURL, apiKey: 'sk-wrong', maxRetries: 0 });
  await assert.rejects(wrong.models.list(), OpenAI.AuthenticationError);
  const failing = new OpenAI({ baseURL, apiKey: FAILING_KEY, maxRetries: 0 });
  await assert.rejects(failing.chat.completions.create({ model: 'chat', messages }), OpenAI.InternalServerError);
});

test('a cut stream is an error', async () => {
  const cut = new OpenAI({ baseURL, apiKey: CUT_KEY, maxRetries: 0 });
  const stream = await cut.chat.completions.create({ model: 'chat', messages, stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  });
});

test('leaving a stream', async () => {
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  for await (const _ of stream) break;
  assert.ok((await client.chat.completions.create({ model, messages })).choices.length);
});
