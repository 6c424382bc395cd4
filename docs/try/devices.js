/** What the model can be computed with here. */

/** @typedef {"wasm" | "webgpu"} Device */

/**
 * The best first. An adapter that is software is slower than WebAssembly.
 * @returns {Promise<Device[]>}
 */
export async function devices() {
  const adapter = await /** @type {any} */ (navigator).gpu?.requestAdapter().catch(() => null);
  const software = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter;
  return adapter && !software ? ["webgpu", "wasm"] : ["wasm"];
}
