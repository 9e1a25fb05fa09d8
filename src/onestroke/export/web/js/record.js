/* Recording the painted camera as a film. */

const TYPES = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm", "video/mp4"];

/** A recording of a canvas. */
export class Recording {
  #chunks = [];

  /** Whether this browser can record a canvas. */
  static get possible() {
    return "MediaRecorder" in self && "captureStream" in HTMLCanvasElement.prototype && Recording.#type !== undefined;
  }

  static get #type() {
    return TYPES.find((type) => MediaRecorder.isTypeSupported(type));
  }

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.began = performance.now();
    this.recorder = new MediaRecorder(canvas.captureStream(30), {
      mimeType: Recording.#type,
      videoBitsPerSecond: 8_000_000, // strokes are fine detail
    });
    this.recorder.ondataavailable = ({ data }) => this.#chunks.push(data);
    this.recorder.start(1000);
  }

  /** Minutes and seconds so far. */
  get length() {
    const seconds = Math.floor((performance.now() - this.began) / 1000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  /** The suffix of the film's file. */
  get suffix() {
    return this.recorder.mimeType.includes("mp4") ? "mp4" : "webm";
  }

  /** End it. @returns {Promise<Blob>} the film */
  async stop() {
    const ended = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.recorder.stop();
    await ended;
    for (const track of this.recorder.stream.getTracks()) track.stop();
    return new Blob(this.#chunks, { type: this.recorder.mimeType });
  }
}
