// The page of live.py: shows the paintings that come over a WebSocket, and sends controls and signals back.
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
  const [x, y] = place(event, $("pad").getBoundingClientRect());
  const set = {};
  if (facts.styles.length > 1) set.mix = x;
  if (facts.controls.includes("strength")) set.strength = 1 - y;
  send({ set });
}
$("pad").onpointerdown = $("pad").onpointermove = padded;

function place(event, box) {
  const inside = (value) => Math.min(1, Math.max(0, value));
  return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
}

// Signals: sent together, at most 30 times a second.
let signals = {}, timer = null;
function signal(values) {
  Object.assign(signals, values);
  timer ??= setTimeout(() => {
    send({ signals });
    signals = {};
    timer = null;
  }, 33);
}

const touching = new Set();
function pointed(event) {
  const lifted = ["pointerup", "pointercancel", "pointerleave"].includes(event.type);
  if (event.type === "pointerdown") touching.add(event.pointerId);
  if (lifted) touching.delete(event.pointerId);
  const [x, y] = place(event, picture.getBoundingClientRect());
  const down = touching.size > 0 ? 1 : 0;
  signal({ "pointer.x": x, "pointer.y": y, "pointer.down": down, "touch.count": Math.min(1, touching.size / 5) });
}
for (const type of ["down", "move", "up", "cancel", "leave"]) picture.addEventListener(`pointer${type}`, pointed);

// Sound: level, three bands, and a beat where the low band rises above its mean.
async function listen() {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const audio = new AudioContext(), analyser = new AnalyserNode(audio, { fftSize: 1024, smoothingTimeConstant: 0.5 });
  audio.createMediaStreamSource(stream).connect(analyser);
  const bins = new Uint8Array(analyser.frequencyBinCount), hertz = audio.sampleRate / analyser.fftSize;
  const mean = (low, high) => {
    const from = Math.max(1, Math.round(low / hertz)), to = Math.min(bins.length, Math.round(high / hertz) + 1);
    return bins.subarray(from, to).reduce((sum, value) => sum + value, 0) / (to - from) / 255;
  };
  let usual = 0, beat = 0;
  setInterval(() => {
    analyser.getByteFrequencyData(bins);
    const low = mean(30, 200), mid = mean(200, 2000), high = mean(2000, 8000);
    beat = low > 1.3 * usual && low > 0.2 ? 1 : beat * 0.8;
    usual += 0.03 * (low - usual);
    const level = Math.min(1, (low + mid + high) / 1.5);
    signal({ "sound.level": level, "sound.low": low, "sound.mid": mid, "sound.high": high, "sound.beat": beat });
  }, 33);
}

async function midi() {
  const access = await navigator.requestMIDIAccess();
  const heard = ({ data: [status, number, value] }) => {
    if ((status & 0xf0) === 0xb0) signal({ [`midi.${number}`]: value / 127 });
  };
  const join = () => access.inputs.forEach((input) => (input.onmidimessage = heard));
  access.onstatechange = join;
  join();
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
once($("midi"), midi, "This browser has no MIDI, or it was not allowed");

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
