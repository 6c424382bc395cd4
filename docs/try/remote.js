/** The page's end of the line to `worker.js`. */

/** @type {Map<number, {resolve: (value: any) => void, reject: (reason: Error) => void}>} */
const waiting = new Map();
let calls = 0;

/**
 * Starts the worker.
 * @param {(done: number, whole: number) => void} onBytes is told how far loading is
 * @returns {(call: string, given: object) => Promise<{result: any, seconds: number}>} calls it
 */
export function startWorker(onBytes) {
  // Made of a blob, it keeps to this page's Content-Security-Policy; by its address, it would go by the server's.
  const source = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address, { type: "module" });
  worker.addEventListener("message", ({ data }) => {
    if ("done" in data) return onBytes(data.done, data.whole);
    const { resolve, reject } = /** @type {any} */ (waiting.get(data.number));
    waiting.delete(data.number);
    if ("error" in data) reject(new Error(data.error));
    else resolve(data);
  });
  worker.addEventListener("error", ({ message }) => {
    for (const { reject } of waiting.values()) reject(new Error(`This browser cannot run the model: ${message}`));
    waiting.clear();
  });
  return (call, given) => {
    const number = calls++;
    worker.postMessage({ call, number, given });
    return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
  };
}
