/**
 * An exported model (`self1e export --to onnx`) on onnxruntime-web: a picture is looked at once, then asked about.
 */

import { devices } from "./devices.js";
import { Download, asJson, fetched } from "./download.js";
import { strips, tilesOf } from "./image.js";
import { Guide } from "./guide.js";
import { tally } from "./masks.js";
import { doubter } from "./nouns.js";
import { readTokenizer } from "./tokenizer.js";
import { pack, questionFor, readsAsSentence, strip, tokensOf } from "./words.js";

/** @import {Device} from "./devices.js" */
/** @import {FileEntry} from "./download.js" */
/** @import {Wanted} from "./image.js" */
/** @import {Calibration, LogitMap, Tally} from "./masks.js" */
/** @import {TaughtNouns} from "./nouns.js" */
/** @import {Tokenizer} from "./tokenizer.js" */

/**
 * What there is to load; `build.py` writes it.
 * @typedef {object} Files
 * @property {string} name of the model
 * @property {string[] | null} nouns that it was taught and finds
 * @property {Record<string, FileEntry>} model by their names in the artefact
 * @property {Record<Device, {script: string, binary: FileEntry}>} engines
 */

/**
 * Those settings of `artefact.json` that this page goes by, see `self1e.engines.artefact`.
 * @typedef {Wanted & OtherSettings} Artefact
 * @typedef {object} OtherSettings
 * @property {number} format
 * @property {string} model
 * @property {{picture: string, masks: string}} programs
 * @property {number} tokens_per_tile
 * @property {number} map_side cells of the map of a tile
 * @property {"none" | "guided"} [refine] how masks get to the picture's size
 * @property {number} context
 * @property {boolean} packed
 * @property {number[]} prefix
 * @property {{phrase: string, sentence: string}} questions
 * @property {Calibration | null} calibration
 * @property {TaughtNouns | null} nouns
 */

/**
 * A picture that was looked at. It is not kept where only its size matters any more.
 * @typedef {{features: Record<string, any>, tokens: number, width: number, height: number}} Looked
 * @typedef {Looked & {bitmap: ImageBitmap, guide: Guide | null}} Seen
 */

/**
 * What a prompt found; `remark` says what makes it doubtful.
 * @typedef {{map: LogitMap, tally: Tally, remark: string | null}} Found
 */

const FORMAT = 1;
const MOST_THREADS = 8;

/**
 * Loads the model and what computes it.
 * @param {URL} base of the page
 * @param {Device | null} device null: the best there is
 * @param {(done: number, whole: number) => void} onBytes
 * @returns {Promise<Model>}
 */
export async function loadModel(base, device, onBytes) {
  /** @type {Files} */
  const files = asJson(await fetched(new URL("files.json", base)));
  const download = new Download(base, onBytes);
  const [best, ...others] = device ? [device] : await devices();
  const [contents, { binary }] = await Promise.all([
    download.all(files.model),
    download.all({ binary: files.engines[best].binary }),
  ]);
  const open = async (/** @type {Device} */ on, /** @type {Uint8Array<ArrayBuffer>} */ engine) =>
    Model.open(contents, await startEngine(new URL(files.engines[on].script, base), engine), on);
  return open(best, binary).catch(async (error) => {
    if (!others.length) throw error;
    console.warn(`${best} failed, ${others[0]} is used:`, error); // WebGPU is young
    return open(others[0], (await download.all({ binary: files.engines[others[0]].binary })).binary);
  });
}

/** Threads share memory, which browsers allow only to pages that are served in isolation. */
function threads() {
  return self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
}

/**
 * @param {URL} script
 * @param {Uint8Array<ArrayBuffer>} binary
 */
async function startEngine(script, binary) {
  const ort = await import(script.href).catch(() => {
    throw new Error(`${script.pathname} could not be loaded: check the connection, and try again.`);
  });
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads();
  ort.env.wasm.wasmPaths = new URL(".", script).href;
  ort.env.wasm.wasmBinary = binary.buffer;
  return ort;
}

/** What computes the model broke off, or gives no numbers: after a lost GPU, for example, it goes on doing so. */
export class EngineError extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(`The model failed (${reason}): ask again, and it is started anew.`);
  }
}

export class Model {
  /**
   * @param {Record<string, Uint8Array>} contents files of the artefact
   * @param {any} ort
   * @param {Device} device
   */
  static async open(contents, ort, device) {
    /** @type {Artefact} */
    const artefact = asJson(contents["artefact.json"]);
    if (artefact.format !== FORMAT) {
      throw new Error(`The model has format ${artefact.format}, and this page knows ${FORMAT}: build the page again.`);
    }
    const tokenizer = readTokenizer(asJson(contents["tokenizer.json"]));
    const session = (/** @type {"picture" | "masks"} */ program) =>
      ort.InferenceSession.create(contents[artefact.programs[program]], { executionProviders: [device] }).catch(
        (/** @type {Error} */ error) => {
          throw new Error(`This browser cannot run the model: ${error.message}`);
        },
      );
    const model = new Model(artefact, tokenizer, ort, device, await session("picture"), await session("masks"));
    if (device === "webgpu") await model.#tryOut();
    return model;
  }

