/* Movement in the camera's picture: how much, and where; measured as by onestroke.live.signals. */

const WIDTH = 64;
const HEIGHT = 48;
const NOISE = 0.04; // a smaller change of a pixel, of 1, is the camera's noise
const GAIN = 4; // the amount is 1 if a quarter of the picture changes

/** Compares frames of the camera. */
export class Motion {
  #context = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT }).getContext("2d", {
    willReadFrequently: true,
  });
  #before = null;
  #time = -1;

  /**
   * Compare the video's frame with the one before.
   * @param {HTMLVideoElement} video
   * @param {boolean} mirrored
   * @param {Object<string, number>} signals motion.amount, motion.x and motion.y are set; the place stays where nothing
   *   moves
   */
  look(video, mirrored, signals) {
    if (video.currentTime === this.#time) return; // no new frame since
    this.#time = video.currentTime;
    this.#context.drawImage(video, 0, 0, WIDTH, HEIGHT);
    const { data } = this.#context.getImageData(0, 0, WIDTH, HEIGHT);
    const now = Float32Array.from({ length: WIDTH * HEIGHT }, (_, i) => {
      const p = i * 4;
      return (0.299 * data[p] + 0.587 * data[p + 1] + 0.114 * data[p + 2]) / 255;
    });
    if (this.#before) compare(this.#before, now, mirrored, signals);
    this.#before = now;
  }
}

function compare(before, now, mirrored, signals) {
  let [count, total, x, y] = [0, 0, 0, 0];
  now.forEach((value, i) => {
    const changed = Math.abs(value - before[i]) - NOISE;
    if (changed <= 0) return;
    count++;
    total += changed;
    x += changed * ((i % WIDTH) + 0.5);
    y += changed * (Math.floor(i / WIDTH) + 0.5);
  });
  signals["motion.amount"] = Math.min(1, (GAIN * count) / now.length);
  if (!count) return;
  const across = x / total / WIDTH;
  signals["motion.x"] = mirrored ? 1 - across : across;
  signals["motion.y"] = y / total / HEIGHT;
}
