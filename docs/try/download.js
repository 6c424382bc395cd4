/** Files of the page, loaded with a word on how far they are. */

/** @typedef {{url: string, bytes: number, sha256: string}} FileEntry address from the page on, size, and hash */

/** Counts the bytes of several files together. */
export class Download {
  /**
   * @param {URL} base what addresses start from
   * @param {(done: number, whole: number) => void} onBytes
   */
  constructor(base, onBytes) {
    this.base = base;
    this.onBytes = onBytes;
    this.done = 0;
    this.whole = 0;
  }

  /**
   * The contents of files by name.
   * @param {Record<string, FileEntry>} files
   * @returns {Promise<Record<string, Uint8Array<ArrayBuffer>>>}
   */
  async all(files) {
    for (const { bytes } of Object.values(files)) this.whole += bytes;
    const read = Object.entries(files).map(async ([name, file]) => [name, await this.#one(file)]);
    return Object.fromEntries(await Promise.all(read));
  }

  /** @param {FileEntry} file */
  async #one({ url, bytes, sha256 }) {
    const content = await fetched(new URL(url, this.base), (more) => {
      this.done += more;
      this.onBytes(this.done, this.whole);
    });
    if (content.length !== bytes) {
      throw new Error(`${url} came with ${content.length} bytes in place of ${bytes}: reload the page.`);
    }
    // Without https, browsers do not hash.
    const hash = await globalThis.crypto?.subtle?.digest("SHA-256", content);
    if (hash && hex(hash) !== sha256)
      throw new Error(`${url} is not what was built (its SHA-256 differs): reload the page.`);
    return content;
  }
}

/** @param {ArrayBuffer} content */
function hex(content) {
  return Array.from(new Uint8Array(content), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The content of a file.
 * @param {URL} url
 * @param {(more: number) => void} onBytes is told of each piece
 */
export async function fetched(url, onBytes = () => {}) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok || !response.body) {
    const reason = response ? `status ${response.status}` : "no connection";
    throw new Error(`${url.pathname} could not be loaded (${reason}): check the connection, and try again.`);
  }
  const pieces = [];
  const reader = response.body.getReader();
  try {
    for (let piece; !(piece = await reader.read()).done;) {
      pieces.push(piece.value);
      onBytes(piece.value.length);
    }
  } catch {
    throw new Error(`${url.pathname} broke off: check the connection, and try again.`);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** @param {Uint8Array} content */
export function asJson(content) {
  return JSON.parse(new TextDecoder().decode(content));
}
