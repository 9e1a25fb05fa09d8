/* The service worker, and through it a cross-origin isolated page: without that, WASM has one thread. */

const TRIED = "onestroke-isolation-tried";

/**
 * Register the service worker; where the server doesn't send the isolation headers, load the page again through it.
 * @returns {Promise<void>} never resolves when the page is about to be loaded again
 */
export async function isolate() {
  if (!("serviceWorker" in navigator)) return;
  try {
    const registration = await navigator.serviceWorker.register("service-worker.js");
    if (self.crossOriginIsolated) {
      sessionStorage.removeItem(TRIED);
      return;
    }
    // once, since a browser may refuse to isolate the page all the same
    if (sessionStorage.getItem(TRIED)) return;
    await active(registration);
    sessionStorage.setItem(TRIED, "yes");
  } catch {
    return; // private windows and plain http: without threads, and not offline
  }
  location.reload();
  await new Promise(() => {});
}

/** Until the service worker answers requests; rejects if it can't be installed. */
async function active(registration) {
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  await new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "activated") resolve(undefined);
      if (worker.state === "redundant") reject(new Error("not installed"));
    };
    worker.addEventListener("statechange", look);
    look();
  });
}
