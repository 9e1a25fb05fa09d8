/* Pointer and touch over a part of a page. */

const FINGERS = 5; // that are 1

/** Where in a box an event is, from its left and its top, each in [0, 1]. */
export function placeIn(event, box) {
  const inside = (value) => Math.max(0, Math.min(1, value));
  return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
}

/**
 * Measure pointer and touch.
 * @param {HTMLElement} area
 * @param {(values: Object<string, number>) => void} moved told of pointer.x, .y, .down and touch.count, in [0, 1]
 */
export function watchPointer(area, moved) {
  const touches = new Set();
  const point = (event) => {
    if (event.type === "pointerdown") touches.add(event.pointerId);
    else if (event.type !== "pointermove") touches.delete(event.pointerId);
    const [x, y] = placeIn(event, area.getBoundingClientRect());
    const [down, count] = [touches.size ? 1 : 0, Math.min(1, touches.size / FINGERS)];
    moved({ "pointer.x": x, "pointer.y": y, "pointer.down": down, "touch.count": count });
  };
  for (const type of ["down", "move", "up", "cancel", "leave"]) area.addEventListener(`pointer${type}`, point);
}
