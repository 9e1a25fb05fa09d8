/* The picture on the page: painting over original, the divider between them, and what is said over it. */

import { words } from "./words.js";

const $ = (id) => document.getElementById(id);

/** The part of the page with the picture. */
export class Stage {
  #compares = false;
  #quiet;

  constructor() {
    this.painting = $("painting");
    this.original = $("original");
    $("compare").addEventListener("input", () => this.#divide());
    $("told").addEventListener("click", () => this.tell(""));
  }

  /** Whether the original is shown beside the painting. */
  get compares() {
    return this.#compares;
  }

  set compares(on) {
    this.#compares = on;
    $("compare").hidden = $("divider").hidden = !on;
    this.#divide();
    if (on) $("compare").focus({ preventScroll: true });
  }

  /**
   * Show a painting.
   * @param {ImageBitmap} painting is closed
   * @param {ImageBitmap | null} original what it was painted from, at any size; null keeps the one that is shown
   * @param {boolean} mirrored whether the original is shown mirrored
   */
  draw(painting, original, mirrored) {
    const { width, height } = painting;
    document.documentElement.style.setProperty("--ratio", String(width / height));
    fit(this.painting, width, height);
    this.painting.getContext("2d", { alpha: false }).drawImage(painting, 0, 0);
    painting.close();
    if (original) this.drawOriginal(original, width, height, mirrored);
  }

  /** Show an original, at a size, where no painting is over it. */
  drawOriginal(original, width, height, mirrored) {
    fit(this.original, width, height);
    const context = this.original.getContext("2d", { alpha: false });
    context.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? width : 0, 0);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high"; // as the worker does
    context.drawImage(original, 0, 0, width, height);
  }

  /** Say one sentence over the picture, for a while or until it is clicked; an empty one goes away. */
  tell(sentence) {
    $("told").textContent = sentence;
    clearTimeout(this.#quiet);
    if (sentence) this.#quiet = setTimeout(() => this.tell(""), 12000);
  }

  /** Say what is being waited for; an empty text for nothing. */
  wait(text) {
    $("waiting").hidden = !text;
    $("waiting-words").textContent = text;
  }

  /** Say to screen readers what the picture is. */
  describe(style) {
    this.painting.setAttribute("aria-label", words("painted", { style }));
  }

  #divide() {
    const from = this.#compares ? `${$("compare").value}%` : "0%";
    $("frame").style.setProperty("--from", from);
  }
}

function fit(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}
