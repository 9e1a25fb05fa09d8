/* From a mix of styles and the controls to the inputs of the graph; the same arithmetic as onestroke.networks.conditioning. */

/**
 * @typedef {object} Live What site.json says of a graph with live controls.
 * @property {string[]} styles in the order of the table rows
 * @property {Object<string, number[]>} anchors by control, the positions that have parameters of their own
 * @property {Object<string, number>} defaults of the controls
 * @property {number} fades_until the strength below which the photo shines through; 0 for never
 */

/**
 * The weights of the norm tables' rows, and the opacity of the painting.
 * @param {Live} live
 * @param {number[]} mix weight of each style, at least 0 and not all 0
 * @param {Object<string, number>} controls values in [0, 1]; missing ones have their defaults
 * @returns {{rows: Float32Array, fade: Float32Array}}
 */
export function graphInputs(live, mix, controls) {
  const total = mix.reduce((sum, weight) => sum + weight, 0);
  let weights = mix.map((weight) => weight / total);
  for (const [control, anchors] of Object.entries(live.anchors)) {
    const shares = anchorShares(anchors, valueOf(live, controls, control));
    weights = weights.flatMap((weight) => shares.map((share) => weight * share));
  }
  const fade = live.fades_until ? Math.min(1, valueOf(live, controls, "strength") / live.fades_until) : 1;
  return { rows: Float32Array.from(weights), fade: Float32Array.of(fade) };
}

/**
 * The styles that a position among all of them mixes: 0 is the first, 1 the last, neighbours are mixed in between.
 * @param {number} count of styles
 * @param {number} position in [0, 1]
 * @returns {number[]} weight of each style
 */
export function neighbours(count, position) {
  return Array.from({ length: count }, (_, i) => Math.max(0, 1 - Math.abs(position * (count - 1) - i)));
}

/** Linear interpolation between anchors: the weight of each. */
function anchorShares(anchors, value) {
  const last = anchors.length - 1;
  return anchors.map((_, i) => Math.max(0, 1 - Math.abs(value * last - i)));
}

function valueOf(live, controls, control) {
  return controls[control] ?? live.defaults[control];
}
