// Mouse, pen, fingers, wheel and keys over the map.

import { isWriting } from "./dom.js";
import { modeOf, rectangle } from "./lasso.js";

const STILL = 4;
const TEST_MS = 50;
const STRIDE = 80;

/**
 * @param {HTMLElement} surface what takes the pointer and the focus
 * @param {import("./map_camera.js").Camera} camera
 * @param {{mode: () => string, setMode: (mode: string) => void, hover: (x: number, y: number) => void, leave: () => void,
 *     press: (x: number, y: number) => void, shape: (polygon: [number, number][]|null) => void,
 *     shaped: (polygon: [number, number][], mode: "new"|"add"|"remove") => void, escape: () => boolean, singleKeys: () => boolean}} does
 * @returns {{escape: (event: KeyboardEvent) => void}}
 */
export function listenToMap(surface, camera, does) {
  /** @type {Map<number, [number, number]>} */
  const fingers = new Map();
  /** @type {[number, number][]|null} */
  let shape = null;
  let [moved, tested, pinch] = [0, 0, 0];

  const at = (event) => {
    const box = surface.getBoundingClientRect();
    return /** @type {[number, number]} */ ([event.clientX - box.left, event.clientY - box.top]);
  };
  const toMap = ([x, y]) => /** @type {[number, number]} */ ([camera.fromX(x), camera.fromY(y)]);
  const corners = () => {
    const points = shape ?? [];
    return does.mode() === "rectangle" && points.length > 1 ? rectangle(points[0], points[points.length - 1]) : points;
  };
  const drop = () => {
    shape = null;
    does.shape(null);
  };
  const spread = () => {
    const [[ax, ay], [bx, by]] = [...fingers.values()];
    return { x: (ax + bx) / 2, y: (ay + by) / 2, apart: Math.hypot(ax - bx, ay - by) };
  };

  surface.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    surface.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    moved = 0;
    if (fingers.size === 2) {
      drop();
      pinch = spread().apart;
    } else if (fingers.size === 1 && (does.mode() !== "pan" || event.shiftKey)) shape = [at(event)];
  });

  surface.addEventListener("pointermove", (event) => {
    const now = at(event);
    const before = fingers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch" && event.timeStamp - tested >= TEST_MS) {
        tested = event.timeStamp;
        does.hover(...now);
      }
      return;
    }
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    moved += Math.hypot(dx, dy);
    if (fingers.size === 2) {
      const middle = spread();
      fingers.set(event.pointerId, now);
      const next = spread();
      camera.pan(next.x - middle.x, next.y - middle.y);
      if (pinch > 0) camera.zoomAt(next.apart / pinch, next.x, next.y);
      pinch = next.apart;
      return;
    }
    if (shape) {
      for (const part of event.getCoalescedEvents?.() ?? []) shape.push(at(part));
      shape.push(now);
      does.shape(corners());
    } else if (moved > STILL) {
      does.leave();
      surface.dataset.dragging = "";
      camera.pan(dx, dy);
    }
    if (shape || moved > STILL) fingers.set(event.pointerId, now);
  });

  const up = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    delete surface.dataset.dragging;
    if (shape && moved > STILL && event.type === "pointerup") {
      const polygon = corners().map(toMap);
      drop();
      does.shaped(polygon, modeOf(event));
    } else {
      if (shape) drop();
      if (moved <= STILL && event.type === "pointerup") does.press(...at(event));
    }
    moved = fingers.size ? STILL + 1 : 0;
  };
  surface.addEventListener("pointerup", up);
  surface.addEventListener("pointercancel", up);
  surface.addEventListener("pointerleave", () => does.leave());
  surface.addEventListener("dblclick", (event) => camera.zoomAt(2, ...at(event), true));
  surface.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 24 : event.deltaMode === 2 ? 400 : 1);
    camera.zoomAt(2 ** (-Math.max(-240, Math.min(240, pixels)) / (event.ctrlKey ? 90 : 240)), ...at(event));
  }, { passive: false });

  const middle = /** @returns {[number, number]} */ () => [camera.width / 2, camera.height / 2];
  const keys = {
    ArrowLeft: () => camera.pan(STRIDE, 0), ArrowRight: () => camera.pan(-STRIDE, 0),
    ArrowUp: () => camera.pan(0, STRIDE), ArrowDown: () => camera.pan(0, -STRIDE),
  };
  const letters = {
    "+": () => camera.zoomAt(1.5, ...middle(), true), "=": () => camera.zoomAt(1.5, ...middle(), true),
    "-": () => camera.zoomAt(1 / 1.5, ...middle(), true), 0: () => camera.fit(),
    l: () => does.setMode(does.mode() === "lasso" ? "pan" : "lasso"),
  };
  surface.parentElement?.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target)) return;
    const run = keys[event.key] ?? (does.singleKeys() ? letters[event.key] : undefined);
    if (!run) return;
    event.preventDefault();
    run();
  });

  return {
    /** First the drag, then the selection; what is left is the page's. */
    escape(event) {
      if (event.key !== "Escape" || document.querySelector("dialog[open], :popover-open")) return;
      if (shape) drop();
      else if (!does.escape()) return;
      event.preventDefault();
      event.stopPropagation();
    },
  };
}
