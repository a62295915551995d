// Filling an area of one colour, as a paint bucket does.

/** Difference of a channel up to which a pixel belongs to the area: lines have soft edges, which are filled too. */
const TOLERANCE = 96;

/**
 * Give an area that is of one colour another; what borders on it stays.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number]} place in pixels of the canvas
 * @param {string} colour "#rrggbb"
 */
export function fill(context, [atX, atY], colour) {
  const { width, height } = context.canvas;
  const image = context.getImageData(0, 0, width, height);
  const pixels = image.data;
  const start = (Math.min(height - 1, Math.max(0, Math.floor(atY))) * width + Math.min(width - 1, Math.max(0, Math.floor(atX))));
  const before = pixels.slice(4 * start, 4 * start + 3);
  const after = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const done = new Uint8Array(width * height);
  const alike = (at) => !done[at] && before.every((value, part) => Math.abs(pixels[4 * at + part] - value) <= TOLERANCE);
  const waiting = [start];
  while (waiting.length) {
    const from = /** @type {number} */ (waiting.pop());
    if (!alike(from)) continue;
    const line = from - (from % width);
    let [left, right] = [from, from];
    while (left > line && alike(left - 1)) left -= 1;
    while (right < line + width - 1 && alike(right + 1)) right += 1;
    for (let at = left; at <= right; at += 1) {
      done[at] = 1;
      if (at >= width && alike(at - width)) waiting.push(at - width);
      if (at < width * (height - 1) && alike(at + width)) waiting.push(at + width);
    }
  }
  done.forEach((inside, at) => inside && pixels.set(after, 4 * at));
  context.putImageData(image, 0, 0);
}
