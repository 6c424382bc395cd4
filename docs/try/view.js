/** What one sees and does. The model is in `worker.js`. */

import { devices } from "./devices.js";
import { decode, strips } from "./image.js";
import { lineToWorker } from "./remote.js";
import { CUTS, STEPS, cutout, enlarger, judge, layer, leastArea } from "./masks.js";
import { EMPTY, strip } from "./words.js";

/** @import {Device} from "./devices.js" */
/** @import {Strip} from "./image.js" */
/** @import {Calibration} from "./masks.js" */
/** @import {Found, Files} from "./model.js" */

/** @typedef {{bitmap: ImageBitmap, name: string, seconds: number | null}} Picture how long looking at it took */

/**
 * @typedef {object} Prompt
 * @property {string} text
 * @property {number[]} colour
 * @property {boolean} shown
 * @property {Picture | null} about what it was asked about
 * @property {Found | null} found in that
 * @property {HTMLElement} item
 */

/** Those of `self1e.segment.overlay`: told apart with any common colour vision, in the order masks get them. */
const PALETTE = [
  [0, 153, 255],
  [255, 119, 34],
  [238, 51, 136],
  [0, 170, 136],
  [247, 208, 48],
  [136, 85, 221],
  [153, 221, 255],
  [170, 34, 68],
];
/** Of the layer of masks, so that it follows the slider. */
const MOST_PIXELS = 1_600_000;

/**
 * An element of the page.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${id}`);
  return found;
}

const stage = element("stage", HTMLElement);
const photo = element("photo", HTMLCanvasElement);
const marks = element("marks", HTMLCanvasElement);
const input = element("prompt", HTMLInputElement);
const slider = element("threshold", HTMLInputElement);
const list = element("prompts", HTMLElement);
const status = element("status", HTMLElement);
const saveButton = element("save", HTMLButtonElement);
const file = element("file", HTMLInputElement);

/** @type {Picture | null} */
let picture = null;
/** @type {Prompt[]} */
let prompts = [];
/** @type {{calibration: Calibration | null, device: string, threads: number} | null} */
let model = null;
/** @type {Files | null} to load for the first question */
let files = null;
/** @type {Device} what this machine computes with best */
let best = "wasm";
const asked = new URLSearchParams(location.search).get("device");
/** @type {Device | null} in place of the best */
let device = asked === "wasm" || asked === "webgpu" ? asked : null;
let working = false;
/** @type {Picture | null} what `photo` shows */
let painted = null;
/** @type {Strip} its pixels */
let colours = { top: 0, pixels: new Uint8ClampedArray() };
const enlarged = enlarger();
/** How many pictures were asked for: decoding takes as long as it takes, and the last one asked for is the one. */
let openings = 0;
const ask = lineToWorker(showBytes, () => {
  if (model?.device === "webgpu") device = "wasm"; // it would fail again
  model = null;
  if (picture) picture.seconds = null;
});

// ------------------------------------------------------------------------------------------------------ what is done

/** Does all that is due, one thing after the other: load the model, look at the picture, find what was asked for. */
async function work() {
  if (working) return;
  working = true;
  try {
    while (await step()) show();
  } catch (error) {
    complain(error);
    sayNothing();
    takeBack();
  } finally {
    working = false;
    element("progress", HTMLElement).hidden = true;
    show();
  }
}

/** @returns {Promise<boolean>} whether there was something to do */
async function step() {
  const current = picture;
  const due = prompts.filter((prompt) => prompt.about !== current);
  if (!current || (!model && !due.length)) return false;
  if (!model) {
    say("Loading the model");
    element("progress", HTMLElement).hidden = false;
    model = (await ask("load", { base: document.baseURI, device })).result;
    element("progress", HTMLElement).hidden = true;
    return true;
  }
  if (current.seconds === null) {
    say("Looking at the picture");
    current.seconds = (await ask("look", { bitmap: current.bitmap })).seconds;
    if (!due.length) sayNothing();
    return true;
  }
  if (!due.length) return false;
  await find(current, due);
  return true;
}

/**
 * @param {Picture} current
 * @param {Prompt[]} due
 */
