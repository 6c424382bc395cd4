/**
 * From mask logits to what one sees: at the picture's size as `self1e.processing.refine`
 * resizes them, judged as `self1e.segment.results` does, and drawn.
 */

/** @import {Strip} from "./image.js" */

/**
 * A map of logits; it covers the picture. Where it has functions, these are what is resized.
 * @typedef {{logits: Float32Array, width: number, height: number, functions?: Functions}} LogitMap
 */

/**
 * Linear functions of the colours, one for each cell of a map; see `guide.js`.
 * @typedef {object} Functions
 * @property {Float32Array} offset logits where it is black
 * @property {Float32Array[]} slopes what red, green and blue (0 to 1) add to them
 * @property {Float32Array} lowest the logit that is to come out at least
 * @property {Float32Array} highest and at most
 */

/**
 * What there is to know of a map at the picture's size, for each probability that the slider can have.
 * @typedef {object} Tally
 * @property {Uint32Array} areas pixels above STEPS[i]
 * @property {Float64Array} sums of the probabilities of these
 * @property {number} highest probability
 */

/** @typedef {[number, number][]} Knots */
/** @typedef {{present: Knots, absent: Knots, least?: number, withheld?: number}} Calibration */

/** The slider's probabilities. */
export const STEPS = Array.from({ length: 99 }, (_, number) => (number + 1) / 100);
const HALF = STEPS.indexOf(0.5);

/** The logits of these, in float32 like those that they are compared with. */
export const CUTS = Float32Array.from(STEPS, (probability) => Math.log(probability / (1 - probability)));

/** @param {number} logit */
function probabilityOf(logit) {
  return 1 / (1 + Math.exp(-logit));
}

/**
 * Where the values of a side of a resized map come from: value i lies `share[i]` of the way from `low[i]` to `high[i]`.
 * @param {number} from
 * @param {number} to
 */
function spread(from, to) {
  const [low, high, share] = [new Int32Array(to), new Int32Array(to), new Float32Array(to)];
  for (let i = 0; i < to; i++) {
    const place = Math.max(0, ((i + 0.5) * from) / to - 0.5);
    low[i] = Math.min(from - 1, Math.floor(place));
    high[i] = Math.min(from - 1, low[i] + 1);
    share[i] = place - low[i];
  }
  return { low, high, share };
}

/**
 * The rows of a map at another size, resized bilinearly. The array is used again for the next row.
 * @param {LogitMap} map
 * @param {number} width
 * @param {number} height
 * @param {Iterable<Strip>} strips of the picture at that size; without functions, nobody looks at them
 * @returns {Generator<Float32Array>}
 */
export function* resizedRows(map, width, height, strips) {
  const [across, down] = [spread(map.width, width), spread(map.height, height)];
  const mixed = new Float32Array(map.width);
  const resize = (/** @type {Float32Array} */ values, /** @type {number} */ y, /** @type {Float32Array} */ row) => {
    const [above, below] = [down.low[y] * map.width, down.high[y] * map.width];
    for (let x = 0; x < map.width; x++) {
      mixed[x] = values[above + x] + (values[below + x] - values[above + x]) * down.share[y];
    }
    for (let x = 0; x < width; x++) {
      const low = mixed[across.low[x]];
      row[x] = low + (mixed[across.high[x]] - low) * across.share[x];
    }
  };
  const row = new Float32Array(width);
  const functions = map.functions;
  if (!functions) {
    for (let y = 0; y < height; y++) {
      resize(map.logits, y, row);
      yield row;
    }
    return;
  }
  const [slope, lowest, highest] = Array.from({ length: 3 }, () => new Float32Array(width));
  for (const { top, pixels } of strips) {
    for (let start = 0, y = top; start < pixels.length; start += 4 * width, y++) {
      resize(functions.offset, y, row);
      for (let c = 0; c < 3; c++) {
        resize(functions.slopes[c], y, slope);
        for (let x = 0, at = start + c; x < width; x++, at += 4) row[x] += (slope[x] * pixels[at]) / 255;
      }
      resize(functions.lowest, y, lowest);
      resize(functions.highest, y, highest);
      for (let x = 0; x < width; x++) row[x] = Math.max(lowest[x], Math.min(highest[x], row[x]));
      yield row;
    }
  }
}

