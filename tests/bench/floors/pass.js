// The least a Worker can do between a client and a provider: it sends the request on and never looks at the answer.
export default {
  fetch(request, env) {
    return fetch(new Request(env.PROVIDER + new URL(request.url).pathname, request));
  },
};
