/* Playing along: signals move the controls by a mapping, which is edited, saved and loaded here. */

import { showPlayed } from "./controls.js";
import { Followers, parseMap, writtenMap } from "./mapping.js";
import { addRoute, showMeters, showRoutes } from "./routes.js";
import { download } from "./save.js";
import { Signals } from "./signals.js";
import { words } from "./words.js";

const $ = (id) => document.getElementById(id);
const LEAST = 0.002; // a change of a control that can be seen

/** The interactive part of the page. */
export class Play {
  #map = { name: "own", routes: [] };
  #followers = null;
  #then = 0;

  /**
   * @param {import("./look.js").Look} look
   * @param {import("./studio.js").Studio} studio
   * @param {import("./stage.js").Stage} stage
   */
  constructor(look, studio, stage) {
    this.look = look;
    this.studio = studio;
    this.stage = stage;
    const camera = () => (studio.source?.live ? studio.source : null);
    this.signals = new Signals($("stage"), camera, (sentence) => stage.tell(sentence));
    this.#presets();
    document.addEventListener("language", () => {
      this.#presets();
      showRoutes(this.#map, () => this.#edited());
    });
    $("play").addEventListener("click", () => this.run(!this.running));
    $("preset").addEventListener("change", () => $("preset").value && this.open($("preset").value));
    $("add").addEventListener("click", () => addRoute(this.#map, () => this.#edited()));
    $("store").addEventListener("click", () => this.#store());
    $("load").addEventListener("click", () => $("map-file").click());
    $("map-file").addEventListener("change", () => this.#load());
    $("remote").addEventListener("change", () => this.running && this.#want());
  }

  /** Whether signals move the controls now. */
  get running() {
    return this.#followers !== null;
  }

  /**
   * Take a mapping from the site.
   * @param {string} address of its JSON, such as presets/dance.json
   */
  async open(address) {
    try {
      const answer = await fetch(address);
      if (!answer.ok) throw new Error(words("noMap", { name: address }));
      this.#take(await answer.text(), address);
      $("preset").value = [...$("preset").options].some(({ value }) => value === address) ? address : "";
    } catch {
      this.stage.tell(words("noMap", { name: address }));
    }
  }

  /** Begin or end. */
  async run(on) {
    $("play").setAttribute("aria-pressed", String(on));
    if (on === this.running) return;
    if (on) {
      this.#followers = new Followers(this.#map);
      await this.#want();
      this.#then = performance.now();
      this.#step();
    } else {
      this.#followers = null;
      this.look.played = {};
      await this.signals.want([], "");
      showPlayed(this.look);
      showMeters([]);
      this.studio.change();
    }
  }

  #step() {
    if (!this.#followers) return;
    const now = performance.now();
    const played = this.#followers.step(this.signals.now(), (now - this.#then) / 1000);
    this.#then = now;
    const before = this.look.played;
    const differs = Object.keys({ ...played, ...before }).some((name) => !(Math.abs(played[name] - before[name]) < LEAST));
    showMeters(this.#followers.followed);
    if (differs) {
      this.look.played = played;
      showPlayed(this.look);
      this.studio.change();
    }
    requestAnimationFrame(() => this.#step());
  }

  #want() {
    return this.signals.want(this.#map.routes.map((route) => route.signal), $("remote").value.trim());
  }

  #edited() {
    $("preset").value = "";
    if (!this.running) return;
    this.#followers = new Followers(this.#map);
    this.#want();
  }

  #take(text, name) {
    try {
      this.#map = parseMap(text);
    } catch (error) {
      this.stage.tell(words("notAMap", { name, why: error.message }));
      return;
    }
    showRoutes(this.#map, () => this.#edited());
    this.#edited();
  }

  async #load() {
    const [file] = $("map-file").files;
    $("map-file").value = "";
    if (file) this.#take(await file.text(), file.name);
  }

  #store() {
    download(new Blob([writtenMap(this.#map)], { type: "application/json" }), `${this.#map.name || "own"}.json`);
  }

  #presets() {
    const chosen = $("preset").value;
    const named = this.look.site.presets.map((address) => new Option(address.replace(/^.*\/|\.json$/g, ""), address));
    $("preset").replaceChildren(new Option(words("ownMap"), ""), ...named);
    $("preset").value = chosen;
  }
}
