/* The look of the painting: what the controls in the panel say, and what signals make of it. */

import { graphInputs, neighbours } from "./shares.js";

/**
 * @typedef {object} Style
 * @property {string} name
 * @property {string} title
 * @property {string} artist
 * @property {string} year
 * @property {string} thumbnail address
 */

/** The chosen styles and controls. */
export class Look {
  first = 0;
  second = 0;
  mixes = false;
  colors = false;
  size = "auto";
  mix = 0.5;
  /** Values that signals set instead of the panel, by control. */
  played = {};

  /** @param {{styles: Style[], live: import("./shares.js").Live | null}} site */
  constructor(site) {
    this.site = site;
    this.second = site.styles.length > 1 ? 1 : 0;
    const defaults = site.live?.defaults ?? {};
    this.strength = defaults.strength ?? 0.5;
    this.stroke = defaults.stroke ?? 0;
  }

  /** A control's value now. */
  value(control) {
    return this.played[control] ?? this[control];
  }

  /** The weight of each style now. */
  weights() {
    const count = this.site.styles.length;
    if (this.played.style !== undefined) return neighbours(count, this.played.style);
    const weights = new Array(count).fill(0);
    // a mix that is played mixes, whether or not the second style is switched on
    const mix = this.mixes || this.played.mix !== undefined ? this.value("mix") : 0;
    weights[this.first] += 1 - mix;
    weights[this.second] += mix;
    return weights;
  }

  /** What the worker needs to know. */
  now() {
    const controls = { strength: this.value("strength"), stroke: this.value("stroke") };
    return {
      inputs: this.site.live && graphInputs(this.site.live, this.weights(), controls),
      keepsColors: this.played.colors === undefined ? this.colors : this.played.colors >= 0.5,
      size: this.size,
    };
  }

  /** The name of the style for a file: that of the style, or of both. */
  get name() {
    const { styles } = this.site;
    const names = this.mixes ? [this.first, this.second] : [this.first];
    return names.map((i) => styles[i].name.replace(/[^\p{L}\p{N}_-]+/gu, "_")).join("+");
  }

  /** The title of the style for a person. */
  get title() {
    const titleOf = ({ title, name }) => title || name;
    const { styles } = this.site;
    return this.mixes ? `${titleOf(styles[this.first])} + ${titleOf(styles[this.second])}` : titleOf(styles[this.first]);
  }
}
