/* The page: opens the painter, and connects its parts. */

import { Camera, cameraProblem } from "./camera.js";
import { buildControls } from "./controls.js";
import { Kiosk } from "./kiosk.js";
import { Look } from "./look.js";
import { Painter, hasGpu, threadCount } from "./painter.js";
import { Photo, fileOf } from "./photo.js";
import { Play } from "./play.js";
import { Recording } from "./record.js";
import { download, save } from "./save.js";
import { Stage } from "./stage.js";
import { isolate } from "./start.js";
import { Studio } from "./studio.js";
import { LANGUAGES, chosenLanguage, speak, words, write } from "./words.js";

const $ = (id) => document.getElementById(id);
const SMALL = 128; // sides of the pictures that backends are measured with
const LARGE = 320;
const SAME = 3; // levels of 255 that backends may differ by
const SLOW = 60; // milliseconds for the small one, from which on the large one would take too long
const asked = new URLSearchParams(location.search);

const stage = new Stage();
let faster = ""; // what was measured, in words

/* --- the painter --- */

/** Open a painter and measure it. @returns {Promise<{painter: Painter, pace: number}>} */
async function opened(backend, site, inputs) {
  const painter = await Painter.open(backend, backend === "wasm" ? threadCount() : 1, site.model);
  const paceAt = async (side) => ((await painter.ask("measure", { side, inputs })).milliseconds * 1e6) / side ** 2;
  const pace = await paceAt(SMALL);
  return { painter, pace: (pace * SMALL ** 2) / 1e6 < SLOW ? await paceAt(LARGE) : pace };
}

/** WASM first, which loads faster; then WebGPU, where it paints the same and is measured to be faster. */
async function findPainter(site, look, studio) {
  const { inputs } = look.now();
  const only = asked.get("backend");
  const wasm = only === "webgpu" ? null : await opened("wasm", site, inputs);
  // before it paints for the page, which may replace it
  const sample = wasm && (await wasm.painter.ask("sample", { inputs })).rgb;
  if (wasm) studio.use(wasm.painter, wasm.pace);
  if (only === "webgpu") {
    const { painter, pace } = await opened("webgpu", site, inputs);
    studio.use(painter, pace);
  } else if (only !== "wasm" && !navigator.connection?.saveData && (await hasGpu())) {
    await tryGpu(site, inputs, studio, sample).catch(() => {}); // a GPU that can't do it: WASM goes on
  }
}

async function tryGpu(site, inputs, studio, sample) {
  const { painter, pace } = await opened("webgpu", site, inputs);
  const { rgb } = await painter.ask("sample", { inputs });
  const times = studio.pace / pace;
  const [gpu, cpu] = [backendName(painter), "WASM"];
  // not every driver computes what it is told to
  const same = rgb.every((value, i) => Math.abs(value - sample[i]) <= SAME);
  if (!same) return painter.close();
  if (times > 1) studio.use(painter, pace);
  else painter.close();
  const [name, other] = times > 1 ? [gpu, cpu] : [cpu, gpu];
  const ratio = Math.max(times, 1 / times).toLocaleString(chosenLanguage(), { maximumFractionDigits: 1 });
  faster = words("faster", { name, other, times: ratio });
}

function backendName({ backend, threads }) {
  if (backend === "webgpu") return words("webgpu");
  return threads > 1 ? words("wasm", { threads }) : words("wasmOne");
}

/* --- what is painted --- */

let camera = null;
let facing = asked.get("camera") === "back" ? "environment" : "user";

async function showFile(file, studio) {
  try {
    const photo = await Photo.read(file, file.name ?? "photo");
    stopCamera();
    const { width, height } = studio.sizesOf(photo).settled;
    stage.drawOriginal(await photo.take(width, height), width, height, false);
    studio.show(photo);
  } catch {
    stage.tell(words("notAPicture", { name: file.name ?? "?" }));
  }
}

async function startCamera(studio) {
  try {
    stopCamera();
    camera = await Camera.start(facing, () => studio.next(), () => {
      stage.tell(words("cameraLost"));
      // a kiosk waits for it
      stopCamera();
      if (document.documentElement.classList.contains("kiosk")) setTimeout(() => startCamera(studio), 3000);
    });
    studio.show(camera);
    $("flip").hidden = !(await Camera.several());
    $("record").hidden = !Recording.possible;
    $("camera").setAttribute("aria-pressed", "true");
  } catch (error) {
    stage.tell(words(cameraProblem(error)));
    stopCamera();
  }
}

function stopCamera() {
  if (recording) toggleRecording();
  camera?.stop();
  camera = null;
  $("flip").hidden = $("record").hidden = true;
  $("camera").setAttribute("aria-pressed", "false");
}

/* --- recording --- */

let recording = null;
let recordingName = "";

