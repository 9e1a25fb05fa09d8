/* The controls in the panel: thumbnails, the pad, sliders, switches. */

import { words } from "./words.js";

const $ = (id) => document.getElementById(id);
const SIDES = [256, 384, 512, 768, 1024, 1280];

/**
 * Build the controls and keep the look as they say.
 * @param {import("./look.js").Look} look
 * @param {() => void} changed called after each change
 */
export function buildControls(look, changed) {
  const { styles, live } = look.site;
  const several = styles.length > 1;
  thumbnails("first", styles, look, changed);
  if (several) thumbnails("second", styles, look, changed);
  $("mixing").hidden = !several;
  for (const control of ["strength", "stroke"]) {
    $(`${control}-part`).hidden = !(live && control in live.anchors);
    slider(control, look, changed);
  }
  slider("mix", look, changed);
  toggle("mixes", look, () => {
    $("second-part").hidden = !look.mixes;
    changed();
  });
  toggle("colors", look, changed);
  pad(look, changed);
  sizes();
  document.addEventListener("language", sizes);
  $("size").addEventListener("change", () => {
    look.size = $("size").value;
    changed();
  });
}

/** Show what signals have made of the sliders; without them, what the panel says. */
export function showPlayed(look) {
  for (const control of ["strength", "stroke", "mix"]) put($(control), look.value(control));
  place(look);
}

function thumbnails(slot, styles, look, changed) {
  const list = $(slot).querySelector(".thumbnails");
  styles.forEach((style, i) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: slot, value: String(i) });
    input.checked = i === look[slot];
    input.addEventListener("change", () => {
      look[slot] = i;
      paintPad(look);
      changed();
    });
    const image = Object.assign(new Image(176, 176), { src: style.thumbnail, alt: "" });
    const title = Object.assign(document.createElement("strong"), { textContent: style.title || style.name });
    const facts = [style.artist, style.year].filter(Boolean).join(", ");
    const small = Object.assign(document.createElement("small"), { textContent: facts });
    label.title = [title.textContent, facts].filter(Boolean).join(" – ");
    label.append(input, image, title, small);
    list.append(label);
  });
}

function slider(control, look, changed) {
  const input = $(control);
  put(input, look[control]);
  input.addEventListener("input", () => {
    look[control] = Number(input.value);
    put(input, look[control]);
    place(look);
    changed();
  });
}

function put(input, value) {
  input.value = String(value);
  input.parentElement.querySelector("output").value = `${Math.round(value * 100)} %`;
}

function toggle(id, look, changed) {
  $(id).checked = look[id];
  $(id).addEventListener("change", () => {
    look[id] = $(id).checked;
    changed();
  });
}

/* The pad: across from the first style to the second, up for more strength. Sliders beside it do the same by keyboard. */
function pad(look, changed) {
  const area = $("pad");
  const strong = !$("strength-part").hidden;
  const follow = (event) => {
    if (event.type === "pointerdown") area.setPointerCapture(event.pointerId);
    if (!area.hasPointerCapture(event.pointerId)) return;
    const box = area.getBoundingClientRect();
    look.mix = within((event.clientX - box.left) / box.width);
    if (strong) look.strength = within(1 - (event.clientY - box.top) / box.height);
    showPlayed(look);
    changed();
  };
  area.addEventListener("pointerdown", follow);
  area.addEventListener("pointermove", follow);
  paintPad(look);
  place(look);
}

function place(look) {
  const dot = $("pad").querySelector("span");
  dot.style.left = `${look.value("mix") * 100}%`;
  dot.style.bottom = `${$("strength-part").hidden ? 50 : look.value("strength") * 100}%`;
}

function paintPad(look) {
  const { styles } = look.site;
  $("pad").querySelector(".left").src = styles[look.first].thumbnail;
  $("pad").querySelector(".right").src = styles[look.second].thumbnail;
}

function sizes() {
  const chosen = $("size").value || "auto";
  $("size").replaceChildren(
    new Option(words("auto"), "auto"),
    ...SIDES.map((n) => new Option(words("pixels", { n }), String(n))),
    new Option(words("own"), "own"),
  );
  $("size").value = chosen;
}

function within(value) {
  return Math.max(0, Math.min(1, value));
}
