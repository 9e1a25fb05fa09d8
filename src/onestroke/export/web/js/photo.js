/* A photo as a source of pictures. */

/** A photo; see `Source` in studio.js. */
export class Photo {
  live = false;
  mirrored = false;
  fresh = true;
  #sizes = new Map();

  /**
   * Decode a picture file.
   * @param {Blob} file
   * @param {string} name
   * @returns {Promise<Photo>} rejects if the browser can't read it
   */
  static async read(file, name) {
    // a photo is shown upright, and transparent parts as on white paper
    return new Photo(await createImageBitmap(file, { imageOrientation: "from-image" }), name);
  }

  constructor(bitmap, name) {
    this.bitmap = bitmap;
    this.name = name.replace(/\.[^.]+$/, "") || "photo";
    this.width = bitmap.width;
    this.height = bitmap.height;
  }

  async take(width, height) {
    if (width === this.width && height === this.height) return this.bitmap;
    const key = `${width}x${height}`;
    if (!this.#sizes.has(key)) {
      const resized = await createImageBitmap(this.bitmap, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
      if (this.#sizes.size > 3) this.#sizes.clear();
      this.#sizes.set(key, resized);
    }
    return this.#sizes.get(key);
  }
}

/** The first picture file of a drop or a paste; null where there is none. */
export function fileOf(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0] ?? null;
}