async function toggleRecording() {
  const ended = recording;
  recording = ended ? null : new Recording(stage.painting);
  $("record").setAttribute("aria-pressed", String(!ended));
  $("recording").hidden = Boolean(ended);
  if (!ended) return showLength();
  download(await ended.stop(), `camera.${recordingName}.${ended.suffix}`);
}

function showLength() {
  if (!recording) return;
  $("recording").querySelector("output").value = recording.length;
  setTimeout(showLength, 500);
}

/* --- the buttons --- */

function connectButtons(studio, look, kiosk) {
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    const [file] = $("files").files;
    $("files").value = "";
    if (file) showFile(file, studio);
  });
  $("camera").addEventListener("click", () => {
    if (camera) {
      stopCamera();
      showScene(studio);
    } else startCamera(studio);
  });
  $("flip").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    startCamera(studio);
  });
  $("comparing").addEventListener("click", () => {
    stage.compares = !stage.compares;
    $("comparing").setAttribute("aria-pressed", String(stage.compares));
  });
  $("record").addEventListener("click", () => {
    recordingName = look.name;
    toggleRecording();
  });
  $("save").addEventListener("click", () => save(studio, look, stage));
  $("full").hidden = !document.fullscreenEnabled;
  $("full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else $("stage").requestFullscreen();
  });
  $("kiosk").addEventListener("click", () => kiosk.enter());
  $("language").append(...Object.entries(LANGUAGES).map(([code, name]) => new Option(name, code)));
  $("language").value = chosenLanguage();
  $("language").addEventListener("change", () => speak($("language").value));
}

function takeFiles(studio) {
  const over = (on) => ($("dropping").hidden = !on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const file = fileOf(event.dataTransfer);
    if (file) showFile(file, studio);
  });
  document.addEventListener("paste", (event) => {
    if (event.target instanceof HTMLInputElement && event.target.type === "url") return;
    const file = fileOf(event.clipboardData);
    if (file) showFile(file, studio);
    else stage.tell(words("noPaste"));
  });
}

/** The scene that the page begins with. */
async function showScene(studio) {
  const answer = await fetch("scene.jpg");
  await showFile(new File([await answer.blob()], "scene.jpg"), studio);
}

function showStatus(studio, { width, height, milliseconds }) {
  const backend = backendName(studio.painter);
  const size = `${width} × ${height}`;
  const rate = studio.rate.toLocaleString(chosenLanguage(), { maximumFractionDigits: 1 });
  const line = studio.source.live
    ? words("status", { backend, size, rate })
    : words("statusPhoto", { backend, size, ms: Math.round(milliseconds) });
  $("status").textContent = [line, faster].filter(Boolean).join(". ");
}

/* --- the beginning --- */

async function begin() {
  write(document);
  document.documentElement.classList.add("started");
  stage.wait(words("opening"));
  await isolate();
  const answer = await fetch("site.json");
  if (!answer.ok) throw new Error(`site.json: ${answer.status}`);
  const site = await answer.json();
  const look = new Look(site);
  const studio = new Studio(stage, () => look.now());
  const kiosk = new Kiosk();
  const play = new Play(look, studio, stage);
  const wanted = site.styles.findIndex(({ name }) => name === asked.get("style"));
  look.first = Math.max(0, wanted);
  look.size = asked.get("size") ?? "auto";
  buildControls(look, () => {
    stage.describe(look.title);
    studio.change();
  });
  $("size").value = look.size;
  stage.describe(look.title);
  document.addEventListener("language", () => stage.describe(look.title));
  connectButtons(studio, look, kiosk);
  takeFiles(studio);
  studio.addEventListener("painted", () => stage.wait(""), { once: true });
  studio.addEventListener("painted", ({ detail }) => {
    showStatus(studio, detail);
    $("stage").dataset.painted = String(Number($("stage").dataset.painted ?? 0) + 1);
    $("stage").dataset.settled = String(studio.settled);
  });
  studio.addEventListener("changed", () => ($("stage").dataset.settled = "false"));
  studio.addEventListener("failed", async ({ detail }) => {
    stage.tell(words("noPaint", { why: detail.message }));
    if (studio.painter?.backend !== "webgpu") return;
    // a GPU that was lost
    const { painter, pace } = await opened("wasm", site, look.now().inputs);
    studio.use(painter, pace);
  });
  if (asked.has("kiosk")) kiosk.enter();
  // at the same time: whoever is asked for the camera may take a while
  const found = findPainter(site, look, studio);
  found.catch(() => {}); // is told below
  await (asked.has("kiosk") || asked.has("camera") ? startCamera(studio) : showScene(studio));
  if (!studio.source) await showScene(studio);
  $("remote").value = asked.get("remote") ?? "";
  if (asked.has("map")) {
    await play.open(asked.get("map").endsWith(".json") ? asked.get("map") : `presets/${asked.get("map")}.json`);
    await play.run(true);
  }
  await found;
}

begin().catch((error) => {
  stage.wait("");
  stage.tell(words("noStart", { why: error.message }));
});
