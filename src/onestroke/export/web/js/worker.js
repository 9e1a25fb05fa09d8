/* The worker: all inference, and all work on pixels that takes longer than a frame. */

import { Engine } from "./engine.js";
import { enlarged, slopes } from "./enlarge.js";
import { keepColors, rgbaOf, rgbOf } from "./pixels.js";

const STRIP = 64; // lines that are enlarged at once

/** @type {Engine} */
let engine;

const tasks = {
  async open({ backend, threads, model }) {
    engine = await Engine.open(backend, threads, model);
    return [{}];
  },

  /** Milliseconds for a picture of side x side, the best of two after one that doesn't count. */
  async measure({ side, inputs }) {
    const rgb = new Uint8Array(side * side * 3).map((_, i) => (i * 7919) % 251);
    const times = [];
    for (let turn = 0; turn < 3; turn++) {
      const start = performance.now();
      await engine.paint(rgb, side, side, inputs);
      times.push(performance.now() - start);
    }
    return [{ milliseconds: Math.min(...times.slice(1)) }];
  },

  /** What is painted of a made-up picture, to compare backends by: 64 x 48, RGB. */
  async sample({ inputs }) {
    const wave = (i) => 128 + 100 * Math.sin((i % 192) / 17) * Math.cos(Math.floor(i / 192) / 5 + (i % 3));
    const rgb = Uint8Array.from({ length: 64 * 48 * 3 }, (_, i) => wave(i));
    return [{ rgb: await engine.paint(rgb, 64, 48, inputs) }];
  },

  /** Paint a picture at a size. */
  async paint({ bitmap, width, height, mirrored, inputs, keepsColors }) {
    const photo = pixels(bitmap, width, height, mirrored);
    bitmap.close();
    const start = performance.now();
    const rgb = await engine.paint(photo, width, height, inputs);
    const milliseconds = performance.now() - start;
    if (keepsColors) keepColors(rgb, photo);
    const painting = await createImageBitmap(new ImageData(rgbaOf(rgb), width, height));
    return [{ painting, milliseconds }, [painting]];
  },

  /** Paint a picture at a size, enlarge the painting to the picture's own size, and encode it. */
  async file({ bitmap, width, height, inputs, keepsColors, type }) {
    const photo = { width, height, rgb: pixels(bitmap, width, height, false) };
    const painting = { width, height, rgb: await engine.paint(photo.rgb, width, height, inputs) };
    if (keepsColors) keepColors(painting.rgb, photo.rgb);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d", { alpha: false });
    if (width === bitmap.width && height === bitmap.height) {
      context.putImageData(new ImageData(rgbaOf(painting.rgb), width, height), 0, 0);
    } else {
      enlargeOn(context, painting, photo, bitmap);
    }
    bitmap.close();
    return [{ blob: await canvas.convertToBlob({ type, quality: 0.92 }) }];
  },
};

/** Draw a painting at the size of its photo, some lines at a time. */
function enlargeOn(context, painting, photo, bitmap) {
  const slope = slopes(painting, photo);
  const { width, height } = bitmap;
  for (let top = 0; top < height; top += STRIP) {
    const lines = Math.min(STRIP, height - top);
    const strip = surface(width, lines);
    strip.drawImage(bitmap, 0, top, width, lines, 0, 0, width, lines);
    const rgb = rgbOf(strip.getImageData(0, 0, width, lines).data);
    const rgba = enlarged(painting, photo, slope, { width, height: lines, rgb }, top, height);
    context.putImageData(new ImageData(rgba, width, lines), 0, top);
  }
}

/** The pixels of a bitmap at a size, RGB. */
function pixels(bitmap, width, height, mirrored) {
  const context = surface(width, height);
  context.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? width : 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return rgbOf(context.getImageData(0, 0, width, height).data);
}

/** @type {OffscreenCanvasRenderingContext2D | undefined} */
let kept;

/** A white canvas of a size, the same again for the next picture. */
function surface(width, height) {
  if (kept?.canvas.width !== width || kept.canvas.height !== height) {
    kept = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true });
  }
  kept.resetTransform();
  kept.fillStyle = "white";
  kept.fillRect(0, 0, width, height);
  return kept;
}

self.onmessage = async ({ data: { id, task, ...job } }) => {
  try {
    const [result, transferred = []] = await tasks[task](job);
    self.postMessage({ id, result }, { transfer: transferred });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
