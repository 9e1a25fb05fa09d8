/* The sizes that a picture is painted at, from how fast this device paints. */

const SIDES = [256, 320, 384, 512, 640, 768, 1024, 1280];
const FRAME = 180; // milliseconds that a frame of the camera, or a painting while a slider moves, may take
const SETTLED = 2500; // milliseconds that the painting of a photo may take

/**
 * A size with the aspect of a picture and at most a number of pixels on its longer side.
 * @returns {{width: number, height: number}}
 */
export function fitted(width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/**
 * The largest of the usual sides that is painted in a time.
 * @param {number} width of the picture
 * @param {number} height of the picture
 * @param {number} pace milliseconds for a million pixels
 * @param {number} milliseconds that may be taken
 */
function sideFor(width, height, pace, milliseconds) {
  const share = (Math.min(width, height) / Math.max(width, height)) * 1e-6;
  const fast = SIDES.filter((side) => side * side * share * pace <= milliseconds);
  return fast.at(-1) ?? SIDES[0];
}

/**
 * The sizes for a picture.
 * @param {{width: number, height: number, live: boolean}} source
 * @param {string} chosen "auto", "own" or a number of pixels
 * @param {number} pace milliseconds for a million pixels
 * @param {number} most pixels that can be painted at once
 * @returns {{quick: {width: number, height: number}, settled: {width: number, height: number}}} while controls move,
 *   and at rest
 */
export function paintedSizes(source, chosen, pace, most) {
  const { width, height } = source;
  const own = Math.max(width, height) * Math.min(1, Math.sqrt(most / (width * height)));
  const quick = sideFor(width, height, pace, FRAME);
  const wanted = { auto: source.live ? quick : sideFor(width, height, pace, SETTLED), own }[chosen] ?? Number(chosen);
  const settled = Math.min(wanted, own);
  return {
    quick: fitted(width, height, source.live ? settled : Math.min(quick, settled)),
    settled: fitted(width, height, settled),
  };
}

/** The pixels that can be painted at once: what fits into the memory of WASM, and of a phone. */
export function mostPixels() {
  const small = matchMedia("(pointer: coarse)").matches || (navigator.deviceMemory ?? 8) < 4;
  return small ? 1e6 : 4e6; // 0.6 GB a million with the largest network that ships
}
