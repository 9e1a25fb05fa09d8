/* Where a saved painting comes from, as an XMP packet in the file. The photo's own metadata never reach the page. */

const COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";
const KEYWORD = "XML:com.adobe.xmp\0\0\0\0\0"; // of an iTXt chunk: not compressed, no language
const SIGNATURE = "http://ns.adobe.com/xap/1.0/\0"; // of a JPEG segment
const SPACES = {
  rdf: "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
  Iptc4xmpExt: "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
  xmpMM: "http://ns.adobe.com/xap/1.0/mm/",
  stEvt: "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
  onestroke: "urn:onestroke:painting:1.0/",
};
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const HEADER = 33; // bytes of a PNG up to the end of its first chunk

/**
 * The packet of what is painted now; null where nothing is painted, at strength 0.
 * @param {import("./look.js").Look} look
 */
export function packet(look) {
  const { site } = look;
  const controls = Object.keys(site.live?.defaults ?? {});
  if (controls.includes("strength") && look.value("strength") === 0) return null;
  const shares = look.weights();
  const styles = site.styles.map((style, i) => ({ ...style, share: shares[i] })).filter(({ share }) => share > 0);
  const settings = controls.map((name) => [name[0].toUpperCase() + name.slice(1), round(look.value(name))]);
  settings.push(["Color", look.now().keepsColors ? "photo" : "style"]);
  const named = styles.map(({ title, name, artist, share }) => {
    const whole = `${title || name}${artist ? ` by ${artist}` : ""}`;
    return share === 1 ? whole : `${whole} (${Math.round(100 * share)}%)`;
  });
  const file = `${site.file.name} (sha256 ${site.file.sha256})`;
  const said = [`painted in the style of ${named.join(", ")}, ${file}`, ...settings.map((one) => one.join(" ").toLowerCase())];
  const agent = `OneStroke ${site.onestroke}`;
  const event = { "stEvt:action": "edited", "stEvt:softwareAgent": agent, "stEvt:parameters": said.join("; ") };
  return wrapped(
    [
      ["Iptc4xmpExt:DigitalSourceType", COMPOSITE],
      ["Iptc4xmpExt:AISystemUsed", "OneStroke"],
      ["Iptc4xmpExt:AISystemVersionUsed", site.onestroke],
      ["onestroke:Version", agent],
      ["onestroke:StyleFile", site.file.name],
      ["onestroke:StyleFileSHA256", site.file.sha256],
      ...settings.map(([name, value]) => [`onestroke:${name}`, value]),
    ].map(([name, value]) => property(name, value)).join("") +
      array("onestroke:Styles", "Bag", styles.map(described)) + array("xmpMM:History", "Seq", [event]),
  );
}

function described({ name, share, title, artist, licence }) {
  const found = { Name: name, Share: round(share), Title: title, Artist: artist, Licence: licence };
  return Object.fromEntries(Object.entries(found).map(([key, value]) => [`onestroke:${key}`, value]));
}

const round = (value) => String(Number(value.toPrecision(6)));
const escaped = (text) =>
  String(text).replace(/[&<>]/g, (sign) => ENTITIES[sign]).replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd");
const property = (name, value) => (value ? `<${name}>${escaped(value)}</${name}>` : "");

function array(name, kind, items) {
  const inner = items.map((item) => {
    const fields = Object.entries(item).map(([key, value]) => property(key, value)).join("");
    return `<rdf:li rdf:parseType="Resource">${fields}</rdf:li>`;
  });
  return `<${name}><rdf:${kind}>${inner.join("")}</rdf:${kind}></${name}>`;
}

function wrapped(properties) {
  const spaces = Object.entries(SPACES).map(([prefix, uri]) => ` xmlns:${prefix}="${uri}"`).join("");
  return (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">' +
    `<rdf:RDF${spaces}><rdf:Description rdf:about="">${properties}</rdf:Description></rdf:RDF></x:xmpmeta>` +
    '<?xpacket end="w"?>'
  );
}

/** A PNG or JPEG with a packet in it; the same where there is none, or it doesn't fit. */
export async function marked(blob, text) {
  if (text === null) return blob;
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const piece = blob.type === "image/png" ? chunk(text) : segment(text);
  const place = blob.type === "image/png" ? HEADER : 2;
  return piece ? new Blob([bytes.subarray(0, place), piece, bytes.subarray(place)], { type: blob.type }) : blob;
}

function chunk(text) {
  const content = new TextEncoder().encode(`iTXt${KEYWORD}${text}`);
  const made = new Uint8Array(content.length + 8);
  const view = new DataView(made.buffer);
  view.setUint32(0, content.length - 4);
  made.set(content, 4);
  view.setUint32(content.length + 4, crc(content));
  return made;
}

function segment(text) {
  const content = new TextEncoder().encode(SIGNATURE + text);
  if (content.length + 2 > 0xffff) return null;
  const made = new Uint8Array(content.length + 4);
  made.set([0xff, 0xe1, (content.length + 2) >> 8, (content.length + 2) & 0xff]);
  made.set(content, 4);
  return made;
}

/** The checksum of a PNG's chunk. */
function crc(bytes) {
  let rest = 0xffffffff;
  for (const byte of bytes) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return (rest ^ 0xffffffff) >>> 0;
}
