/* What the page says, in English and German; a language is a column of this table. */

const WORDS = {
  en: {
    languageName: "English", language: "Language", stage: "Picture", tools: "Tools", settings: "Settings",
    photo: "Photo", camera: "Camera", flip: "Turn camera", compare: "Compare", compareAt: "Original left of here",
    record: "Record", save: "Save", full: "Full screen", style: "Style", mixWith: "Mix with a second style",
    secondStyle: "Second style", mix: "Mix", strength: "Strength", stroke: "Stroke size", keepColors: "Keep the photo's colours",
    detail: "Painted at", auto: "Automatic", pixels: "{n} pixels", own: "Its own size", dropHere: "Drop a photo",
    private: "Your pictures stay on this device.", licences: "Licence of ONNX Runtime",
    opening: "Opening the painter …", painting: "Painting …", painted: "The picture, painted in {style}",
    saving: "Painting {width} × {height} …", strokesAre: "Strokes", asSeen: "As large as on the screen", asFine: "Finer: painted at full size",
    fileType: "File", cancel: "Cancel", saveNow: "Save", saveNote: "{width} × {height} pixels",
    saveNoteEnlarged: "{width} × {height} pixels, painted at {w} × {h} and enlarged",
    status: "{backend}, {size}, {rate} pictures a second", statusPhoto: "{backend}, {size}, {ms} ms a painting",
    wasm: "WASM, {threads} threads", wasmOne: "WASM, 1 thread", webgpu: "WebGPU", faster: "{name}, {times} times faster than {other} here",
    notAPicture: "“{name}” is no picture that this browser can read.", tooLarge: "The picture is too large for this device.",
    noPaste: "There is no picture on the clipboard.", noCamera: "No camera was found.", cameraDenied: "The camera was not allowed.",
    cameraBusy: "The camera could not be started; another program may be using it.", cameraLost: "The camera was unplugged.",
    noStart: "The painter could not be started: {why}", noPaint: "The picture could not be painted: {why}",
    noSite: "The page is not complete: {why}", noRecord: "This browser can't record.",
    interactive: "Play along", interactiveHelp: "Movement, sound, touch and time move the controls. Nothing is recorded.",
    preset: "Preset", ownMap: "my own", play: "Play", addRoute: "Add a route", load: "Load", store: "Save",
    remote: "Messages from a WebSocket", kiosk: "Kiosk: the picture alone (Esc ends it)",
    signal: "Signal", control: "Control", input: "Signal, from … to", output: "Control, from … to", curve: "Curve", attack: "Attack (s)", release: "Release (s)",
    period: "Period (s)", name: "Name", number: "Controller", remove: "Remove", lowest: "{what}: lowest", highest: "{what}: highest",
    notAMap: "“{name}” is no mapping: {why}", noMidi: "This browser has no MIDI.", noSound: "The microphone was not allowed.",
    noRemote: "{url} does not answer.", noMap: "The mapping {name} was not found.",
    "motion.amount": "movement", "motion.x": "movement, from left", "motion.y": "movement, from top", "sound.level": "sound",
    "sound.low": "sound, low", "sound.mid": "sound, middle", "sound.high": "sound, high", "sound.beat": "beat",
    "pointer.x": "pointer, from left", "pointer.y": "pointer, from top", "pointer.down": "pointer pressed", "touch.count": "fingers",
    "time.sine": "time, wave", "time.saw": "time, ramp", midi: "MIDI knob", remoteSignal: "message",
    styleControl: "style", colorsControl: "keep colours",
  },
  de: {
    languageName: "Deutsch", language: "Sprache", stage: "Bild", tools: "Werkzeuge", settings: "Einstellungen",
    photo: "Foto", camera: "Kamera", flip: "Kamera wenden", compare: "Vergleichen", compareAt: "Links davon das Original",
    record: "Aufnehmen", save: "Sichern", full: "Vollbild", style: "Stil", mixWith: "Mit einem zweiten Stil mischen",
    secondStyle: "Zweiter Stil", mix: "Mischung", strength: "Stärke", stroke: "Strichgröße", keepColors: "Farben des Fotos behalten",
    detail: "Gemalt in", auto: "Automatisch", pixels: "{n} Pixel", own: "Eigene Größe", dropHere: "Foto hier ablegen",
    private: "Ihre Bilder bleiben auf diesem Gerät.", licences: "Lizenz von ONNX Runtime",
    opening: "Der Maler kommt …", painting: "Es wird gemalt …", painted: "Das Bild, gemalt als {style}",
    saving: "{width} × {height} wird gemalt …", strokesAre: "Striche", asSeen: "So groß wie auf dem Bildschirm", asFine: "Feiner: in voller Größe gemalt",
    fileType: "Datei", cancel: "Abbrechen", saveNow: "Sichern", saveNote: "{width} × {height} Pixel",
    saveNoteEnlarged: "{width} × {height} Pixel, gemalt mit {w} × {h} und vergrößert",
    status: "{backend}, {size}, {rate} Bilder je Sekunde", statusPhoto: "{backend}, {size}, {ms} ms je Bild",
    wasm: "WASM, {threads} Threads", wasmOne: "WASM, 1 Thread", webgpu: "WebGPU", faster: "{name}, hier {times}-mal so schnell wie {other}",
    notAPicture: "„{name}“ ist kein Bild, das dieser Browser lesen kann.", tooLarge: "Das Bild ist zu groß für dieses Gerät.",
    noPaste: "In der Zwischenablage ist kein Bild.", noCamera: "Es wurde keine Kamera gefunden.", cameraDenied: "Die Kamera wurde nicht erlaubt.",
    cameraBusy: "Die Kamera lässt sich nicht starten; vielleicht nutzt sie ein anderes Programm.", cameraLost: "Die Kamera wurde abgezogen.",
    noStart: "Der Maler lässt sich nicht starten: {why}", noPaint: "Das Bild lässt sich nicht malen: {why}",
    noSite: "Die Seite ist nicht vollständig: {why}", noRecord: "Dieser Browser kann nicht aufnehmen.",
    interactive: "Mitspielen", interactiveHelp: "Bewegung, Klang, Berührung und Zeit bewegen die Regler. Nichts wird aufgezeichnet.",
    preset: "Vorlage", ownMap: "eigene", play: "Spielen", addRoute: "Weg hinzufügen", load: "Laden", store: "Sichern",
    remote: "Nachrichten von einem WebSocket", kiosk: "Kiosk: nur das Bild (Esc beendet)",
    signal: "Signal", control: "Regler", input: "Signal, von … bis", output: "Regler, von … bis", curve: "Kurve", attack: "Anstieg (s)", release: "Abfall (s)",
    period: "Periode (s)", name: "Name", number: "Controller", remove: "Entfernen", lowest: "{what}: kleinster Wert", highest: "{what}: größter Wert",
    notAMap: "„{name}“ ist keine Zuordnung: {why}", noMidi: "Dieser Browser hat kein MIDI.", noSound: "Das Mikrofon wurde nicht erlaubt.",
    noRemote: "{url} antwortet nicht.", noMap: "Die Zuordnung {name} wurde nicht gefunden.",
    "motion.amount": "Bewegung", "motion.x": "Bewegung, von links", "motion.y": "Bewegung, von oben", "sound.level": "Klang",
    "sound.low": "Klang, tief", "sound.mid": "Klang, mittel", "sound.high": "Klang, hoch", "sound.beat": "Schlag",
    "pointer.x": "Zeiger, von links", "pointer.y": "Zeiger, von oben", "pointer.down": "Zeiger gedrückt", "touch.count": "Finger",
    "time.sine": "Zeit, Welle", "time.saw": "Zeit, Rampe", midi: "MIDI-Regler", remoteSignal: "Nachricht",
    styleControl: "Stil", colorsControl: "Farben behalten",
  },
}; // prettier-ignore

/** The languages, by code. */
export const LANGUAGES = Object.fromEntries(Object.entries(WORDS).map(([code, words]) => [code, words.languageName]));

const KEY = "onestroke-language";
let language = remembered() ?? (navigator.language.startsWith("de") ? "de" : "en");

/**
 * A text in the chosen language.
 * @param {string} key of the table
 * @param {Object<string, string | number>} values for the {names} in it
 * @returns {string}
 */
export function words(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** The code of the chosen language. */
export function chosenLanguage() {
  return language;
}

/** Choose a language for this and later visits, and write it into the page. */
export function speak(code) {
  language = code;
  try {
    localStorage.setItem(KEY, code);
  } catch {
    // a browser that stores nothing: chosen for this visit
  }
  write(document);
  document.dispatchEvent(new Event("language"));
}

/** Write the words of all marked elements below a node. */
export function write(root) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-words]")) element.textContent = words(element.dataset.words);
  for (const element of root.querySelectorAll("[data-words-label]")) {
    element.setAttribute("aria-label", words(element.dataset.wordsLabel));
  }
}

function remembered() {
  try {
    const code = localStorage.getItem(KEY);
    return code !== null && code in WORDS ? code : null;
  } catch {
    return null;
  }
}
