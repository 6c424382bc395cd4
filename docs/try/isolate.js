/**
 * A service worker that isolates the page where its server does not: browsers let threads share memory only in pages
 * that come with these two headers, and many hosts of static files cannot send them.
 */

/** @type {Record<string, string>} */
const HEADERS = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

const worker = /** @type {any} */ (self);

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));
worker.addEventListener("fetch", (/** @type {any} */ event) => event.respondWith(isolated(event.request)));

/** @param {Request} request */
async function isolated(request) {
  const response = await fetch(request);
  if (response.type === "opaqueredirect") return response; // the browser follows it
  const { body, status, statusText, headers } = response;
  const more = new Headers(headers);
  for (const [name, value] of Object.entries(HEADERS)) more.set(name, value);
  return new Response(body, { status, statusText, headers: more });
}
