/* The camera as a source of pictures. */

/** The camera; see `Source` in studio.js. */
export class Camera {
  live = true;
  name = "camera";
  fresh = false;
  #stopped = false;

  /**
   * Start the camera.
   * @param {"user" | "environment"} facing the front or the back camera
   * @param {() => void} onFrame called for each new frame
   * @param {() => void} onLost called when it is unplugged or taken away
   * @returns {Promise<Camera>} rejects as getUserMedia does
   */
  static async start(facing, onFrame, onLost) {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
    });
    const camera = new Camera(stream, facing, onFrame);
    stream.getVideoTracks()[0].addEventListener("ended", () => camera.#stopped || onLost());
    await camera.video.play();
    camera.#follow();
    return camera;
  }

  constructor(stream, facing, onFrame) {
    this.stream = stream;
    this.facing = facing;
    this.onFrame = onFrame;
    this.video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
    // what a front camera sees is shown as in a mirror; a camera of a desktop is one too
    const { facingMode } = stream.getVideoTracks()[0].getSettings();
    this.mirrored = (facingMode ?? facing) === "user";
  }

  get width() {
    return this.video.videoWidth;
  }

  get height() {
    return this.video.videoHeight;
  }

  /** Whether this device has a camera to turn to. */
  static async several() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter((device) => device.kind === "videoinput").length > 1;
  }

  async take() {
    this.fresh = false;
    return createImageBitmap(this.video);
  }

  stop() {
    this.#stopped = true;
    for (const track of this.stream.getTracks()) track.stop();
    this.video.srcObject = null;
  }

  #follow() {
    if (this.#stopped) return;
    const again = () => {
      this.fresh = true;
      this.onFrame();
      this.#follow();
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(again);
    else requestAnimationFrame(again);
  }
}

/** The key of words.js for why a camera could not be started. */
export function cameraProblem(error) {
  if (!navigator.mediaDevices || ["NotFoundError", "OverconstrainedError"].includes(error.name)) return "noCamera";
  return error.name === "NotAllowedError" ? "cameraDenied" : "cameraBusy";
}
