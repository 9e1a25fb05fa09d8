/* Kiosk mode: the picture alone, until Esc, or a finger that stays in the upper right corner for two seconds: an
   audience that plays with the picture doesn't end it. */

const LONG = 2000; // milliseconds
const CORNER = 90; // pixels

/** Shows nothing but the picture, and the page again. */
export class Kiosk {
  #lock = null;
  #press = 0;

  constructor() {
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.leave());
    // the browser takes Esc for itself in full screen
    document.addEventListener("fullscreenchange", () => document.fullscreenElement || this.leave());
    document.addEventListener("pointerdown", ({ clientX, clientY }) => {
      const corner = clientX > innerWidth - CORNER && clientY < CORNER;
      if (corner) this.#press = setTimeout(() => this.leave(), LONG);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      document.addEventListener(name, () => clearTimeout(this.#press));
    }
    // the lock is lost when another tab is looked at
    document.addEventListener("visibilitychange", () => this.on && this.#stayAwake());
  }

  /** Whether the picture is alone. */
  get on() {
    return document.documentElement.classList.contains("kiosk");
  }

  /** Show the picture alone. */
  enter() {
    document.documentElement.classList.add("kiosk");
    document.documentElement.requestFullscreen?.().catch(() => {}); // not allowed without a click: then in the window
    this.#stayAwake();
  }

  /** Show the page again. */
  leave() {
    if (!this.on) return;
    document.documentElement.classList.remove("kiosk");
    if (document.fullscreenElement) document.exitFullscreen();
    this.#lock?.release();
    this.#lock = null;
  }

  async #stayAwake() {
    this.#lock = await navigator.wakeLock?.request("screen").catch(() => null);
  }
}
