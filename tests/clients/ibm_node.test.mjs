// IBM's Node SDK, unmodified: every method of its model gateway. Run by test_ibm_node.py, which sets the environment.
import assert from 'node:assert/strict';
import test from 'node:test';
import { createRequire } from 'node:module';
import { Gateway } from '@ibm-cloud/watsonx-ai/gateway';

const { BearerTokenAuthenticator, IamAuthenticator } = createRequire(import.meta.url)('ibm-cloud-sdk-core');
const { ORIGIN: serviceUrl, API_KEY: apikey, UPSTREAM: base_url, UPSTREAM_KEY: upstreamKey } = process.env;
const version = '2024-05-31';
const bucket = { capacity: 60, amount: 10, duration: '1m' };
const messages = [{ role: 'user', content: 'Say hello.' }];
const authenticators = {
  'a key': new BearerTokenAuthenticator({ bearerToken: apikey }),
  'a token for a key': new IamAuthenticator({ apikey, url: serviceUrl }),
};

for (const [name, authenticator] of Object.entries(authenticators)) {
  test(`every method, with ${name}`, async () => {
    const gateway = new Gateway({ serviceUrl, version, authenticator });
    const created = await gateway.providers.create({ providerName: 'openai', name: `ibm ${name}`, data: { apikey: upstreamKey, base_url } });
    assert.equal(created.status, 201);
    const provider = created.result;
    const providerId = provider.uuid;
    assert.equal((await gateway.providers.getDetails({ providerId })).result.name, provider.name);
    assert.ok((await gateway.providers.list()).some((item) => item.uuid === providerId));
    assert.ok((await gateway.providers.getAvailableModelsDetails({ providerId })).result.data.length > 0);
    const renamed = await gateway.providers.update({ providerId, providerName: 'openai', name: `${name} again`, data: { apikey: upstreamKey, base_url } });
    assert.deepEqual([renamed.status, renamed.result.uuid], [200, providerId]);

    const enable = async (modelId, alias) => (await gateway.models.create({ providerId, modelId, alias, metadata: { cost: 0.005 } })).result;
    const chat = await enable('gpt-4o-mini', 'ibm/chat');
    await enable('gpt-3.5-turbo-instruct', 'instruct');
    await enable('text-embedding-3-small', 'embed');
    assert.deepEqual((await gateway.models.getDetails({ modelId: chat.uuid })).result, chat);
    assert.equal((await gateway.models.list()).length, 3);
    assert.equal((await gateway.models.list({ providerId })).length, 3);

    const policy = (await gateway.policies.create({
      action: 'read', effect: 'allow', resource: 'model:9a6c5c0d-6a5c-4c58-8d6e-7f9b3a6f2f10', subject: 'AccessGroupId-56c5e703-6a5c-4c58-8d6e-7f9b3a6f2f10',
    })).result;
    assert.deepEqual(await gateway.policies.getDetails({ policyId: policy.uuid }), policy);
    assert.deepEqual(await gateway.policies.list(), [policy]);
    assert.equal((await gateway.policies.delete({ policyId: policy.uuid })).status, 204);

    const limits = [
      { type: 'tenant', modelId: chat.uuid, request: bucket },
      { type: 'provider', providerId, token: bucket },
      { type: 'model', modelId: chat.uuid, request: bucket, token: bucket },
    ];
    const made = [];
    for (const limit of limits) {
      const { status, result } = await gateway.rateLimit.create(limit);
      assert.equal(status, 201);
      made.push(result);
    }
    assert.deepEqual(made.map(({ type }) => type), ['tenant', 'provider', 'model']);
    assert.deepEqual([made[1].provider_uuid, made[2].model_uuid], [providerId, chat.uuid]);
    assert.deepEqual(await gateway.rateLimit.list(), made);
    assert.deepEqual((await gateway.rateLimit.getDetails({ rateLimitId: made[2].uuid })).result, made[2]);

    const whole = (await gateway.chat.completion.create({ model: 'ibm/chat', messages, maxTokens: 50 })).result;
    let text = '';
    const stream = await gateway.chat.completion.create({ model: 'ibm/chat', messages, stream: true, returnObject: true });
    for await (const { data } of stream) text += data.choices?.[0]?.delta.content ?? '';
    assert.equal(text, whole.choices[0].message.content);
    assert.ok((await gateway.completion.create({ model: 'instruct', prompt: 'Say hello.' })).result.choices[0].text);
    assert.equal((await gateway.embeddings.completion.create({ model: 'embed', input: ['a', 'b'] })).result.data.length, 2);

    for (const { uuid } of made) assert.equal((await gateway.rateLimit.delete({ rateLimitId: uuid })).status, 204);
    assert.equal((await gateway.models.delete({ modelId: chat.uuid })).status, 204);
    assert.equal((await gateway.providers.delete({ providerId })).status, 204);
    assert.deepEqual(await gateway.models.list(), []);
  });
}
