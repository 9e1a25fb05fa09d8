/* The editor of a mapping: a card for each route. */

import { CONTROLS, SIGNALS, route as newRoute, timed } from "./mapping.js";
import { words } from "./words.js";

const $ = (id) => document.getElementById(id);
const NAMED = { "midi.": "midi", "remote.": "remoteSignal" }; // signals with a number or a name of the visitor's

/**
 * Show the routes of a mapping for editing.
 * @param {import("./mapping.js").SignalMap} map changed in place
 * @param {() => void} changed called after each change
 */
export function showRoutes(map, changed) {
  $("routes").replaceChildren(...map.routes.map((route) => card(map, route, changed)));
}

/** Move the meters: one for each route. */
export function showMeters(followed) {
  document.querySelectorAll("#routes .meter i").forEach((bar, i) => {
    bar.style.transform = `scaleX(${followed[i] ?? 0})`;
  });
}

/** Add a route to a mapping. */
export function addRoute(map, changed) {
  map.routes.push(newRoute({ signal: "pointer.x", control: "strength" }));
  again(map, changed);
}

function again(map, changed) {
  showRoutes(map, changed);
  changed();
}

function card(map, route, changed) {
  const box = Object.assign(document.createElement("div"), { className: "route" });
  const prefix = Object.keys(NAMED).find((start) => route.signal.startsWith(start));
  const signals = [
    ...SIGNALS.map((signal) => [signal, words(signal)]),
    ...Object.entries(NAMED).map(([start, key]) => [start, words(key)]),
  ];
  const signal = choice(signals, prefix ?? route.signal, (value) => {
    route.signal = { "midi.": "midi.1", "remote.": "remote.level" }[value] ?? value;
    again(map, changed);
  });
  const control = choice(CONTROLS.map((name) => [name, controlName(name)]), route.control, (value) => {
    route.control = value;
    changed();
  });
  box.append(labelled(words("signal"), signal), labelled(words("control"), control));
  if (prefix) box.append(named(route, prefix, changed));
  box.append(range(route, "input", changed), range(route, "output", changed));
  box.append(amount(route, "curve", 0.1, changed));
  if (timed(route.signal)) box.append(amount(route, "period", 0.5, changed));
  box.append(amount(route, "attack", 0.1, changed), amount(route, "release", 0.1, changed));
  const remove = Object.assign(document.createElement("button"), { type: "button", textContent: words("remove") });
  remove.addEventListener("click", () => {
    map.routes.splice(map.routes.indexOf(route), 1);
    again(map, changed);
    $("add").focus();
  });
  const meter = Object.assign(document.createElement("div"), { className: "meter wide" });
  meter.append(document.createElement("i"));
  box.append(remove, meter);
  return box;
}

function controlName(name) {
  return words(["style", "colors"].includes(name) ? `${name}Control` : name);
}

function labelled(text, ...fields) {
  const label = document.createElement("label");
  label.append(Object.assign(document.createElement("span"), { textContent: text }), ...fields);
  return label;
}

function choice(options, value, chosen) {
  const select = document.createElement("select");
  select.append(...options.map(([key, text]) => new Option(text, key)));
  select.value = value;
  select.addEventListener("change", () => chosen(select.value));
  return select;
}

function field(value, least, most, step, changed) {
  const input = Object.assign(document.createElement("input"), { type: "number", min: least, max: most, step, value });
  input.addEventListener("change", () => {
    const number = Number(input.value);
    const sound = input.value !== "" && number >= least && number <= most && changed(number) !== false;
    input.setAttribute("aria-invalid", String(!sound));
  });
  return input;
}

function range(route, key, changed) {
  const pair = Object.assign(document.createElement("span"), { className: "pair" });
  const ends = ["lowest", "highest"].map((end, i) => {
    const input = field(route[key][i], 0, 1, 0.05, (number) => {
      if (key === "input" && number === route.input[1 - i]) return false; // a range of no width
      route[key][i] = number;
      changed();
    });
    input.setAttribute("aria-label", words(end, { what: words(key) }));
    return input;
  });
  pair.append(...ends);
  const group = Object.assign(document.createElement("div"), { className: "ends" });
  group.append(Object.assign(document.createElement("span"), { className: "quiet", textContent: words(key) }), pair);
  return group;
}

function amount(route, key, step, changed) {
  const least = { curve: 0.01, period: 0.01 }[key] ?? 0;
  const most = key === "curve" ? 100 : 3600;
  return labelled(words(key), field(route[key], least, most, step, (number) => {
    route[key] = number;
    changed();
  }));
}

function named(route, prefix, changed) {
  const input = Object.assign(document.createElement("input"), { value: route.signal.slice(prefix.length) });
  const valid = prefix === "midi." ? /^([0-9]|[1-9][0-9]|1[01][0-9]|12[0-7])$/ : /^[A-Za-z0-9_.-]{1,64}$/;
  input.addEventListener("change", () => {
    const sound = valid.test(input.value);
    input.setAttribute("aria-invalid", String(!sound));
    if (!sound) return;
    route.signal = prefix + input.value;
    changed();
  });
  const label = labelled(words(prefix === "midi." ? "number" : "name"), input);
  label.className = "wide";
  return label;
}
