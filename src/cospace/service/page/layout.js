// Justified rows: tiles of known shape fill the width, row after row, in reading order.

const NARROWEST = 0.45;
const WIDEST = 3.2;

/** The shape a tile is given: width over height; words have the shape of a card. */
export const shapeOf = (width, height) =>
  width && height ? Math.min(WIDEST, Math.max(NARROWEST, width / height)) : 1.6;

/**
 * @typedef {object} Layout
 * @property {number} rows
 * @property {Uint32Array} starts first index of each row, and at last the number of tiles
 * @property {Float32Array} tops of each row, and at last the height of all
 * @property {Float32Array} heights whole pixels, so that previews stay sharp
 * @property {Float32Array} scales width of a tile over its shape: the height before rounding
 * @property {number} divider top of the gap before `weakFrom`, -1 where there is none
 */

/**
 * Greedy rows, each as near to the wanted height as its width allows; the last of a stretch is not enlarged.
 *
 * @param {ArrayLike<number>} shapes width over height of each tile
 * @param {object} room
 * @param {number} room.width
 * @param {number} room.height wanted height of a row
 * @param {number} room.gap
 * @param {number} room.weakFrom the tile that starts a new stretch below a divider; 0 or all: none
 * @param {number} room.dividerHeight
 * @returns {Layout}
 */
export function justify(shapes, { width, height, gap, weakFrom, dividerHeight }) {
  const starts = [];
  const tops = [];
  const heights = [];
  const scales = [];
  let top = 0;
  let divider = -1;

  const close = (from, to, sum, full) => {
    const fitting = (width - gap * (to - from - 1)) / sum;
    const scale = full ? fitting : Math.min(fitting, height);
    starts.push(from);
    tops.push(top);
    scales.push(scale);
    heights.push(Math.round(scale));
    top += Math.round(scale) + gap;
  };

  const stretch = (from, to) => {
    let start = from;
    let sum = 0;
    for (let at = from; at < to; at += 1) {
      const before = sum;
      sum += shapes[at];
      const natural = sum * height + gap * (at - start);
      if (natural < width) continue;
      const closer = at > start && natural - width > width - (before * height + gap * (at - start - 1));
      if (closer) {
        close(start, at, before, true);
        start = at;
        sum = shapes[at];
        if (sum * height < width) continue;
      }
      close(start, at + 1, sum, true);
      start = at + 1;
      sum = 0;
    }
    if (start < to) close(start, to, sum, false);
  };

  const total = shapes.length;
  const cut = weakFrom > 0 && weakFrom < total;
  stretch(0, cut ? weakFrom : total);
  if (cut) {
    divider = top;
    top += dividerHeight;
    stretch(weakFrom, total);
  }
  return {
    rows: starts.length,
    starts: Uint32Array.from([...starts, total]),
    tops: Float32Array.from([...tops, Math.max(0, top - gap)]),
    heights: Float32Array.from(heights),
    scales: Float32Array.from(scales),
    divider,
  };
}

/** Largest position in `sorted[0, end)` whose value is not above `value`; 0 if there is none. */
export function lastNotAbove(sorted, end, value) {
  let low = 0;
  let high = end;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
