/* A painting enlarged to the size of its photo, with the photo's own detail where the painting follows the photo.

   The norms of the network look at the whole picture, so tiles that are painted one by one don't fit together. A photo
   that is too large to be painted at once is painted smaller. What the photo lost by that (its detail) is added to the
   enlarged painting, by the slope of the painting over the photo around each pixel, as in a guided filter (He et al.,
   "Guided image filtering", 2013): where the painting has an edge of the photo, the edge is as sharp as in the photo;
   where it has strokes of its own, nothing is added. */

import { luma } from "./pixels.js";

const RADIUS = 3; // pixels of the small picture around each that the slope is measured over
const NOISE = 40; // variance in levels of 255 that counts as a plain part

/**
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {Uint8Array} rgb height x width x 3
 */

/**
 * The slope of the painting's luma over the photo's around each pixel.
 * @param {Picture} painting
 * @param {Picture} photo of the same size
 * @returns {Float32Array} height x width, in [0, 1]
 */
export function slopes(painting, photo) {
  const { width, height } = photo;
  const p = lumas(photo.rgb);
  const q = lumas(painting.rgb);
  const mean = (values) => boxMean(values, width, height, RADIUS);
  const [mp, mq, mpp, mpq] = [p, q, product(p, p), product(p, q)].map(mean);
  return mp.map((m, i) => {
    const slope = (mpq[i] - m * mq[i]) / (mpp[i] - m * m + NOISE);
    return Math.max(0, Math.min(1, slope));
  });
}

/**
 * Some lines of the enlarged painting.
 * @param {Picture} painting small
 * @param {Picture} photo as small
 * @param {Float32Array} slope from `slopes`
 * @param {Picture} strip the lines of the large photo
 * @param {number} top the first of them in the large photo
 * @param {number} fullHeight of the large photo
 * @returns {Uint8ClampedArray} RGBA of the strip's size
 */
export function enlarged(painting, photo, slope, strip, top, fullHeight) {
  const { width, height } = strip;
  const out = new Uint8ClampedArray(width * height * 4);
  const across = between(width, painting.width);
  const down = between(fullHeight, painting.height);
  for (let y = 0, i = 0; y < height; y++) {
    const row = down[top + y];
    const up = row.low * painting.width;
    const below = row.high * painting.width;
    for (let x = 0; x < width; x++, i++) {
      const { low, high, share } = across[x];
      const corners = [up + low, up + high, below + low, below + high];
      const weights = [(1 - row.share) * (1 - share), (1 - row.share) * share, row.share * (1 - share), row.share * share];
      const at = (pixels, step, c) =>
        weights[0] * pixels[corners[0] * step + c] + weights[1] * pixels[corners[1] * step + c] +
        weights[2] * pixels[corners[2] * step + c] + weights[3] * pixels[corners[3] * step + c];
      const gain = at(slope, 1, 0);
      for (let c = 0; c < 3; c++) out[i * 4 + c] = at(painting.rgb, 3, c) + gain * (strip.rgb[i * 3 + c] - at(photo.rgb, 3, c));
      out[i * 4 + 3] = 255;
    }
  }
  return out;
}

/** For each of `many` pixels, the two of `few` that it lies between, and the share of the second. */
function between(many, few) {
  return Array.from({ length: many }, (_, i) => {
    const place = Math.max(0, Math.min(few - 1, ((i + 0.5) * few) / many - 0.5));
    const low = Math.floor(place);
    return { low, high: Math.min(few - 1, low + 1), share: place - low };
  });
}

function lumas(rgb) {
  return Float32Array.from({ length: rgb.length / 3 }, (_, i) => luma(rgb, i * 3));
}

function product(a, b) {
  return a.map((value, i) => value * b[i]);
}

/** The mean over a square around each pixel, as far as it lies in the picture. */
function boxMean(values, width, height, radius) {
  const across = new Float32Array(values.length);
  for (let y = 0; y < height; y++) line(values, across, y * width, 1, width, radius);
  const both = new Float32Array(values.length);
  for (let x = 0; x < width; x++) line(across, both, x, width, height, radius);
  return both;
}

/** The running mean of a line of pixels that begins at `start` and has one every `step`. */
function line(from, to, start, step, length, radius) {
  let sum = 0;
  let count = 0;
  for (let i = -radius; i < length; i++) {
    if (i + radius < length) {
      sum += from[start + (i + radius) * step];
      count++;
    }
    if (i - radius - 1 >= 0) {
      sum -= from[start + (i - radius - 1) * step];
      count--;
    }
    if (i >= 0) to[start + i * step] = sum / count;
  }
}
