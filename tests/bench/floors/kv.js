// A KV namespace in memory: what workerd asks of the service behind a `kvNamespace` binding, as far as the gateway uses it.
const values = new Map();

const verbs = {
  GET: (key) => (values.has(key) ? new Response(values.get(key)) : new Response(null, { status: 404 })),
  PUT: async (key, request) => {
    values.set(key, await request.arrayBuffer());
    return new Response();
  },
  DELETE: (key) => {
    values.delete(key);
    return new Response();
  },
};

export default {
  fetch(request) {
    const answer = verbs[request.method];
    return answer ? answer(new URL(request.url).pathname, request) : new Response(null, { status: 405 });
  },
};