async function find(current, due) {
  say("Finding");
  const { result, seconds } = await ask("find", { prompts: due.map(({ text }) => text) });
  if (current !== picture) return;
  due.forEach((prompt, number) => Object.assign(prompt, { about: current, found: result[number] }));
  say(`${current.seconds?.toFixed(2)} s for the picture, ${seconds.toFixed(2)} s for the words, ${machine()}`);
}

/** Prompts that came to nothing go; the first is put where it can be asked again. */
function takeBack() {
  const due = prompts.filter(({ about }) => about !== picture);
  for (const prompt of due) remove(prompt);
  if (due.length && !input.value) input.value = due[0].text;
}

function machine() {
  if (model?.device === "webgpu") return "on the GPU";
  return model?.threads === 1 ? "on one thread" : `on ${model?.threads} threads`;
}

/**
 * Shows a picture; what was asked for is looked for in it, too.
 * @param {Blob} content
 * @param {string} name
 */
async function open(content, name) {
  if (await put(content, name)) await work();
}

/**
 * Puts a picture in the place of the one before.
 * @param {Blob | Promise<Blob>} content
 * @param {string} name
 * @returns {Promise<boolean>} whether it is there: neither if it is no picture, nor if another was opened meanwhile
 */
async function put(content, name) {
  const opening = ++openings;
  let bitmap;
  try {
    bitmap = await decode(await content);
  } catch (error) {
    if (opening === openings) complain(error);
    return false;
  }
  if (opening !== openings) {
    bitmap.close();
    return false;
  }
  picture?.bitmap.close();
  picture = { bitmap, name, seconds: null };
  complain(null);
  if (!working) sayNothing();
  show();
  return true;
}

/** @param {string} text */
function add(text) {
  if (!strip(text)) return complain(new Error(EMPTY));
  complain(null);
  const item = /** @type {HTMLElement} */ (
    /** @type {DocumentFragment} */ (element("prompt-item", HTMLTemplateElement).content.cloneNode(true))
      .firstElementChild
  );
  const used = prompts.map(({ colour }) => colour);
  const colour = PALETTE.find((each) => !used.includes(each)) ?? PALETTE[prompts.length % PALETTE.length];
  /** @type {Prompt} */
  const prompt = { text, colour, shown: true, about: null, found: null, item };
  part(item, "swatch").addEventListener("click", () => {
    prompt.shown = !prompt.shown;
    show();
  });
  part(item, "remove").addEventListener("click", () => {
    remove(prompt);
    input.focus();
    show();
  });
  part(item, "text").textContent = text;
  item.style.setProperty("--colour", `rgb(${colour})`);
  prompts.push(prompt);
  list.append(item);
  show();
  return work();
}

/** @param {Prompt} prompt */
function remove(prompt) {
  prompts = prompts.filter((each) => each !== prompt);
  prompt.item.remove();
}

/** Saves a cut-out, and says so: of a large picture it takes seconds. */
async function save() {
  const [before, meanwhile] = [status.textContent ?? "", "Making the cut-out"];
  say(meanwhile);
  await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
  try {
    await saveCutout();
  } finally {
    if (status.textContent === meanwhile) say(before);
  }
}

/** The masks that are shown, as a picture without what is around them. */
async function saveCutout() {
  if (!picture) return;
  const { bitmap, name } = picture;
  const chosen = visible();
  const pixels = cutout(
    () => strips(bitmap),
    chosen.map(({ map }) => map),
    cut(),
    bitmap.width,
    bitmap.height,
  );
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser has no memory left for the cut-out: scale the picture down first.");
  context.putImageData(new ImageData(pixels, bitmap.width), 0, 0);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await canvas.convertToBlob({ type: "image/png" }));
  const words = chosen
    .map(({ text }) => text)
    .join(" ")
    .replace(/[^\p{L}\p{N}]+/gu, "-");
  link.download = `${name.replace(/\.\w+$/, "")}-${words}`.slice(0, 80) + ".png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// ------------------------------------------------------------------------------------------------------ what is seen

/** @param {string} text */
function say(text) {
  status.textContent = text;
}