/**
 * @param {LogitMap} map
 * @param {number} width of the picture
 * @param {number} height
 * @param {Iterable<Strip>} strips of the picture
 * @returns {Tally}
 */
export function tally(map, width, height, strips) {
  const [areas, sums] = [new Uint32Array(STEPS.length), new Float64Array(STEPS.length)];
  let highest = -Infinity;
  for (const row of resizedRows(map, width, height, strips)) {
    for (const logit of row) {
      if (logit > highest) highest = logit;
      if (logit <= CUTS[0]) continue;
      const probability = probabilityOf(logit);
      let step = Math.min(STEPS.length, Math.ceil(probability * 100)) - 1; // near enough for one correction
      if (step > 0 && logit <= CUTS[step]) step--;
      else if (step + 1 < STEPS.length && logit > CUTS[step + 1]) step++;
      areas[step]++;
      sums[step] += probability;
    }
  }
  for (let step = STEPS.length - 2; step >= 0; step--) {
    areas[step] += areas[step + 1];
    sums[step] += sums[step + 1];
  }
  return { areas, sums, highest: probabilityOf(highest) };
}

/**
 * The least number of pixels that counts as something found.
 * @param {number} width
 * @param {number} height
 */
export function leastArea(width, height) {
  return Math.max(1, Math.min(50, Math.floor((width * height) / 4000)));
}

/**
 * What to say of a mask: as `Segmentation.from_logits` at a probability of 0.5, elsewhere as `Segmentation.at`. Of one
 * that is withheld the area is 0.
 * @param {Tally} of
 * @param {number} step of STEPS
 * @param {number} enough pixels that count as found
 * @param {Calibration | null} calibration
 * @returns {{found: boolean, area: number, score: number}}
 */
export function judge({ areas, sums, highest }, step, enough, calibration) {
  const [area, usual] = [areas[step], areas[HALF]];
  let score = usual ? sums[HALF] / usual : 1 - highest;
  if (usual && score < (calibration?.least ?? 0)) return { found: false, area: 0, score: calibration?.withheld ?? 1 };
  if (calibration) score = interpolate(score, usual ? calibration.present : calibration.absent);
  if (area && !usual) score = sums[step] / area;
  if (usual && !area) score = 1 - highest;
  return { found: area >= enough, area, score };
}

/**
 * @param {number} x
 * @param {Knots} knots
 */
function interpolate(x, knots) {
  const next = knots.findIndex(([at]) => at > x);
  if (next === 0) return knots[0][1];
  if (next < 0) return knots[knots.length - 1][1];
  const [[x0, y0], [x1, y1]] = [knots[next - 1], knots[next]];
  return y0 + ((x - x0) / (x1 - x0)) * (y1 - y0);
}

/**
 * Keeps maps at the size that they are drawn at for as long as they are drawn on the same picture: of what the slider
 * changes, resizing is no part. One is forgotten when it is not asked for.
 * @returns {(maps: LogitMap[], picture: Strip, width: number, height: number) => Float32Array[]} `picture` is the whole
 *   of it at that size, and another object for another size
 */
export function enlarger() {
  /** @type {Strip | null} */
  let on = null;
  /** @type {Map<LogitMap, Float32Array>} */
  let kept = new Map();
  return (maps, picture, width, height) => {
    if (picture !== on) kept.clear();
    on = picture;
    const enlarged = maps.map((map) => kept.get(map) ?? atOnce(map, picture, width, height));
    kept = new Map(maps.map((map, number) => [map, enlarged[number]]));
    return enlarged;
  };
}

/**
 * A map at another size, as a whole.
 * @param {LogitMap} map
 * @param {Strip} picture
 * @param {number} width
 * @param {number} height
 */
function atOnce(map, picture, width, height) {
  const logits = new Float32Array(width * height);
  let start = 0;
  for (const row of resizedRows(map, width, height, [picture])) {
    logits.set(row, start);
    start += width;
  }
  return logits;
}

/** @typedef {{logits: Float32Array, colour: number[]}} Mark a map at the size of the layer; red, green and blue */

const [FILL, SHADE, RIM] = [0.35, 0.35, 0.4];
const BLACK = [0, 0, 0];

