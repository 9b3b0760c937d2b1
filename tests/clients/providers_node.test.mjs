// OpenAI's Node SDK and Vercel's AI SDK, unmodified, with one provider type after the other behind the gateway.
// Run by test_providers_node.py, which sets the environment.
import assert from 'node:assert/strict';
import test from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateObject, generateText, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { z } from 'zod';

const { BASE_URL: baseURL, PROVIDERS } = process.env;
const said = 'Hello from the simulated provider. You said: one two';
const messages = [{ role: 'developer', content: 'Be brief.' }, { role: 'user', content: 'one two' }];
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const weather = { type: 'function', function: { name: 'get_weather', parameters } };
const calls = [{ role: 'user', content: 'say:Looking.\ncall:get_weather {"city":"Oslo"}\ncall:get_weather {"city":"Rome"}' }];

for (const { name, apiKey, complete, embeds } of JSON.parse(PROVIDERS)) {
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 20_000 });
  const model = 'chat';

  test(`${name}: chat, whole and streamed`, async () => {
    const completion = await client.chat.completions.create({ model, messages });
    assert.equal(completion.choices[0].message.content, said);
    assert.equal(completion.choices[0].finish_reason, 'stop');
    assert.equal(completion.usage.completion_tokens, 9);
    const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
    let text = '';
    let last;
    for await (const chunk of stream) {
      assert.equal(chunk.object, 'chat.completion.chunk');
      text += chunk.choices[0]?.delta.content ?? '';
      last = chunk;
    }
    assert.equal(text, said);
    assert.deepEqual([last.choices, last.usage.completion_tokens], [[], 9]);
  });

  test(`${name}: the accumulator and tools`, async () => {
    const whole = await client.chat.completions.create({ model, messages: calls, tools: [weather] });
    const runner = client.chat.completions.stream({ model, messages: calls, tools: [weather] });
    const streamed = await runner.finalChatCompletion();
    for (const { choices: [choice] } of [whole, streamed]) {
      assert.equal(choice.finish_reason, 'tool_calls');
      assert.equal(choice.message.content, 'Looking.');
      assert.deepEqual(choice.message.tool_calls.map((call) => JSON.parse(call.function.arguments).city), ['Oslo', 'Rome']);
    }
  });

  test(`${name}: the runner of tools`, async () => {
    const cities = [];
    const run = ({ city }) => `4C in ${cities.push(city) && city}`;
    const tools = [{ type: 'function', function: { ...weather.function, parse: JSON.parse, function: run } }];
    for (const stream of [false, true]) {
      const runner = client.chat.completions.runTools({ model, messages: calls, tools, stream });
      assert.match(await runner.finalContent(), /The tool said: 4C in Rome$/);
    }
    assert.deepEqual(cities.sort(), ['Oslo', 'Oslo', 'Rome', 'Rome']);
  });

  test(`${name}: embeddings and completions`, async () => {
    if (embeds) {
      const given = await client.embeddings.create({ model: 'embed', input: ['a', 'b'] });
      const plain = await client.embeddings.create({ model: 'embed', input: ['a', 'b'], encoding_format: 'float' });
      assert.equal(given.data[1].embedding.length, plain.data[1].embedding.length);
      assert.ok(Math.abs(given.data[1].embedding[0] - plain.data[1].embedding[0]) < 1e-5);
    } else {
      await assert.rejects(client.embeddings.create({ model, input: 'a' }), OpenAI.BadRequestError);
    }
    if (complete) {
      let text = '';
      for await (const chunk of await client.completions.create({ model: 'complete', prompt: 'one two', max_tokens: 30, stream: true })) {
        text += chunk.choices[0]?.text ?? '';
      }
      assert.equal(text.trim(), said);
    } else {
      await assert.rejects(client.completions.create({ model, prompt: 'a' }), OpenAI.BadRequestError);
    }
  });

  const provider = createOpenAICompatible({ name: 'gateway', baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
  const common = { model: provider('chat'), maxRetries: 0 };

  test(`${name}: the AI SDK's texts`, async () => {
    const whole = await generateText({ ...common, system: 'Be brief.', prompt: 'one two' });
    assert.deepEqual([whole.text, whole.finishReason, whole.usage.outputTokens], [said, 'stop', 9]);
    const stream = streamText({ ...common, prompt: 'one two', onError: ({ error }) => assert.fail(error) });
    let text = '';
    for await (const part of stream.textStream) text += part;
    assert.deepEqual([text, await stream.finishReason, (await stream.usage).outputTokens], [said, 'stop', 9]);
  });

  test(`${name}: the AI SDK's tools`, async () => {
    const tools = { get_weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `4C in ${city}` }) };
    const options = { ...common, messages: calls, tools, stopWhen: stepCountIs(3) };
    const whole = await generateText(options);
    assert.equal(whole.steps.length, 2);
    assert.match(whole.text, /4C in Rome/);
    const stream = streamText({ ...options, onError: ({ error }) => assert.fail(error) });
    assert.match(await stream.text, /4C in Rome/);
    assert.equal((await stream.steps)[0].toolCalls.length, 2);
  });

  test(`${name}: the AI SDK's objects and vectors`, async () => {
    const { object } = await generateObject({ ...common, schema: z.object({ city: z.string(), degrees: z.number().int() }), prompt: 'one two' });
    assert.equal(typeof object.degrees, 'number');
    if (embeds) {
      const { embeddings } = await embedMany({ model: provider.embeddingModel('embed'), values: ['a', 'b'], maxRetries: 0 });
      assert.equal(embeddings.length, 2);
    }
  });
}