/** But for what the first question will load, which one should know before. */
function sayNothing() {
  if (model || !files) return say("");
  const entries = [...Object.values(files.model), files.engines[device ?? best].binary];
  const whole = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  say(`The first question loads the model: ${megabytes(whole)} MB.`);
}

/** @param {unknown} error null: there is none any more */
function complain(error) {
  const shown = element("error", HTMLElement);
  shown.hidden = !error;
  shown.textContent = error instanceof Error ? error.message : String(error ?? "");
  if (error && !working) sayNothing();
}

/**
 * @param {number} done
 * @param {number} whole
 */
function showBytes(done, whole) {
  const bar = element("bar", HTMLProgressElement);
  [bar.value, bar.max] = [done, whole];
  element("amount", HTMLElement).textContent = `${megabytes(done)} of ${megabytes(whole)} MB`;
  if (done === whole) say("Starting the model");
}

/** @param {number} bytes */
function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

/** The logit above which a pixel is in a mask. */
function cut() {
  return CUTS[slider.valueAsNumber];
}

/** What is to be drawn: prompts about this picture that are switched on and find something. */
function visible() {
  return prompts.flatMap(({ text, colour, shown, about, found }) =>
    found && picture && about === picture && shown && judged(found, picture.bitmap).area
      ? [{ text, colour, map: found.map }]
      : [],
  );
}

/** Brings the page up to date. */
function show() {
  for (const prompt of prompts) showPrompt(prompt);
  element("tools", HTMLElement).hidden = !prompts.some(({ about }) => about && about === picture);
  element("level", HTMLOutputElement).textContent = `${Math.round(100 * STEPS[slider.valueAsNumber])} %`;
  element("find", HTMLButtonElement).disabled = working && !model;
  saveButton.disabled = !visible().length;
  requestDrawing();
}

/** @param {Prompt} prompt */
function showPrompt({ item, text, shown, about, found }) {
  const swatch = part(item, "swatch");
  swatch.setAttribute("aria-pressed", String(shown));
  swatch.setAttribute("aria-label", `Show ${text}`);
  part(item, "remove").setAttribute("aria-label", `Remove ${text}`);
  const current = about === picture ? found : null;
  const remark = part(item, "remark");
  remark.hidden = !current?.remark;
  remark.textContent = current?.remark ?? "";
  part(item, "result").textContent = current && picture ? verdict(current, picture.bitmap) : "…";
}

/**
 * What there is to say of a mask where the slider stands.
 * @param {Found} found
 * @param {ImageBitmap} bitmap
 */
function judged({ tally }, { width, height }) {
  return judge(tally, slider.valueAsNumber, leastArea(width, height), model?.calibration ?? null);
}

/**
 * @param {Found} of
 * @param {ImageBitmap} bitmap
 */
function verdict(of, bitmap) {
  const { found, score } = judged(of, bitmap);
  if (!model?.calibration) return `${found ? "found" : "not found"}, score ${score.toFixed(2)}`;
  if (!found) return `not found, sure to ${Math.round(100 * score)} %`;
  return `found${score < 0.5 ? ", doubtful" : ""}: expected IoU ${score.toFixed(2)}`;
}

/**
 * @param {HTMLElement} item
 * @param {string} name of its class
 * @returns {HTMLElement}
 */
function part(item, name) {
  return /** @type {HTMLElement} */ (item.querySelector(`.${name}`));
}

let drawing = 0;

function requestDrawing() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(draw);
}

