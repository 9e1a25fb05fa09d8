/* The page's side of a worker that paints. */

/** A worker with an open graph. */
export class Painter {
  #worker;
  #waiting = new Map();
  #count = 0;

  /**
   * Start a worker and open the graph in it.
   * @param {"wasm" | "webgpu"} backend
   * @param {number} threads
   * @param {string} model address of the ONNX file
   * @returns {Promise<Painter>}
   */
  static async open(backend, threads, model) {
    const painter = new Painter(backend, threads);
    try {
      await painter.ask("open", { backend, threads, model: new URL(model, document.baseURI).href });
    } catch (error) {
      painter.close();
      throw error;
    }
    return painter;
  }

  constructor(backend, threads) {
    this.backend = backend;
    this.threads = threads;
    this.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#answered(data);
    this.#worker.onerror = (event) => this.#failed(event.message || "the worker has stopped");
  }

  /**
   * Have the worker do a task.
   * @param {"open" | "measure" | "sample" | "paint" | "file"} task
   * @param {object} job its arguments
   * @param {Transferable[]} transferred
   * @returns {Promise<any>}
   */
  ask(task, job, transferred = []) {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, task, ...job }, transferred);
    });
  }

  /** End the worker; its memory is free then. */
  close() {
    this.#worker.terminate();
    this.#failed("closed");
  }

  #answered({ id, result, error }) {
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  }

  #failed(message) {
    for (const { reject } of this.#waiting.values()) reject(new Error(message));
    this.#waiting.clear();
  }
}

/** How many threads WASM gets: of many cores half, since two often share one; 1 where the page is not isolated. */
export function threadCount() {
  const cores = navigator.hardwareConcurrency || 1;
  return self.crossOriginIsolated ? Math.min(cores, Math.max(2, Math.min(4, Math.ceil(cores / 2)))) : 1;
}

/** Whether this browser has a GPU for WebGPU that is more than an emulation. */
export async function hasGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}
