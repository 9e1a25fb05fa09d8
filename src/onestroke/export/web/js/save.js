/* Saving: a painting as a file, of the size of its photo. */

import { marked, packet } from "./mark.js";
import { Painter, threadCount } from "./painter.js";
import { fitted, mostPixels } from "./sizes.js";
import { words } from "./words.js";

const $ = (id) => document.getElementById(id);
const SUFFIX = { "image/png": "png", "image/jpeg": "jpg" };

/**
 * Ask how to save what is shown, and save it.
 * @param {import("./studio.js").Studio} studio
 * @param {import("./look.js").Look} look
 * @param {import("./stage.js").Stage} stage
 */
export async function save(studio, look, stage) {
  const { source } = studio;
  if (!source) return;
  const sizes = { seen: studio.sizes.settled, fine: most(source, mostPixels()) };
  const chosen = await ask(source, sizes);
  if (!chosen) return;
  const mark = packet(look);
  try {
    const blob = source.live
      ? await new Promise((resolve) => stage.painting.toBlob(resolve, chosen.type, 0.92))
      : await painted(source, sizes[chosen.strokes], look, stage, chosen.type);
    download(await marked(blob, mark), `${source.name}.${look.name}.${SUFFIX[chosen.type]}`);
  } catch (error) {
    stage.tell(words("noPaint", { why: error.message }));
  } finally {
    stage.wait("");
  }
}

/** Have the browser save a file. */
export function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function most({ width, height }, pixels) {
  return fitted(width, height, Math.max(width, height) * Math.min(1, Math.sqrt(pixels / (width * height))));
}

/** The dialog; null if it is cancelled. */
async function ask(source, sizes) {
  const dialog = $("saving");
  const same = sizes.seen.width === sizes.fine.width;
  $("save-size").hidden = source.live || same;
  const chosen = (name) => dialog.querySelector(`input[name=${name}]:checked`).value;
  const note = () => {
    const { width: w, height: h } = sizes[chosen("strokes")];
    const { width, height } = source.live ? studioSize() : source;
    const key = source.live || w === width ? "saveNote" : "saveNoteEnlarged";
    $("save-note").textContent = words(key, { width, height, w, h });
  };
  dialog.onchange = note;
  note();
  dialog.returnValue = "cancel";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "save" ? { strokes: chosen("strokes"), type: chosen("type") } : null;
}

function studioSize() {
  const { width, height } = $("painting");
  return { width, height };
}

/**
 * Paint a photo for a file, in a worker of its own: the page goes on, and the memory is free afterwards.
 * Where the memory doesn't suffice, half as many pixels are painted, and enlarged.
 */
async function painted(photo, size, look, stage, type) {
  const { inputs, keepsColors } = look.now();
  stage.wait(words("saving", photo));
  for (let pixels = size.width * size.height, tries = 3; ; pixels /= 2, tries--) {
    let painter;
    try {
      painter = await Painter.open("wasm", threadCount(), look.site.model);
      const job = { bitmap: photo.bitmap, ...most(size, pixels), inputs, keepsColors, type };
      return (await painter.ask("file", job)).blob;
    } catch (error) {
      if (tries === 1) throw error;
    } finally {
      painter?.close();
    }
  }
}
