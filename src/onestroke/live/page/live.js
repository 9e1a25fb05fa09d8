// The page of live.py: shows the paintings that come over a WebSocket, and sends controls and signals back.
// What the browser measures is measured by the exported page's modules, which the server sends too.
import { listenToMidi } from "./midi.js";
import { placeIn, watchPointer } from "./pointer.js";
import { Sound } from "./sound.js";

const $ = (id) => document.getElementById(id);
const picture = $("picture"), context = picture.getContext("2d", { alpha: false, desynchronized: true });
const NUMBERS = ["strength", "stroke", "mix"];
let socket, facts, state = {}, held = new Set(), gone = false;

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function notice(text) {
  $("notice").textContent = text;
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${location.pathname}ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => send({ frames: true });
  socket.onmessage = ({ data }) => (typeof data === "string" ? told(JSON.parse(data)) : painted(data));
  socket.onclose = () => {
    notice(gone ? "live.py has ended" : "The connection to live.py is lost");
    gone = true;
    setTimeout(connect, 1000);
  };
}

async function painted(data) {
  const number = new DataView(data).getUint32(0);
  const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 4)], { type: "image/jpeg" }));
  if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
    picture.width = bitmap.width;
    picture.height = bitmap.height;
  }
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  gone = false;
  notice("");
  send({ shown: number });
}

function told(message) {
  if (message.error) notice(message.error);
  if (message.facts) build((facts = message.facts));
  if (message.state) show((state = message.state));
}

function build({ styles, controls, maps }) {
  $("styles").replaceChildren(...styles.map((style) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.name = style.name;
    button.textContent = style.title || style.name;
    const small = document.createElement("small");
    small.textContent = [style.artist, style.year].filter(Boolean).join(", ");
    button.append(small);
    // a click chooses; with Shift, or held for half a second, the style is mixed in
    let timer, second = false;
    button.onpointerdown = () => {
      second = false;
      timer = setTimeout(() => { second = true; choose(style.name, true); }, 500);
    };
    button.onpointerup = button.onpointerleave = () => clearTimeout(timer);
    button.onclick = (event) => second ? (second = false) : choose(style.name, event.shiftKey);
    button.title = "Click to paint in this style; Shift and click, or hold, to mix it in";
    return button;
  }));
  const several = styles.length > 1;
  $("styles").hidden = $("mix-label").hidden = !several;
  for (const name of ["strength", "stroke"]) $(`${name}-label`).hidden = !controls.includes(name);
  $("pad").hidden = !several && !controls.includes("strength");
  const none = new Option("none", "");
  $("map").replaceChildren(none, ...maps.map((name) => new Option(name, name)));
}

function choose(name, second) {
  if (!second) return send({ set: { styles: [name] } });
  send({ set: { styles: [state.styles[0], name], mix: 0.5 } });
}

function show(now) {
  for (const name of NUMBERS) {
    if (name in now && !held.has(name)) $(name).value = now[name];
    $(`${name}-label`).classList.toggle("moved", now.moved.includes(name));
  }
  $("colors").checked = now.colors >= 0.5;
  const titles = Object.fromEntries(facts.styles.map((style) => [style.name, style.title || style.name]));
  $("mix-name").textContent = `Mix: ${titles[now.styles[1]]}`;
  $("mix-name").title = $("mix-name").textContent;
  for (const button of $("styles").children) {
    button.setAttribute("aria-pressed", String((now.shares[button.dataset.name] ?? 0) > 0));
    button.toggleAttribute("data-second", button.dataset.name === now.styles[1] && now.styles[0] !== now.styles[1]);
  }
  const select = $("map");
  if (now.map && ![...select.options].some((one) => one.value === now.map)) select.add(new Option(now.map, now.map));
  select.value = now.map ?? "";
  const dot = $("pad").firstElementChild;
  dot.style.left = `${100 * (now.mix ?? 0)}%`;
  dot.style.top = `${100 * (1 - (now.strength ?? 0.5))}%`;
}

for (const name of NUMBERS) {
  const input = $(name);
  input.oninput = () => { held.add(name); send({ set: { [name]: Number(input.value) } }); };
  input.onchange = () => held.delete(name);
}
$("colors").onchange = (event) => send({ set: { colors: event.target.checked ? 1 : 0 } });
$("map").onchange = (event) => send({ map: event.target.value || null });

function padded(event) {
  if (event.type === "pointerdown") $("pad").setPointerCapture(event.pointerId);
  if (!event.buttons) return;
  const [x, y] = placeIn(event, $("pad").getBoundingClientRect());
  const set = {};
  if (facts.styles.length > 1) set.mix = x;
  if (facts.controls.includes("strength")) set.strength = 1 - y;
  send({ set });
}
$("pad").onpointerdown = $("pad").onpointermove = padded;

// Signals: sent together, at most 30 times a second.
const STEP = 33; // milliseconds
let signals = {}, timer = null;
function signal(values) {
  Object.assign(signals, values);
  timer ??= setTimeout(() => {
    send({ signals });
    signals = {};
    timer = null;
  }, STEP);
}

watchPointer(picture, signal);

async function listen() {
  const sound = await Sound.start();
  setInterval(() => signal(sound.heard), STEP);
}

function once(button, start, failed) {
  button.onclick = async () => {
    try {
      await start();
      button.setAttribute("aria-pressed", "true");
      button.disabled = true;
    } catch {
      notice(failed);
      setTimeout(() => notice(""), 4000);
    }
  };
}
once($("sound"), listen, "The browser gives no microphone: allow it, and open the page on the machine itself");
once($("midi"), () => listenToMidi(signal), "This browser has no MIDI, or it was not allowed");

const full = () => document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
const hide = () => document.body.classList.toggle("kiosk");
$("full").onclick = full;
$("hide").onclick = hide;
picture.ondblclick = full;
addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "f") full();
  if (event.key === "h") hide();
});
if (new URLSearchParams(location.search).has("kiosk")) hide();

// The screen of an exhibition stays on.
const awake = () => navigator.wakeLock?.request("screen").catch(() => {});
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && awake());
awake();
connect();
