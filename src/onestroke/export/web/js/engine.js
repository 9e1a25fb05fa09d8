/* The graph in ONNX Runtime, by WASM or WebGPU: pixels in, pixels out. Runs in the worker. */

const RUNTIMES = {
  wasm: ["ort.wasm.min.js", "ort-wasm-simd-threaded"],
  webgpu: ["ort.webgpu.min.js", "ort-wasm-simd-threaded.asyncify"],
};

/** A graph that is ready to paint. */
export class Engine {
  /**
   * @param {"wasm" | "webgpu"} backend
   * @param {number} threads of WASM; more than 1 needs a cross-origin isolated page
   * @param {string} model address of the ONNX file
   * @returns {Promise<Engine>}
   */
  static async open(backend, threads, model) {
    const [script, binary] = RUNTIMES[backend];
    const at = (name) => new URL(`../runtime/${name}`, import.meta.url).href;
    const ort = await import(at(script));
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = { mjs: at(`${binary}.js`), wasm: at(`${binary}.wasm`) };
    const answer = await fetch(model);
    if (!answer.ok) throw new Error(`${model}: ${answer.status}`);
    const session = await ort.InferenceSession.create(await answer.arrayBuffer(), { executionProviders: [backend] });
    return new Engine(ort, session);
  }

  constructor(ort, session) {
    this.ort = ort;
    this.session = session;
  }

  /**
   * Paint a picture.
   * @param {Uint8Array} rgb height x width x 3
   * @param {number} width
   * @param {number} height
   * @param {{rows: Float32Array, fade: Float32Array} | null} inputs of the controls; null for a graph without any
   * @returns {Promise<Uint8Array>} height x width x 3
   */
  async paint(rgb, width, height, inputs) {
    const feeds = { image: new this.ort.Tensor("uint8", rgb, [1, height, width, 3]) };
    if (inputs) {
      feeds.rows = new this.ort.Tensor("float32", inputs.rows, [1, inputs.rows.length]);
      feeds.fade = new this.ort.Tensor("float32", inputs.fade, [1]);
    }
    const { painting } = await this.session.run(feeds);
    const painted = /** @type {Uint8Array} */ (await painting.getData());
    painting.dispose();
    return painted;
  }
}