/**
 * Masks as a layer over a picture: fills, smooth outlines, and a shade on what none covers.
 * @param {Mark[]} marks those with something in them; the last one lies on top
 * @param {number} cut logit above which a pixel belongs to a mask
 * @param {number} width
 * @param {number} height
 * @param {number} line width of outlines, pixels
 * @returns {Uint8ClampedArray<ArrayBuffer>} RGBA
 */
export function layer(marks, cut, width, height, line) {
  const pixels = new Uint8ClampedArray(4 * width * height);
  if (!marks.length) return pixels;
  const rim = line + 2 * Math.max(0.75, 0.35 * line);
  const distances = marks.map(({ logits }) => rowsOfDistances(logits, cut, width, height));
  let [red, green, blue, alpha] = [0, 0, 0, 0]; // premultiplied, of the pixel in hand
  const cover = (/** @type {number[]} */ colour, /** @type {number} */ opacity) => {
    if (!opacity) return;
    red += (colour[0] - red) * opacity;
    green += (colour[1] - green) * opacity;
    blue += (colour[2] - blue) * opacity;
    alpha += (1 - alpha) * opacity;
  };
  for (let y = 0, out = 0; y < height; y++) {
    const inside = distances.map((rows) => /** @type {Float32Array} */ (rows.next().value));
    for (let x = 0; x < width; x++, out += 4) {
      red = green = blue = alpha = 0;
      let outside = 1;
      for (const row of inside) outside = Math.min(outside, 1 - clamp(row[x] + 0.5));
      cover(BLACK, SHADE * outside);
      for (let k = 0; k < marks.length; k++) cover(marks[k].colour, FILL * clamp(inside[k][x] + 0.5));
      // All outlines come after all fills, on a soft dark rim that keeps them visible on their own colour.
      for (let k = 0; k < marks.length; k++) {
        const away = Math.abs(inside[k][x]);
        cover(BLACK, RIM * clamp((rim + 1) / 2 - away));
        cover(marks[k].colour, clamp((line + 1) / 2 - away));
      }
      pixels[out] = red / alpha;
      pixels[out + 1] = green / alpha;
      pixels[out + 2] = blue / alpha;
      pixels[out + 3] = 255 * alpha;
    }
  }
  return pixels;
}

/**
 * How far each pixel is inside of a mask, in pixels: its logit above the cut, by how steep the logits are there.
 * @param {Float32Array} logits
 * @param {number} cut
 * @param {number} width
 * @param {number} height
 * @returns {Generator<Float32Array>}
 */
function* rowsOfDistances(logits, cut, width, height) {
  const distances = new Float32Array(width);
  for (let y = 0; y < height; y++) {
    const [above, row, below] = [y - 1, y, y + 1].map((near) => Math.max(0, Math.min(height - 1, near)) * width);
    for (let x = 0; x < width; x++) {
      const run = logits[row + Math.min(x + 1, width - 1)] - logits[row + Math.max(x - 1, 0)];
      const rise = logits[below + x] - logits[above + x];
      const steep = Math.sqrt(run * run + rise * rise) / 2; // Math.hypot takes several times as long
      distances[x] = (logits[row + x] - cut) / Math.max(1e-6, steep);
    }
    yield distances;
  }
}

/** @param {number} value */
function clamp(value) {
  return value < 0 ? 0 : value > 1 ? 1 : value;
}

/**
 * What is in at least one mask, on a transparent background.
 * @param {() => Iterable<Strip>} strips of the picture
 * @param {LogitMap[]} maps
 * @param {number} cut
 * @param {number} width of the picture
 * @param {number} height
 * @returns {Uint8ClampedArray<ArrayBuffer>} RGBA; what is outside carries no colour
 */
export function cutout(strips, maps, cut, width, height) {
  const out = new Uint8ClampedArray(4 * width * height);
  for (const map of maps) {
    let at = 3;
    for (const row of resizedRows(map, width, height, strips())) {
      for (let x = 0; x < width; x++, at += 4) if (row[x] > cut) out[at] = 255;
    }
  }
  for (const { top, pixels } of strips()) {
    const start = 4 * top * width;
    for (let at = 0; at < pixels.length; at += 4) {
      if (out[start + at + 3]) out.set(pixels.subarray(at, at + 3), start + at);
    }
  }
  return out;
}
