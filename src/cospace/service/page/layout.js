// Justified rows: tiles of known shape fill the width, row after row, in reading order.

const NARROWEST = 0.45;
const WIDEST = 3.2;

/** The shape a tile is given: width over height; words have the shape of a card. */
export const shapeOf = (width, height) =>
  width && height ? Math.min(WIDEST, Math.max(NARROWEST, width / height)) : 1.6;

/**
 * @typedef {object} Section a stretch of tiles with rows of its own
 * @property {number} from its first tile
 * @property {number} height wanted height of its rows
 * @property {number} space above it, for a divider
 *
 * @typedef {object} Layout
 * @property {number} rows
 * @property {Uint32Array} starts first index of each row, and at last the number of tiles
 * @property {Float32Array} tops of each row, and at last the height of all
 * @property {Float32Array} heights whole pixels, so that previews stay sharp
 * @property {Float32Array} scales width of a tile over its shape: the height of its preview before rounding
 * @property {number[]} dividers top of the space above each section
 */

/**
 * Greedy rows, each as near to the wanted height as its width allows; the last of a section is not enlarged.
 *
 * @param {ArrayLike<number>} shapes width over height of each tile
 * @param {object} room
 * @param {number} room.width
 * @param {number} room.gap
 * @param {number} room.below height of the words under each preview
 * @param {Section[]} room.sections in order, the first from 0 on
 * @returns {Layout}
 */
export function justify(shapes, { width, gap, below, sections }) {
  const starts = [];
  const tops = [];
  const heights = [];
  const scales = [];
  let top = 0;

  const close = (from, to, sum, height) => {
    const fitting = (width - gap * (to - from - 1)) / sum;
    const scale = Math.min(fitting, height);
    starts.push(from);
    tops.push(top);
    scales.push(scale);
    heights.push(Math.round(scale) + below);
    top += Math.round(scale) + below + gap;
  };

  const stretch = (from, to, height) => {
    let start = from;
    let sum = 0;
    for (let at = from; at < to; at += 1) {
      const before = sum;
      sum += shapes[at];
      const natural = sum * height + gap * (at - start);
      if (natural < width) continue;
      const closer = at > start && natural - width > width - (before * height + gap * (at - start - 1));
      if (closer) {
        close(start, at, before, Infinity);
        start = at;
        sum = shapes[at];
        if (sum * height < width) continue;
      }
      close(start, at + 1, sum, Infinity);
      start = at + 1;
      sum = 0;
    }
    if (start < to) close(start, to, sum, height);
  };

  const total = shapes.length;
  const dividers = sections.map(({ from, height, space }, at) => {
    const divider = top;
    top += space;
    stretch(from, sections[at + 1]?.from ?? total, height);
    return divider;
  });
  return {
    rows: starts.length,
    starts: Uint32Array.from([...starts, total]),
    tops: Float32Array.from([...tops, Math.max(0, top - gap)]),
    heights: Float32Array.from(heights),
    scales: Float32Array.from(scales),
    dividers,
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
