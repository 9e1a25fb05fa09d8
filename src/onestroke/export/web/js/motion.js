/* Movement in the camera's picture: how much, and where. */

const WIDTH = 48;
const HEIGHT = 36;
const LEAST = 0.06; // difference of luma, of 1, that is more than the camera's noise
const MUCH = 0.25; // share of the picture that moves when the amount is 1

/** Compares frames of the camera. */
export class Motion {
  #context = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT }).getContext("2d", {
    willReadFrequently: true,
  });
  #before = null;

  /**
   * Compare the video's frame with the one before.
   * @param {HTMLVideoElement} video
   * @param {boolean} mirrored
   * @param {Object<string, number>} signals motion.amount, motion.x and motion.y are set; the place stays where nothing
   *   moves
   */
  look(video, mirrored, signals) {
    this.#context.drawImage(video, 0, 0, WIDTH, HEIGHT);
    const { data } = this.#context.getImageData(0, 0, WIDTH, HEIGHT);
    const now = Float32Array.from({ length: WIDTH * HEIGHT }, (_, i) => {
      const p = i * 4;
      return (0.299 * data[p] + 0.587 * data[p + 1] + 0.114 * data[p + 2]) / 255;
    });
    const before = this.#before;
    this.#before = now;
    if (!before) return;
    let [moved, x, y] = [0, 0, 0];
    now.forEach((value, i) => {
      if (Math.abs(value - before[i]) < LEAST) return;
      moved++;
      x += (i % WIDTH) + 0.5;
      y += Math.floor(i / WIDTH) + 0.5;
    });
    signals["motion.amount"] = Math.min(1, moved / (now.length * MUCH));
    if (!moved) return;
    const across = x / moved / WIDTH;
    signals["motion.x"] = mirrored ? 1 - across : across;
    signals["motion.y"] = y / moved / HEIGHT;
  }
}
