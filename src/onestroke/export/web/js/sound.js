/* The microphone: how loud, how much in three ranges of pitch, and beats. Nothing is kept. */

const BANDS = { "sound.low": [30, 250], "sound.mid": [250, 2000], "sound.high": [2000, 9000] }; // hertz
const QUIET = -75; // decibels that count as 0
const LOUD = -25; // decibels that count as 1
const RISE = 0.13; // of the low band above its average that is a beat
const APART = 0.2; // seconds between two beats at least

/** Listens to the microphone. */
export class Sound {
  #average = 0;
  #last = 0;

  /** @returns {Promise<Sound>} rejects if the microphone is not allowed */
  static async start() {
    // what a telephone does to a voice would take the music away
    const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
    const context = new AudioContext();
    await context.resume();
    return new Sound(stream, context);
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
    this.analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0.3 });
    context.createMediaStreamSource(stream).connect(this.analyser);
    this.decibels = new Float32Array(this.analyser.frequencyBinCount);
    this.wave = new Float32Array(this.analyser.fftSize);
  }

  /**
   * Measure what is heard now.
   * @param {Object<string, number>} signals sound.level, .low, .mid, .high and .beat are set
   */
  look(signals) {
    this.analyser.getFloatFrequencyData(this.decibels);
    this.analyser.getFloatTimeDomainData(this.wave);
    const power = this.wave.reduce((sum, value) => sum + value * value, 0) / this.wave.length;
    signals["sound.level"] = scaled(10 * Math.log10(power + 1e-12), -60, -10);
    const width = this.context.sampleRate / this.analyser.fftSize;
    for (const [name, [from, to]] of Object.entries(BANDS)) {
      const band = this.decibels.subarray(Math.floor(from / width), Math.ceil(to / width));
      signals[name] = scaled(Math.max(...band), QUIET, LOUD);
    }
    const now = this.context.currentTime;
    const low = signals["sound.low"];
    const beat = low > this.#average + RISE && now - this.#last > APART;
    if (beat) this.#last = now;
    this.#average += (low - this.#average) * 0.08;
    signals["sound.beat"] = beat ? 1 : 0;
  }

  stop() {
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
  }
}

function scaled(value, low, high) {
  return Math.max(0, Math.min(1, (value - low) / (high - low)));
}
