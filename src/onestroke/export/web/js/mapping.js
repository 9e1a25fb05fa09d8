/* Mappings of signals to controls; the same arithmetic and the same files as onestroke.live.mapping.

   A route shapes its signal v to t = clamp((v - a) / (b - a)) ** curve for the input range [a, b], follows t by a
   one-pole low pass (attack seconds upwards, release seconds downwards), and gives the place of that in the output
   range. What all routes of a control give is added and clamped. */

export const SIGNALS = [
  "motion.amount", "motion.x", "motion.y", "sound.level", "sound.low", "sound.mid", "sound.high", "sound.beat",
  "pointer.x", "pointer.y", "pointer.down", "touch.count", "time.sine", "time.saw",
]; // prettier-ignore
export const CONTROLS = ["strength", "stroke", "style", "mix", "colors"];

const DEFAULTS = { input: [0, 1], output: [0, 1], curve: 1, attack: 0.1, release: 0.6, period: 8 };
const LIMITS = { curve: [0.01, 100], attack: [0, 3600], release: [0, 3600], period: [0.01, 3600] };
const OTHERS = /^(midi\.([0-9]|[1-9][0-9]|1[01][0-9]|12[0-7])|remote\.[A-Za-z0-9_.-]{1,64})$/;
const MOST = 64; // routes

/**
 * @typedef {object} Route
 * @property {string} signal
 * @property {string} control
 * @property {[number, number]} input range of the signal; may fall
 * @property {[number, number]} output range of the control; may fall
 * @property {number} curve exponent
 * @property {number} attack seconds
 * @property {number} release seconds
 * @property {number} period seconds, of a signal of time
 */

/** @typedef {{name: string, routes: Route[]}} SignalMap */

/**
 * A route with the defaults of all that is not given.
 * @param {Partial<Route>} given
 * @returns {Route}
 */
export function route(given) {
  return { signal: "time.sine", control: "strength", ...structuredClone(DEFAULTS), ...given };
}

/** Whether a signal is of time and has a period. */
export function timed(signal) {
  return signal.startsWith("time.");
}

/**
 * Read a mapping.
 * @param {string} text JSON
 * @returns {SignalMap} throws an Error that says what is wrong with it
 */
export function parseMap(text) {
  const found = JSON.parse(text);
  if (found?.onestroke_map !== 1) throw new Error('it needs "onestroke_map": 1');
  if (typeof found.name !== "string" || !Array.isArray(found.routes)) throw new Error("it needs a name and routes");
  if (found.routes.length > MOST) throw new Error(`it has more than ${MOST} routes`);
  return { name: found.name, routes: found.routes.map((given, i) => checked(given, `route ${i + 1}`)) };
}

/**
 * A mapping as the text of its file.
 * @param {SignalMap} map
 */
export function writtenMap({ name, routes }) {
  const written = routes.map(({ period, ...rest }) => (timed(rest.signal) ? { ...rest, period } : rest));
  return JSON.stringify({ onestroke_map: 1, name, routes: written }, null, 1);
}

function checked(given, which) {
  if (typeof given !== "object" || given === null) throw new Error(`${which} is no object`);
  const { signal, control } = given;
  if (!SIGNALS.includes(signal) && !OTHERS.test(signal)) throw new Error(`${which}: there is no signal ${signal}`);
  if (!CONTROLS.includes(control)) throw new Error(`${which}: there is no control ${control}`);
  for (const key of Object.keys(given)) {
    if (!(key in route({}))) throw new Error(`${which}: there is no ${key}`);
  }
  if ("period" in given && !timed(signal)) throw new Error(`${which}: period is for time.sine and time.saw`);
  const full = route(given);
  for (const [key, [least, most]] of Object.entries(LIMITS)) {
    if (!number(full[key], least, most)) throw new Error(`${which}: ${key} is a number from ${least} to ${most}`);
  }
  for (const key of ["input", "output"]) {
    const pair = full[key];
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((end) => number(end, 0, 1))) {
      throw new Error(`${which}: ${key} is two numbers from 0 to 1`);
    }
  }
  if (full.input[0] === full.input[1]) throw new Error(`${which}: input is two different numbers`);
  return full;
}

function number(value, least, most) {
  return typeof value === "number" && value >= least && value <= most;
}

/** A mapping in motion. */
export class Followers {
  #now = 0;
  #followed;

  /** @param {SignalMap} map */
  constructor(map) {
    this.map = map;
    this.#followed = map.routes.map(() => null);
  }

  /** The followed value of each route at the last step, in [0, 1]. */
  get followed() {
    return this.#followed.map((value) => value ?? 0);
  }

  /**
   * The controls at this moment.
   * @param {Object<string, number>} signals values in [0, 1]; those of time are computed here, missing ones are 0
   * @param {number} seconds since the last step
   * @returns {Object<string, number>} the value of each control that has a route, in [0, 1]
   */
  step(signals, seconds) {
    this.#now += seconds;
    const totals = {};
    this.map.routes.forEach((route, i) => {
      const value = timed(route.signal) ? atTime(route, this.#now) : (signals[route.signal] ?? 0);
      const before = this.#followed[i];
      const target = shaped(route, value);
      const slow = before !== null && target > before ? route.attack : route.release;
      const share = before === null || slow === 0 ? 1 : -Math.expm1(-seconds / slow);
      const followed = share === 1 ? target : before + (target - before) * share;
      this.#followed[i] = followed;
      const [low, high] = route.output;
      totals[route.control] = (totals[route.control] ?? 0) + low + (high - low) * followed;
    });
    return Object.fromEntries(Object.entries(totals).map(([control, total]) => [control, clamped(total)]));
  }
}

function shaped({ input: [low, high], curve }, value) {
  return clamped((value - low) / (high - low)) ** curve;
}

/** `sine` rises from 0 to 1 and falls again within a period, `saw` rises from 0 to 1. */
function atTime({ signal, period }, seconds) {
  const turn = seconds / period;
  return signal === "time.sine" ? 0.5 - 0.5 * Math.cos(2 * Math.PI * turn) : turn % 1;
}

function clamped(value) {
  return Math.max(0, Math.min(1, value));
}
