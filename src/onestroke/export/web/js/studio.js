/* The loop of painting: the newest frame with the newest controls, and never more than one at once. */

import { mostPixels, paintedSizes } from "./sizes.js";

const REST = 220; // milliseconds without a change after which a photo is painted at its full preview size
const COUNTED = 12; // paintings that the rate is measured over

/**
 * @typedef {object} Source What is painted: a photo or the camera.
 * @property {boolean} live whether it gives new frames by itself
 * @property {number} width
 * @property {number} height
 * @property {boolean} mirrored
 * @property {boolean} fresh whether there is a frame that was not taken yet; a photo has one always
 * @property {(width: number, height: number) => Promise<ImageBitmap>} take the newest frame, for a size
 */

/** Paints a source on a stage. */
export class Studio extends EventTarget {
  /** @type {import("./painter.js").Painter | null} */
  painter = null;
  /** @type {Source | null} */
  source = null;
  pace = 4000; // milliseconds for a million pixels, until it is measured
  #busy = false;
  #changed = false;
  #settled = false;
  #atRest = false;
  #rest = 0;
  #times = [];

  /**
   * @param {import("./stage.js").Stage} stage
   * @param {() => {inputs: object | null, keepsColors: boolean, size: string}} look the controls as they are now
   */
  constructor(stage, look) {
    super();
    this.stage = stage;
    this.look = look;
  }

  /** Paint with this worker from now on. */
  use(painter, pace) {
    this.painter?.close();
    this.painter = painter;
    this.pace = pace;
    this.#busy = false;
    this.change();
  }

  /** Paint this source from now on. */
  show(source) {
    this.source = source;
    this.#times = [];
    this.change();
  }

  /** Paint again, since a control or the source has changed. */
  change() {
    this.#changed = true;
    this.#settled = false;
    clearTimeout(this.#rest);
    this.dispatchEvent(new Event("changed"));
    this.next();
  }

  /** The sizes of the present source. */
  get sizes() {
    return this.sizesOf(this.source);
  }

  /** The sizes that a source is painted at. */
  sizesOf(source) {
    return paintedSizes(source, this.look().size, this.pace, mostPixels());
  }

  /** Whether the source is painted with the newest controls at its full preview size. */
  get settled() {
    return this.#settled;
  }

  /** Paintings a second, over the last few. */
  get rate() {
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    return this.#times.length > 2 ? ((this.#times.length - 1) * 1000) / (last - first) : 0;
  }

  /** Paint the next picture, if there is one and nothing else is being painted. */
  next() {
    const { painter, source } = this;
    if (this.#busy || !painter || !source) return;
    if (!(source.live ? source.fresh : this.#changed)) return;
    const { quick, settled } = this.sizes;
    const size = this.#atRest ? settled : quick;
    this.#atRest = false;
    this.#changed = false;
    this.#busy = true;
    this.#paint(painter, source, size).then(
      (milliseconds) => this.#done(painter, source, size, milliseconds),
      (error) => {
        if (painter !== this.painter) return;
        this.#busy = false;
        this.dispatchEvent(new CustomEvent("failed", { detail: error }));
      },
    );
  }

  async #paint(painter, source, { width, height }) {
    const bitmap = await source.take(width, height);
    const { inputs, keepsColors } = this.look();
    const original = source.live ? (this.stage.compares ? await createImageBitmap(bitmap) : null) : bitmap;
    const job = { bitmap, width, height, mirrored: source.mirrored, inputs, keepsColors };
    // a photo's bitmap is copied, since it is painted again
    const { painting, milliseconds } = await painter.ask("paint", job, source.live ? [bitmap] : []);
    if (painter !== this.painter || source !== this.source) painting.close();
    else this.stage.draw(painting, original, source.mirrored);
    if (source.live) original?.close();
    return milliseconds;
  }

  #done(painter, source, size, milliseconds) {
    if (painter !== this.painter) return;
    this.#busy = false;
    if (source === this.source) {
      this.#times = [...this.#times.slice(1 - COUNTED), performance.now()];
      const { settled } = this.sizes;
      const whole = size.width === settled.width && size.height === settled.height;
      if (!source.live && !this.#changed) {
        if (whole) this.#settled = true;
        else this.#settle();
      }
      this.dispatchEvent(new CustomEvent("painted", { detail: { ...size, milliseconds } }));
    }
    this.next();
  }

  #settle() {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      this.#atRest = this.#changed = true;
      this.next();
    }, REST);
  }
}
