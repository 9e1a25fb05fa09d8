/* Pixels between canvases (RGBA) and the graph (RGB), and what is done to them besides painting. Runs in the worker. */

/** RGBA of a canvas without alpha -> RGB. */
export function rgbOf(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4, j += 3) {
    rgb[j] = rgba[i];
    rgb[j + 1] = rgba[i + 1];
    rgb[j + 2] = rgba[i + 2];
  }
  return rgb;
}

/** RGB -> opaque RGBA. */
export function rgbaOf(rgb) {
  const rgba = new Uint8ClampedArray((rgb.length / 3) * 4);
  for (let i = 0, j = 0; j < rgb.length; i += 4, j += 3) {
    rgba[i] = rgb[j];
    rgba[i + 1] = rgb[j + 1];
    rgba[i + 2] = rgb[j + 2];
    rgba[i + 3] = 255;
  }
  return rgba;
}

/** Luma by Rec. 601 of the pixel that begins at i, as in onestroke.imaging. */
export function luma(pixels, i) {
  return 0.299 * pixels[i] + 0.587 * pixels[i + 1] + 0.114 * pixels[i + 2];
}

/**
 * The photo's colours with the painting's luma, as color=photo does.
 * @param {Uint8Array} painting RGB, changed in place
 * @param {Uint8Array} photo RGB
 */
export function keepColors(painting, photo) {
  for (let i = 0; i < painting.length; i += 3) {
    const more = luma(painting, i) - luma(photo, i);
    for (let c = i; c < i + 3; c++) painting[c] = Math.max(0, Math.min(255, Math.round(photo[c] + more)));
  }
}
