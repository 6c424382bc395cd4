/**
 * Masks that follow the picture's own edges, as `self1e.processing.refine.Guide` makes them: in every window of 3 x 3
 * cells of a map the logits are taken to be a linear function of the colours there, and that is applied to the picture,
 * between the logits that it is made of.
 */

/** @import {Strip} from "./image.js" */
/** @import {Functions, LogitMap} from "./masks.js" */

const RADIUS = 1;
const SMOOTHNESS = 1e-3;

/** The colours of a picture, cell by cell of a map, and what it takes to fit functions of them to logits. */
export class Guide {
  /**
   * @param {Iterable<Strip>} strips of the picture
   * @param {[number, number]} picture its width and height, pixels
   * @param {[number, number]} map its width and height, cells
   */
  constructor(strips, picture, map) {
    this.width = map[0];
    this.height = map[1];
    this.#colours = shrunk(strips, picture, map);
    this.#means = this.#colours.map((channel) => this.#box(channel));
    this.#inverses = this.#inverseCovariances();
  }

  #colours;
  #means;
  #inverses;

  /**
   * The functions of the cells.
   * @param {LogitMap} map
   * @returns {Functions}
   */
  fit({ logits }) {
    const level = this.#box(Float64Array.from(logits));
    const shared = this.#colours.map((channel, c) => {
      const both = this.#box(channel.map((colour, cell) => colour * logits[cell]));
      return both.map((value, cell) => value - this.#means[c][cell] * level[cell]);
    });
    const slopes = this.#inverses.map((row) =>
      level.map((_, cell) => row.reduce((sum, entry, c) => sum + entry[cell] * shared[c][cell], 0)),
    );
    const offset = level.map((value, cell) =>
      slopes.reduce((rest, slope, c) => rest - slope[cell] * this.#means[c][cell], value),
    );
    const averaged = (/** @type {Float64Array} */ values) => Float32Array.from(this.#box(values));
    return {
      // A cell lies in many windows: their functions are averaged.
      offset: averaged(offset),
      slopes: slopes.map(averaged),
      lowest: this.#extremes(logits, Math.min),
      highest: this.#extremes(logits, Math.max),
    };
  }

  /** Entry (i, j) of the inverse of the covariance of the colours around each cell: `inverses[i][j][cell]`. */
  #inverseCovariances() {
    const [red, green, blue] = [0, 1, 2];
    const covariance = (/** @type {number} */ i, /** @type {number} */ j) => {
      const products = this.#box(this.#colours[i].map((value, cell) => value * this.#colours[j][cell]));
      const more = i === j ? SMOOTHNESS : 0;
      return products.map((value, cell) => value - this.#means[i][cell] * this.#means[j][cell] + more);
    };
    const [rr, rg, rb] = [covariance(red, red), covariance(red, green), covariance(red, blue)];
    const [gg, gb, bb] = [covariance(green, green), covariance(green, blue), covariance(blue, blue)];
    const [a, b, c, d, e, f] = Array.from({ length: 6 }, () => new Float64Array(rr.length));
    for (let k = 0; k < rr.length; k++) {
      const minors = [gg[k] * bb[k] - gb[k] ** 2, rb[k] * gb[k] - rg[k] * bb[k], rg[k] * gb[k] - rb[k] * gg[k]];
      const determinant = rr[k] * minors[0] + rg[k] * minors[1] + rb[k] * minors[2];
      [a[k], b[k], c[k]] = minors.map((minor) => minor / determinant);
      d[k] = (rr[k] * bb[k] - rb[k] ** 2) / determinant;
      e[k] = (rg[k] * rb[k] - rr[k] * gb[k]) / determinant;
      f[k] = (rr[k] * gg[k] - rg[k] ** 2) / determinant;
    }
    return [
      [a, b, c],
      [b, d, e],
      [c, e, f],
    ];
  }

  /**
   * The lowest or highest of all windows that a cell lies in.
   * @param {Float32Array} values
   * @param {(...values: number[]) => number} choose
   */
  #extremes(values, choose) {
    const { width, height } = this;
    const down = windows(values, [height, width], [width, 1], 2 * RADIUS, choose);
    return Float32Array.from(windows(down, [width, height], [1, width], 2 * RADIUS, choose));
  }

  /**
   * Means over windows; of those at the rim, over what there is.
   * @param {Float64Array} values
   */
  #box(values) {
    const { width, height } = this;
    const down = windows(values, [height, width], [width, 1], RADIUS, mean);
    return windows(down, [width, height], [1, width], RADIUS, mean);
  }
}

/** @param {number[]} values */
function mean(...values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * What is made of the values in windows along one axis of a map.
 * @param {Float32Array | Float64Array} values
 * @param {[number, number]} lengths of that axis, and of the other one
 * @param {[number, number]} steps from one value to the next along them
 * @param {number} radius
 * @param {(...values: number[]) => number} make
 */
function windows(values, [length, lines], [along, across], radius, make) {
  const out = new Float64Array(values.length);
  for (let line = 0; line < lines; line++) {
    for (let place = 0; place < length; place++) {
      const near = [];
      const last = Math.min(place + radius, length - 1);
      for (let at = Math.max(place - radius, 0); at <= last; at++) near.push(values[line * across + at * along]);
      out[line * across + place * along] = make(...near);
    }
  }
  return out;
}

/**
 * Means of red, green and blue (0 to 1) over the cells of a map, which share pixels at their rims.
 * @param {Iterable<Strip>} strips
 * @param {[number, number]} picture
 * @param {[number, number]} map
 */
function shrunk(strips, [width, height], [columns, rows]) {
  const [across, down] = [ranges(columns, width), ranges(rows, height)];
  const sums = Array.from({ length: 3 }, () => new Float64Array(rows * columns));
  const row = new Float64Array(3 * columns);
  for (const { top, pixels } of strips) {
    for (let at = 0, y = top; at < pixels.length; at += 4 * width, y++) {
      row.fill(0);
      across.forEach(([first, end], column) => {
        for (let x = first; x < end; x++) {
          for (let c = 0; c < 3; c++) row[3 * column + c] += pixels[at + 4 * x + c];
        }
      });
      for (let cell = Math.floor((y * rows) / height); cell < rows && down[cell][0] <= y; cell++) {
        for (let column = 0; column < columns; column++) {
          for (let c = 0; c < 3; c++) sums[c][cell * columns + column] += row[3 * column + c];
        }
      }
    }
  }
  const count = ([first, end] = [0, 0]) => end - first;
  return sums.map((channel) =>
    channel.map((sum, cell) => {
      const pixels = count(down[Math.floor(cell / columns)]) * count(across[cell % columns]);
      return sum / (255 * pixels);
    }),
  );
}

/**
 * The first pixel of each cell, and the one behind its last.
 * @param {number} cells
 * @param {number} pixels
 * @returns {[number, number][]}
 */
function ranges(cells, pixels) {
  return Array.from({ length: cells }, (_, number) => [
    Math.floor((number * pixels) / cells),
    Math.ceil(((number + 1) * pixels) / cells),
  ]);
}
