/**
 * Pictures in, tiles out: what `self1e.processing.tiles` does, with the resampling of Pillow 13 to the last bit.
 *
 * A picture is read in strips, so that neither memory nor a browser's limit on the size of a canvas matters.
 */

/** Sums are in fixed point, as Pillow's of 8-bit channels are: eight bits for the value, two for overshooting. */
const FRACTION_BITS = 22;
const HALF = 1 << (FRACTION_BITS - 1);

const STRIP_ROWS = 256;
const MAX_PIXELS = 178_956_970;

/**
 * How one side of a picture is resampled: value i of the result is the sum of `weights[i * most + j]` times value
 * `first[i] + j`, for j below `count[i]`.
 * @typedef {{first: Int32Array, count: Int32Array, weights: Int32Array, most: number}} Taps
 */

/**
 * A browser's own picture of a file: upright, without the conversion of colours that Pillow does not do either.
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>}
 */
export async function decode(file) {
  const name = /** @type {File} */ (file).name ?? "this";
  if (file.size === 0) throw new Error(`${name} is empty: give a picture file.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${name} is no picture that this browser can read: convert it to PNG or JPEG.`);
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    throw new Error(`${name} has ${bitmap.width} x ${bitmap.height} pixels, which is too many: scale it down first.`);
  }
  return bitmap;
}

/**
 * InternVL's choice of a grid of tiles: the closest aspect ratio, and of several such the largest grid of whose pixels
 * the picture has more than half.
 * @param {number} width
 * @param {number} height
 * @param {number} maxTiles
 * @param {number} tileSize
 * @returns {[number, number]} columns and rows
 */
export function tileGrid(width, height, maxTiles, tileSize) {
  /** @type {[number, number][]} */
  const grids = [];
  for (let columns = 1; columns <= maxTiles; columns++) {
    for (let rows = 1; rows <= Math.floor(maxTiles / columns); rows++) grids.push([columns, rows]);
  }
  grids.sort((a, b) => a[0] * a[1] - b[0] * b[1]);
  const distances = grids.map(([columns, rows]) => Math.abs(width / height - columns / rows));
  const smallest = Math.min(...distances);
  const closest = grids.filter((_, number) => distances[number] === smallest);
  const filled = closest.filter(([columns, rows]) => width * height > 0.5 * tileSize ** 2 * columns * rows);
  return filled.at(-1) ?? closest[0];
}

/**
 * How a model wants its pictures.
 * @typedef {object} Wanted
 * @property {number} max_tiles
 * @property {number} image_size side of a tile, pixels
 * @property {number[]} mean of red, green and blue (0 to 1)
 * @property {number[]} deviation
 */

/**
 * The tiles of a picture, normalised.
 * @param {ImageBitmap} bitmap
 * @param {Wanted} wanted
 * @returns {{tiles: Float32Array, grid: [number, number]}} float32[rows, columns, 3, size, size]; columns and rows
 */
export function tilesOf(bitmap, wanted) {
  const size = wanted.image_size;
  const grid = tileGrid(bitmap.width, bitmap.height, wanted.max_tiles, size);
  const pixels = resized(strips(bitmap), [bitmap.width, bitmap.height], [grid[0] * size, grid[1] * size]);
  return { tiles: cut(pixels, grid, wanted), grid };
}

/**
 * Rows of a picture from `top` on, RGBA.
 * @typedef {{top: number, pixels: Uint8ClampedArray}} Strip
 */

/**
 * The pixels of a picture on white, strip by strip from the top.
 * @param {ImageBitmap} bitmap
 * @returns {Generator<Strip>}
 */
export function* strips(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, Math.min(STRIP_ROWS, bitmap.height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context)
    throw new Error("this browser has no memory left for the picture: close other pages, or scale it down.");
  context.fillStyle = "white";
  for (let top = 0; top < bitmap.height; top += STRIP_ROWS) {
    const rows = Math.min(STRIP_ROWS, bitmap.height - top);
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, -top);
    yield { top, pixels: context.getImageData(0, 0, bitmap.width, rows).data };
  }
}

/**
 * Keys' cubic with a = -1/2.
 * @param {number} x
 */
function cubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/**
 * Antialiased bicubic resampling of `from` values to `to`: shrinking, the cubic is as wide as a value of the result.
 * @param {number} from
 * @param {number} to
 * @returns {Taps}
 */
function taps(from, to) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const reach = 2 * stretch;
  const most = Math.ceil(reach) * 2 + 1;
  const [first, count, weights] = [new Int32Array(to), new Int32Array(to), new Int32Array(to * most)];
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    first[i] = Math.max(0, Math.trunc(centre - reach + 0.5));
    count[i] = Math.min(from, Math.trunc(centre + reach + 0.5)) - first[i];
    const plain = Array.from({ length: count[i] }, (_, j) => cubic((j + first[i] - centre + 0.5) * (1 / stretch)));
    const sum = plain.reduce((total, weight) => total + weight, 0);
    plain.forEach((weight, j) => {
      const fixed = (sum === 0 ? weight : weight / sum) * (1 << FRACTION_BITS);
      weights[i * most + j] = Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    });
  }
  return { first, count, weights, most };
}

