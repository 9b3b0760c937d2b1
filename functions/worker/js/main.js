// The Worker's main module: a plain handler before worker-build's shim. A class with the shim's proxies around it costs
// every request a tenth of a JSON call's CPU; here it only starts the wasm module, and starts it anew after a trap.
import Shim from './index.js';

export { LimitsObject, RegistryObject, TenantObject, UsageObject } from './index.js';

export default {
  fetch(request, env, context) {
    const host = globalThis.__gateway_host; // js/host.js
    if (!host.serves()) start(request, env, context);
    return host.accept(request, env, context);
  },
};

function start(request, env, context) {
  try {
    new Shim(context, env).fetch(request);
  } catch {
    // It traps as it starts: the request is answered like one that a trap hits later.
  }
}