  /**
   * @param {Artefact} artefact
   * @param {Tokenizer} tokenizer
   * @param {any} ort
   * @param {Device} device
   * @param {any} picture the program that looks
   * @param {any} masks the program that finds
   */
  constructor(artefact, tokenizer, ort, device, picture, masks) {
    this.artefact = artefact;
    this.device = device;
    this.threads = threads();
    this.#tokenizer = tokenizer;
    this.#ort = ort;
    this.#picture = picture;
    this.#masks = masks;
    this.#doubtOf = artefact.nouns ? doubter(artefact.nouns) : () => null;
  }

  #tokenizer;
  #ort;
  #picture;
  #masks;
  #doubtOf;

  /** Shaders are made when they are first needed; and where they cannot be, it is better known now. */
  async #tryOut() {
    const { image_size: size } = this.artefact;
    const looked = await this.#look(new Float32Array(3 * size * size), [1, 1], size, size);
    await this.#maps(looked, [this.#tokens(looked, "the sky")]);
  }

  /**
   * Runs the first program.
   * @param {ImageBitmap} bitmap stays open for as long as something is found in it
   * @returns {Promise<Seen>}
   */
  async look(bitmap) {
    const { width, height } = bitmap;
    const { tiles, grid } = tilesOf(bitmap, this.artefact);
    const { map_side: side, refine } = this.artefact;
    const cells = /** @type {[number, number]} */ (grid.map((tiles) => tiles * side));
    const guide = refine === "guided" ? new Guide(strips(bitmap), [width, height], cells) : null;
    return { ...(await this.#look(tiles, grid, width, height)), bitmap, guide };
  }

  /**
   * @param {Float32Array} tiles
   * @param {[number, number]} grid
   * @param {number} width of the picture
   * @param {number} height
   * @returns {Promise<Looked>}
   */
  async #look(tiles, [columns, rows], width, height) {
    const { image_size: size, tokens_per_tile, prefix } = this.artefact;
    const pixels = new this.#ort.Tensor("float32", tiles, [rows, columns, 3, size, size]);
    const features = await computed(this.#picture, { pixels });
    return { features, tokens: prefix.length + columns * rows * tokens_per_tile, width, height };
  }

  /**
   * Runs the second program: all prompts in one pass where the picture does not look at them.
   * @param {Seen} seen
   * @param {string[]} prompts
   * @returns {Promise<Found[]>}
   */
  async find(seen, prompts) {
    const questions = prompts.map((prompt) => this.#tokens(seen, prompt));
    const passes = this.artefact.packed ? [questions] : questions.map((tokens) => [tokens]);
    const maps = [];
    for (const pass of passes) maps.push(...(await this.#maps(seen, pass)));
    return maps.map((found, number) => {
      const map = seen.guide ? { ...found, functions: seen.guide.fit(found) } : found;
      const counted = tally(map, seen.width, seen.height, strips(seen.bitmap));
      return { map, tally: counted, remark: this.#remark(prompts[number]) };
    });
  }

  /**
   * @param {Looked} seen
   * @param {string} prompt
   */
  #tokens(seen, prompt) {
    const tokens = tokensOf(this.#tokenizer, questionFor(prompt, this.artefact.questions));
    const over = seen.tokens + tokens.length - this.artefact.context;
    if (over > 0) throw new Error(`“${prompt.slice(0, 40)}…” is ${over} tokens too long: shorten it.`);
    return tokens;
  }

  /**
   * @param {Looked} seen
   * @param {number[][]} questions
   * @returns {Promise<LogitMap[]>}
   */
  async #maps(seen, questions) {
    const { marks, ...words } = pack(questions, seen.tokens);
    const tensor = (/** @type {Int32Array} */ of, /** @type {number[]} */ shape) =>
      new this.#ort.Tensor("int32", of, shape);
    /** @type {Record<string, any>} */
    const inputs = { ...seen.features, marks: tensor(marks, [marks.length]) };
    for (const [name, numbers] of Object.entries(words)) inputs[name] = tensor(numbers, [1, numbers.length]);
    const wanted = this.#masks.inputNames.map((/** @type {string} */ name) => [name, inputs[name]]);
    const { logits } = await computed(this.#masks, Object.fromEntries(wanted));
    if (!logits.data.every(Number.isFinite)) throw new EngineError("its numbers overflow");
    const [count, height, width] = logits.dims;
    return Array.from({ length: count }, (_, number) => ({
      logits: logits.data.slice(number * width * height, (number + 1) * width * height),
      width,
      height,
    }));
  }

  /**
   * What `Segmenter.remark` says first of a prompt that names what a small model does not know, or not well.
   * @param {string} prompt
   */
  #remark(prompt) {
    const doubt = readsAsSentence(prompt) ? null : this.#doubtOf(prompt);
    return doubt && `${this.artefact.model} ${doubt.verb} “${strip(prompt)}”: ${doubt.reason}.`;
  }
}

/**
 * What a program gives.
 * @param {any} session
 * @param {Record<string, any>} inputs
 * @returns {Promise<Record<string, any>>}
 */
async function computed(session, inputs) {
  try {
    return await session.run(inputs);
  } catch (error) {
    throw new EngineError(error instanceof Error ? error.message : String(error));
  }
}