/** @param {number} sum in fixed point */
function toByte(sum) {
  const value = sum >> FRACTION_BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/**
 * A picture at another size, RGB.
 * @param {Iterable<Strip>} strips
 * @param {[number, number]} from its width and height
 * @param {[number, number]} to
 */
export function resized(strips, [fromWidth, fromHeight], [width, height]) {
  const [across, down] = [taps(fromWidth, width), taps(fromHeight, height)];
  // The order matters, as values are rounded to bytes in between. This is Pillow's.
  const columnsFirst = fromHeight > height && fromHeight - height > 2 * (fromWidth - width);
  const kept = columnsFirst ? fromWidth : width;
  const rows = new Uint8Array(fromHeight * kept * 3);
  for (const { top, pixels } of strips) {
    const target = rows.subarray(top * kept * 3);
    if (columnsFirst) withoutAlpha(pixels, target);
    else resampleRows(pixels, 4, fromWidth, across, target);
  }
  const low = resampleColumns(rows, kept * 3, down);
  if (!columnsFirst) return low;
  const out = new Uint8Array(height * width * 3);
  resampleRows(low, 3, fromWidth, across, out);
  return out;
}

/**
 * @param {Uint8ClampedArray} pixels RGBA
 * @param {Uint8Array} target RGB
 */
function withoutAlpha(pixels, target) {
  for (let at = 0, out = 0; at < pixels.length; at += 4) {
    for (let channel = 0; channel < 3; channel++) target[out++] = pixels[at + channel];
  }
}

/**
 * Rows of `width` pixels each -> as many pixels as the taps have, RGB.
 * @param {Uint8Array | Uint8ClampedArray} pixels
 * @param {number} step bytes of a pixel, the first three of which are red, green and blue
 * @param {number} width
 * @param {Taps} across
 * @param {Uint8Array} target
 */
function resampleRows(pixels, step, width, { first, count, weights, most }, target) {
  for (let start = 0, out = 0; start < pixels.length; start += step * width) {
    for (let i = 0; i < first.length; i++) {
      let [red, green, blue] = [HALF, HALF, HALF];
      let at = start + step * first[i];
      for (let j = i * most; j < i * most + count[i]; j++, at += step) {
        red += weights[j] * pixels[at];
        green += weights[j] * pixels[at + 1];
        blue += weights[j] * pixels[at + 2];
      }
      target[out++] = toByte(red);
      target[out++] = toByte(green);
      target[out++] = toByte(blue);
    }
  }
}

/**
 * Rows of `length` bytes each -> as many as the taps have.
 * @param {Uint8Array} pixels
 * @param {number} length
 * @param {Taps} down
 */
function resampleColumns(pixels, length, { first, count, weights, most }) {
  const out = new Uint8Array(first.length * length);
  const sums = new Int32Array(length);
  for (let i = 0; i < first.length; i++) {
    sums.fill(HALF);
    for (let j = 0; j < count[i]; j++) {
      const weight = weights[i * most + j];
      const start = (first[i] + j) * length;
      for (let k = 0; k < length; k++) sums[k] += weight * pixels[start + k];
    }
    for (let k = 0; k < length; k++) out[i * length + k] = toByte(sums[k]);
  }
  return out;
}

/**
 * RGB[rows * size, columns * size] -> tiles.
 * @param {Uint8Array} pixels
 * @param {[number, number]} grid
 * @param {Wanted} wanted
 */
export function cut(pixels, [columns, rows], { image_size: size, mean, deviation }) {
  const normal = mean.map((middle, channel) =>
    // Each step is rounded to float32, as numpy rounds it.
    Float32Array.from({ length: 256 }, (_, value) => {
      const centred = Math.fround(Math.fround(value / 255) - Math.fround(middle));
      return centred / Math.fround(deviation[channel]);
    }),
  );
  const tiles = new Float32Array(rows * columns * 3 * size * size);
  let out = 0;
  for (let tile = 0; tile < rows * columns; tile++) {
    const [top, left] = [Math.floor(tile / columns) * size, (tile % columns) * size];
    for (let channel = 0; channel < 3; channel++) {
      for (let y = 0; y < size; y++) {
        let at = ((top + y) * columns * size + left) * 3 + channel;
        for (let x = 0; x < size; x++, at += 3) tiles[out++] = normal[channel][pixels[at]];
      }
    }
  }
  return tiles;
}
