/* The signals of a mapping, each in [0, 1], from what the browser has: only those that a route names are started. */

import { listenToMidi } from "./midi.js";
import { Motion } from "./motion.js";
import { watchPointer } from "./pointer.js";
import { Sound } from "./sound.js";
import { words } from "./words.js";

/** Measures signals. */
export class Signals {
  /** @type {Object<string, number>} */
  values = { "motion.x": 0.5, "motion.y": 0.5, "pointer.x": 0.5, "pointer.y": 0.5 };
  #wanted = new Set();
  #motion = new Motion();
  #sound = null;
  #own = null; // a camera that is looked at and not shown
  #socket = null;

  /**
   * @param {HTMLElement} area where pointer and touch count
   * @param {() => {video: HTMLVideoElement, mirrored: boolean} | null} camera the one that is shown, if any
   * @param {(sentence: string) => void} tell
   */
  constructor(area, camera, tell) {
    this.camera = camera;
    this.tell = tell;
    watchPointer(area, (values) => Object.assign(this.values, values));
  }

  /**
   * Start what these signals need, and stop what none of them needs.
   * @param {string[]} names
   * @param {string} remote address of a WebSocket; empty for none
   */
  async want(names, remote) {
    const before = this.#wanted;
    this.#wanted = new Set(names.map((name) => name.split(".")[0]));
    const begins = (kind) => this.#wanted.has(kind) && !before.has(kind);
    if (begins("sound")) await this.#listen();
    if (begins("midi")) await this.#midi();
    if (begins("motion") && !this.camera()) await this.#watch();
    if (!this.#wanted.has("sound")) this.#sound = this.#sound?.stop();
    if (!this.#wanted.has("motion")) this.#own = this.#own?.stop();
    this.#connect(this.#wanted.has("remote") ? remote : "");
  }

  /** The values now. */
  now() {
    const seen = this.camera() ?? this.#own;
    if (this.#wanted.has("motion") && seen?.video.readyState >= 2) this.#motion.look(seen.video, seen.mirrored, this.values);
    Object.assign(this.values, this.#sound?.heard);
    return this.values;
  }

  async #listen() {
    try {
      this.#sound = await Sound.start();
    } catch {
      this.tell(words("noSound"));
    }
  }

  async #watch() {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
      const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
      await video.play();
      const stop = () => stream.getTracks().forEach((track) => track.stop());
      this.#own = { video, mirrored: true, stop };
    } catch {
      this.tell(words("cameraDenied"));
    }
  }

  async #midi() {
    try {
      await listenToMidi((values) => Object.assign(this.values, values));
    } catch {
      this.tell(words("noMidi"));
    }
  }

  #connect(url) {
    if (this.#socket?.asked === url) return;
    this.#socket?.close();
    this.#socket = null;
    if (!url) return;
    try {
      this.#socket = Object.assign(new WebSocket(url), { asked: url });
    } catch {
      return this.tell(words("noRemote", { url }));
    }
    const socket = this.#socket;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.tell(words("noRemote", { url }));
      this.#socket = null;
      setTimeout(() => this.#wanted.has("remote") && !this.#socket && this.#connect(url), 3000);
    };
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return; // no message of ours
    }
    // what live.py is told in the same words
    for (const [name, value] of Object.entries(message?.remote ?? message ?? {})) {
      if (typeof value === "number") this.values[`remote.${name}`] = Math.max(0, Math.min(1, value));
    }
  }
}
