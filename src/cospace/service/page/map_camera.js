// What part of the map is seen: from places on the map to pixels and back, and how that changes.

import { SIDE } from "./map_data.js";

const MOST_ZOOM = 64;
/** Items in view below which nothing is enlarged any further. */
const FEWEST = 5;
/** Room around the map in pixels. */
const PAD = 28;
const GLIDE_MS = 260;

/**
 * @typedef {ReturnType<typeof createCamera>} Camera
 * @param {() => void} changed called after every change
 * @param {() => boolean} still whether motion is unwanted
 * @param {(left: number, top: number, right: number, bottom: number, enough: number) => boolean} holds whether so many
 *     items that are shown lie in a part of the map
 */
export function createCamera(changed, still, holds) {
  let [width, height, foot, side, fitted, frame] = [1, 1, 0, 0, 1, 0];
  let bounds = [0, 0, SIDE, SIDE];
  const camera = {
    x: SIDE / 2, y: SIDE / 2,
    /** pixels a unit of the map */
    scale: 1,
    /** pixels of the stage */
    get width() { return width; },
    get height() { return height; },
    /** how much larger than when all is seen */
    get zoom() { return camera.scale / fitted; },
    toX: (x) => (x - camera.x) * camera.scale + width / 2,
    toY: (y) => (y - camera.y) * camera.scale + height / 2,
    fromX: (x) => (x - width / 2) / camera.scale + camera.x,
    fromY: (y) => (y - height / 2) / camera.scale + camera.y,
    /** left, top, right, bottom of what is seen, in units of the map, with a margin in pixels */
    seen: (margin = 0) => [camera.fromX(-margin), camera.fromY(-margin), camera.fromX(width + margin), camera.fromY(height + margin)],
    /** The same without what is covered at the foot. */
    clear: () => [camera.fromX(0), camera.fromY(0), camera.fromX(width), camera.fromY(height - foot)],
    /**
     * @param {number[]} box of the points, in units of the map
     * @param {number} newFoot pixels that are covered at the foot @param {number} newSide and at the right
     */
    resize(newWidth, newHeight, box, newFoot, newSide = 0) {
      const whole = camera.zoom < 1.01 || fitted === 1;
      [width, height, bounds, foot, side] = [Math.max(1, newWidth), Math.max(1, newHeight), box, newFoot, newSide];
      const [left, top, right, bottom] = bounds;
      const roomX = Math.max(40, width - 2 * PAD - side);
      const roomY = Math.max(40, height - 2 * PAD - foot);
      fitted = Math.min(roomX / Math.max(right - left, 1), roomY / Math.max(bottom - top, 1));
      if (whole) camera.fit(true);
      else set(camera.x, camera.y, camera.scale);
    },
    pan: (dx, dy) => (stop(), set(camera.x - dx / camera.scale, camera.y - dy / camera.scale, camera.scale)),
    /** Zoom, keeping what lies under a pixel there. */
    zoomAt(factor, px, py, glide = false) {
      const [overX, overY] = [camera.fromX(px), camera.fromY(py)];
      const middle = (scale) => [overX - (px - width / 2) / scale, overY - (py - height / 2) / scale];
      const scale = peopled(camera.scale * factor, middle);
      const [x, y] = middle(scale);
      return glide ? fly(x, y, scale) : (stop(), set(x, y, scale));
    },
    /** Bring a place to the middle, at least so large. */
    goTo: (x, y, zoom) => fly(x, y, peopled(Math.max(camera.scale, fitted * zoom), () => [x, y])),
    fit(now = false) {
      const [left, top, right, bottom] = bounds;
      const [x, y] = [(left + right) / 2 + side / 2 / fitted, (top + bottom) / 2 + foot / 2 / fitted];
      return now ? (stop(), set(x, y, fitted)) : fly(x, y, fitted);
    },
  };

  const limited = (scale) => Math.min(fitted * MOST_ZOOM, Math.max(fitted * 0.8, scale));
  const stop = () => cancelAnimationFrame(frame);

  /** The scale that is wanted or, where too few items would be left in view, the largest that leaves enough. */
  function peopled(scale, middle) {
    const wanted = limited(scale);
    const enough = (at) => {
      const [x, y] = middle(at);
      return holds(x - width / 2 / at, y - height / 2 / at, x + width / 2 / at, y + (height / 2 - foot) / at, FEWEST);
    };
    let [low, high] = [Math.min(wanted, camera.scale), wanted];
    if (high <= low || enough(high)) return wanted;
    for (let step = 0; step < 12; step++) {
      const between = Math.sqrt(low * high);
      if (enough(between)) low = between;
      else high = between;
    }
    return low;
  }

  /** The middle stays over the map, so that nobody gets lost beside it. */
  function set(x, y, scale) {
    camera.scale = limited(scale);
    camera.x = Math.min(bounds[2], Math.max(bounds[0], x));
    camera.y = Math.min(bounds[3], Math.max(bounds[1], y));
    changed();
  }

  function fly(x, y, scale) {
    stop();
    if (still()) return set(x, y, scale);
    const from = [camera.x, camera.y, Math.log(camera.scale)];
    const to = [x, y, Math.log(scale)];
    const started = performance.now();
    const step = (now) => {
      const t = Math.min(1, Math.max(0, (now - started) / GLIDE_MS));
      const eased = 1 - (1 - t) ** 3;
      const [nowX, nowY, log] = from.map((value, at) => value + (to[at] - value) * eased);
      set(nowX, nowY, Math.exp(log));
      if (t < 1) frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
  }
  return camera;
}
