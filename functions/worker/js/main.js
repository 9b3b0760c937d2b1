// The Worker's main module: a plain handler before worker-build's shim. A class with the shim's proxies around it costs
// every request a tenth of a JSON call's CPU; here it only starts the wasm module, and starts it anew after a trap.
import Shim from './index.js';

export { DigestObject, LimitsObject, RegistryObject, TenantObject, UsageObject } from './index.js';

export default {
  fetch(request, env, context) {
    const host = globalThis.__gateway_host; // js/host.js
    if (host.serves()) return host.accept(request, env, context);
    return ready(host, request, env, context, () => host.accept(request, env, context));
  },

  /** The schedule of wrangler.toml: clears what a crash left behind. */
  scheduled(_event, env, context) {
    const host = globalThis.__gateway_host;
    const sweep = () => host.sweep(env, context);
    context.waitUntil(Promise.resolve(host.serves() ? sweep() : ready(host, new Request('http://sweep/'), env, context, sweep)));
  },
};

/** Starts the wasm module, as soon as the secrets of a Secrets Store are there, and goes on with `next`. */
function ready(host, request, env, context, next) {
  const secrets = host.secrets(env);
  const go = () => {
    if (!host.serves()) start(request, env, context);
    return next();
  };
  return secrets ? secrets.then(go, host.unavailable) : go();
}

function start(request, env, context) {
  try {
    new Shim(context, env).fetch(request);
  } catch {
    // It traps as it starts: the request is answered like one that a trap hits later.
  }
}
