// The map's points in memory, and a uniform grid over them: what is near a place, what lies in a rectangle.

import { capital } from "./modalities.js";

/** Places run from 0 to here on both axes. */
export const SIDE = 65535;
const CELLS = 256;
const SHIFT = 8;
const SHEET = 1024;

/** @type {[string, any][]} as the service sends them */
const COLUMNS = [
  ["numbers", Uint32Array], ["x", Uint16Array], ["y", Uint16Array],
  ["modality", Uint8Array], ["cls", Uint8Array], ["cluster", Uint8Array],
];

/**
 * @typedef {object} Points
 * @property {number} version
 * @property {number} n
 * @property {number} total items of the index; more than `n` where a sample is shown
 * @property {string[]} modalities
 * @property {string[]} labels of the modalities, for people
 * @property {string[]} previews the modalities whose items have sprites
 * @property {string[]} classes
 * @property {{label: string, x: number, y: number}[]} clusters
 * @property {number} agreement
 * @property {number} sheets
 * @property {Uint32Array} numbers
 * @property {Uint16Array} x
 * @property {Uint16Array} y
 * @property {Uint8Array} modality
 * @property {Uint8Array} cls
 * @property {Uint8Array} cluster
 * @property {Int32Array} sprite place among the sprites, -1 for what has none
 * @property {(number: number) => number} rowOf -1 for what is not on the map
 * @property {(left: number, top: number, right: number, bottom: number, visit: (row: number) => void) => void} within
 * @property {(x: number, y: number, radius: number, shown: (row: number) => boolean) => number} nearest row or -1
 */

/** Bits of x and y in turn: near places get near keys, as on the server. */
function zOrder(x, y) {
  const spread = (value) => {
    let bits = value;
    bits = (bits | (bits << 8)) & 0x00ff00ff;
    bits = (bits | (bits << 4)) & 0x0f0f0f0f;
    bits = (bits | (bits << 2)) & 0x33333333;
    return (bits | (bits << 1)) & 0x55555555;
  };
  return ((spread(y) << 1) | spread(x)) >>> 0;
}

/** The first sheet holds the first previews in the order of rows, the others the rest in Z-order. */
function spritesOf({ n, x, y, modality, modalities, previews }) {
  const sprite = new Int32Array(n).fill(-1);
  const codes = new Set(previews.map((name) => modalities.indexOf(name)));
  let next = 0;
  const rest = [];
  for (let row = 0; row < n; row++) {
    if (!codes.has(modality[row])) continue;
    if (next < SHEET) sprite[row] = next++;
    else rest.push(row);
  }
  const keys = new Float64Array(rest.length); // key and place in one number, so that a plain sort is stable
  rest.forEach((row, at) => { keys[at] = zOrder(x[row], y[row]) * 1048576 + at; });
  keys.sort();
  for (const key of keys) sprite[rest[key % 1048576]] = next++;
  return sprite;
}

/** @param {any} points with columns @returns {Points} */
export function withGrid(points) {
  const { n, x, y, numbers } = points;
  const start = new Uint32Array(CELLS * CELLS + 1);
  const cellOf = (row) => ((y[row] >> SHIFT) * CELLS) + (x[row] >> SHIFT);
  for (let row = 0; row < n; row++) start[cellOf(row) + 1]++;
  for (let cell = 0; cell < CELLS * CELLS; cell++) start[cell + 1] += start[cell];
  const order = new Uint32Array(n);
  const fill = start.slice();
  for (let row = 0; row < n; row++) order[fill[cellOf(row)]++] = row;

  /** @type {Map<number, number>|null} */
  let rows = null;
  points.sprite = spritesOf(points);
  points.rowOf = (number) => {
    rows ??= new Map(Array.from(numbers, (value, row) => [value, row]));
    return rows.get(number) ?? -1;
  };
  const clamp = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value) >> SHIFT));
  points.within = (left, top, right, bottom, visit) => {
    for (let line = clamp(top); line <= clamp(bottom); line++) {
      const from = start[line * CELLS + clamp(left)];
      const until = start[line * CELLS + clamp(right) + 1];
      for (let at = from; at < until; at++) {
        const row = order[at];
        if (x[row] >= left && x[row] <= right && y[row] >= top && y[row] <= bottom) visit(row);
      }
    }
  };
  points.nearest = (atX, atY, radius, shown) => {
    let best = -1;
    let least = radius * radius;
    points.within(atX - radius, atY - radius, atX + radius, atY + radius, (row) => {
      const distance = (x[row] - atX) ** 2 + (y[row] - atY) ** 2;
      if (distance <= least && shown(row)) [best, least] = [row, distance];
    });
    return best;
  };
  return points;
}

/** @param {import("./app.js").App} app @returns {Promise<Points>} */
export async function fetchPoints(app) {
  const points = await app.api.columns("api/map", COLUMNS);
  points.labels = points.modalities.map((name) => capital(app.modalities.of(name).plural));
  return withGrid(points);
}
