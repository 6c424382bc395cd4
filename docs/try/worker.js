/** The model in a thread of its own, so that the page answers while it computes. Calls are done one after the other. */

import { EngineError, loadModel } from "./model.js";

/** @import {Model, Seen} from "./model.js" */

/** @type {Model} */
let model;
/** @type {Seen | undefined} */
let seen;

/** @type {Record<string, (given: any) => Promise<any>>} */
const calls = {
  async load({ base, device }) {
    model = await loadModel(new URL(base), device, (done, whole) => self.postMessage({ done, whole }));
    const { artefact, threads } = model;
    return { calibration: artefact.calibration, device: model.device, threads };
  },
  async look({ bitmap }) {
    seen?.bitmap.close();
    seen = undefined;
    try {
      seen = await model.look(bitmap);
    } catch (error) {
      bitmap.close();
      throw error;
    }
  },
  find: ({ prompts }) => model.find(/** @type {Seen} */ (seen), prompts),
};

let last = Promise.resolve();
self.addEventListener("message", ({ data: { call, number, given } }) => {
  last = last.then(async () => {
    try {
      const start = performance.now();
      const result = await calls[call](given);
      self.postMessage({ number, result, seconds: (performance.now() - start) / 1000 });
    } catch (error) {
      // Without a model this thread is of no use: what it could not import, it would not try to import again.
      const fatal = !model || error instanceof EngineError;
      self.postMessage({ number, error: error instanceof Error ? error.message : String(error), fatal });
    }
  });
});
