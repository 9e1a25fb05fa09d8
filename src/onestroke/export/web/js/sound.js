/* The microphone: how loud, how much in three ranges of pitch, and beats; measured as by live.py. Nothing is kept. */

const BANDS = { "sound.low": [30, 200], "sound.mid": [200, 2000], "sound.high": [2000, 8000] }; // hertz
const LOUD = 1.5; // the sum of the three that is the level 1
const ABOVE = 1.3; // times its mean that the low band has at a beat
const LEAST = 0.2; // of the low band at a beat
const FADES = 0.8; // of a beat that is left a step later
const SLOW = 0.03; // share of a step in the mean
const STEP = 33; // milliseconds

/** Listens to the microphone. */
export class Sound {
  #usual = 0;
  #beat = 0;
  #timer;
  /** @type {Object<string, number>} what is heard now: sound.level, .low, .mid, .high and .beat */
  heard = {};

  /** @returns {Promise<Sound>} rejects if the microphone is not allowed */
  static async start() {
    // what a telephone does to a voice would take the music away
    const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
    const context = new AudioContext();
    // some browsers wait for a click first; the picture doesn't
    document.addEventListener("pointerdown", () => context.state === "suspended" && context.resume());
    return new Sound(stream, context);
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
    this.analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0.5 });
    context.createMediaStreamSource(stream).connect(this.analyser);
    this.bins = new Uint8Array(this.analyser.frequencyBinCount);
    this.#timer = setInterval(() => this.#listen(), STEP);
  }

  stop() {
    clearInterval(this.#timer);
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
  }

  #listen() {
    this.analyser.getByteFrequencyData(this.bins);
    const { heard } = this;
    for (const [name, band] of Object.entries(BANDS)) heard[name] = this.#mean(band);
    const low = heard["sound.low"];
    this.#beat = low > ABOVE * this.#usual && low > LEAST ? 1 : this.#beat * FADES;
    this.#usual += SLOW * (low - this.#usual);
    heard["sound.beat"] = this.#beat;
    heard["sound.level"] = Math.min(1, (low + heard["sound.mid"] + heard["sound.high"]) / LOUD);
  }

  #mean([from, to]) {
    const hertz = this.context.sampleRate / this.analyser.fftSize;
    const band = this.bins.subarray(Math.max(1, Math.round(from / hertz)), Math.round(to / hertz) + 1);
    return band.reduce((sum, value) => sum + value, 0) / band.length / 255;
  }
}
