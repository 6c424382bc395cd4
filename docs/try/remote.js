/** The page's end of the line to `worker.js`. */

/** @typedef {{resolve: (value: any) => void, reject: (reason: Error) => void}} Waiting */
/** @typedef {(call: string, given: object) => Promise<{result: any, seconds: number}>} Ask calls the worker */

/**
 * A line to a worker that is started when it is first called, and anew after one that failed.
 * @param {(done: number, whole: number) => void} onBytes is told how far loading is
 * @param {() => void} onLost is told that the worker, and what was loaded in it, is gone
 * @returns {Ask}
 */
export function lineToWorker(onBytes, onLost) {
  /** @type {Ask | null} */
  let ask = null;
  const lost = () => {
    ask = null;
    onLost();
  };
  return async (call, given) => {
    ask ??= startWorker(onBytes, lost);
    return ask(call, given);
  };
}

/**
 * @param {(done: number, whole: number) => void} onBytes
 * @param {() => void} onLost
 * @returns {Ask}
 */
function startWorker(onBytes, onLost) {
  /** @type {Map<number, Waiting>} */
  const waiting = new Map();
  let calls = 0;
  // Made of a blob, it keeps to this page's Content-Security-Policy; by its address, it would go by the server's.
  const source = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address, { type: "module" });
  const end = (/** @type {Error} */ reason) => {
    worker.terminate();
    URL.revokeObjectURL(address);
    onLost();
    for (const { reject } of waiting.values()) reject(reason);
  };
  worker.addEventListener("message", ({ data }) => {
    if ("done" in data) return onBytes(data.done, data.whole);
    const { resolve, reject } = /** @type {Waiting} */ (waiting.get(data.number));
    if (data.fatal) return end(new Error(data.error));
    waiting.delete(data.number);
    if ("error" in data) reject(new Error(data.error));
    else resolve(data);
  });
  worker.addEventListener("error", ({ message }) => {
    const says = message // there is none if it never ran
      ? `This browser cannot run the model: ${message}`
      : "worker.js, or what it imports, could not be loaded: check the connection, and try again.";
    end(new Error(says));
  });
  return (call, given) =>
    new Promise((resolve, reject) => {
      worker.postMessage({ call, number: calls, given });
      waiting.set(calls++, { resolve, reject });
    });
}