function draw() {
  if (!picture) return;
  const { bitmap } = picture;
  stage.style.aspectRatio = `${bitmap.width} / ${bitmap.height}`;
  stage.style.maxWidth = `calc(75vh * ${bitmap.width / bitmap.height})`;
  const wide = stage.clientWidth * devicePixelRatio;
  const scale = Math.min(wide / bitmap.width, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  if (photo.width !== width || photo.height !== height || painted !== picture) {
    painted = picture;
    [photo.width, photo.height, marks.width, marks.height] = [width, height, width, height];
    const context = /** @type {CanvasRenderingContext2D} */ (photo.getContext("2d"));
    context.imageSmoothingQuality = "high";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0, width, height);
    colours = { top: 0, pixels: context.getImageData(0, 0, width, height).data };
    photo.setAttribute("aria-label", `The picture ${picture.name}`);
  }
  const line = Math.max(1.5, 2 * devicePixelRatio);
  const shown = visible();
  const maps = shown.map(({ map }) => map);
  const logits = enlarged(maps, colours, width, height);
  const drawn = shown.map(({ colour }, number) => ({ colour, logits: logits[number] }));
  const pixels = layer(drawn, cut(), width, height, line);
  marks.getContext("2d")?.putImageData(new ImageData(pixels, width), 0, 0);
}

// ------------------------------------------------------------------------------------------------------------ events

element("ask", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void add(input.value);
  input.value = "";
});
slider.addEventListener("input", show);
saveButton.addEventListener("click", () => void save().catch(complain));
file.addEventListener("change", () => {
  const chosen = file.files?.[0];
  if (chosen) void open(chosen, chosen.name);
  file.value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", ({ clipboardData }) => {
  const pasted = clipboardData?.files[0];
  if (pasted) void open(pasted, pasted.name);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) stage.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("dropping");
  const dropped = event.dataTransfer?.files[0];
  if (dropped) void open(dropped, dropped.name);
  else complain(new Error("That was no file: drop a picture from a folder, or save it first."));
});
new ResizeObserver(requestDrawing).observe(stage);

for (const button of document.querySelectorAll("#examples button")) {
  if (button instanceof HTMLButtonElement) button.addEventListener("click", () => void openExample(button));
}

/** @param {HTMLButtonElement} button */
async function openExample(button) {
  if (!(await putExample(button))) return;
  for (const each of prompts) remove(each);
  const { prompt = "" } = button.dataset;
  if (model) await add(prompt);
  else input.value = prompt;
}

/**
 * @param {HTMLButtonElement} button
 * @returns {Promise<boolean>} see `put`
 */
function putExample({ dataset: { picture: address = "" } }) {
  return put(loaded(address), address.replace(/.*\//, ""));
}

/**
 * @param {string} address
 * @returns {Promise<Blob>}
 */
async function loaded(address) {
  try {
    const response = await fetch(address);
    if (response.ok) return await response.blob();
  } catch {
    // as if it were not there
  }
  throw new Error(`${address} could not be loaded: check the connection.`);
}

/**
 * Threads need isolation. Where the server does not care for it, a service worker does, from the next load on.
 * @returns {Promise<boolean>} whether the page is about to be loaded again
 */
async function isolate() {
  const workers = navigator.serviceWorker; // not there without https
  if (self.crossOriginIsolated || !workers || workers.controller) return false;
  try {
    await workers.register("isolate.js");
  } catch {
    return false; // not allowed in a private window, for example; one thread will do
  }
  const soon = new Promise((resolve) => setTimeout(resolve, 3000, null));
  if (!(await Promise.race([workers.ready, soon]))) return false;
  location.reload();
  return true;
}

/** What one sees first: a picture, a question, and what it takes to answer it. */
async function start() {
  if (await isolate()) return;
  const example = document.querySelector("#examples button");
  if (example instanceof HTMLButtonElement && (await putExample(example))) {
    // Who was faster than the picture has typed something, or asked it.
    if (!input.value && !prompts.length) input.value = example.dataset.prompt ?? "";
    void work();
  }
  const response = await fetch("files.json").catch(() => null);
  /** @type {Files | null} */
  const listed = response?.ok ? await response.json().catch(() => null) : null;
  if (!listed) return complain(new Error("This page has no model: build it by docs/try/build.py."));
  [best] = await devices();
  files = listed;
  if (!working) sayNothing();
  element("about", HTMLElement).hidden = files.name !== "mini";
  for (const noun of files.nouns ?? []) {
    const button = document.createElement("button");
    button.textContent = noun;
    button.addEventListener("click", () => {
      void add(`the ${noun}`);
      stage.scrollIntoView({ block: "nearest" });
    });
    element("nouns", HTMLElement).append(button);
  }
}

void start();
