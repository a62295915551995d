// What colour each point has: by modality, class, region or score; and the legend's entries for it.

import { el } from "./dom.js";

/** Okabe & Ito's palette, which people with colour-blindness distinguish; the last is for all others. */
const PALETTES = {
  light: ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b5a200", "#3d3d3d", "#882255", "#44aa99", "#a6a6a6"],
  dark: ["#56b4e9", "#f0a93b", "#2ecc9a", "#ef7d3c", "#e39ac4", "#8fb8ff", "#f0e442", "#f2f2f2", "#c86a94", "#7fd6c8", "#757575"],
};
const OTHER = 10;
/** From the weakest score to the best; dark and light ends chosen for each ground. */
const RAMPS = {
  light: [[224, 205, 150], [221, 141, 60], [178, 24, 70], [88, 6, 92]],
  dark: [[86, 52, 110], [178, 55, 100], [243, 132, 60], [252, 240, 160]],
};

/** @typedef {"cluster"|"modality"|"class"|"score"} By */
/** @typedef {{key: number, label: string, colour: string, count: number}} Entry */

const bytes = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** The page's colours, for canvases. @param {HTMLElement} root */
export function readColours(root) {
  const solid = (name) => {
    const node = el("i");
    node.style.color = `var(${name})`;
    root.append(node);
    const value = getComputedStyle(node).color;
    node.remove();
    return value;
  };
  const faded = (colour, share) => colour.replace(/^rgb\((.*)\)$/, (_, parts) => `rgba(${parts}, ${share})`);
  const [ground, accent] = [solid("--ground"), solid("--accent")];
  const [red, green, blue] = ground.match(/\d+/g)?.map(Number) ?? [255, 255, 255];
  return {
    dark: red + green + blue < 380, accent, edge: solid("--surface"), line: solid("--line"), text: solid("--text"),
    plate: faded(ground, 0.88), wash: faded(accent, 0.12),
  };
}

/** A colour of the ramp. @param {number} share from 0 to 1 @returns {number[]} */
export function ramp(share, dark) {
  const stops = RAMPS[dark ? "dark" : "light"];
  const at = Math.min(0.9999, Math.max(0, share)) * (stops.length - 1);
  const [from, to] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  return from.map((value, part) => Math.round(value + (to[part] - value) * (at % 1)));
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

const GRID = 48;

/** Regions that touch: wherever on the map, the two whose middles are nearest. @returns {Set<number>[]} */
export function neighboursOf(clusters) {
  const touching = clusters.map(() => new Set());
  const [xs, ys] = [clusters.map(({ x }) => x), clusters.map(({ y }) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const far = clusters.map(() => Infinity);
  for (let line = 0; line <= GRID; line++) {
    for (let column = 0; column <= GRID; column++) {
      const [x, y] = [left + ((right - left) * column) / GRID, top + ((bottom - top) * line) / GRID];
      clusters.forEach((cluster, at) => { far[at] = (cluster.x - x) ** 2 + (cluster.y - y) ** 2; });
      let [first, second] = [-1, -1];
      far.forEach((distance, at) => {
        if (first < 0 || distance < far[first]) [first, second] = [at, first];
        else if (second < 0 || distance < far[second]) second = at;
      });
      if (second < 0) continue;
      touching[first].add(second);
      touching[second].add(first);
    }
  }
  return touching;
}

/** A colour for each region, as for countries: none that a neighbour has, and of those the one that is used least. */
export function regionColours(clusters) {
  const touching = neighboursOf(clusters);
  const result = clusters.map(() => -1);
  const order = clusters.map((_, at) => at).sort((a, b) => touching[b].size - touching[a].size);
  for (const at of order) {
    const near = new Set([...touching[at]].map((other) => result[other]));
    const uses = Array.from({ length: OTHER }, (_, colour) => (near.has(colour) ? 1000 : 0) + result.filter((used) => used === colour).length);
    result[at] = uses.indexOf(Math.min(...uses));
  }
  return result;
}

/** The key of each row, and what the keys mean. @param {import("./map_data.js").Points} points @param {By} by */
function keysOf(points, by) {
  if (by === "class") return { keys: points.cls.map((code) => Math.min(code, OTHER)), names: points.classes.slice(0, OTHER), places: null };
  if (by === "cluster") {
    const names = points.clusters.map(({ label }) => label || "without a name");
    return { keys: points.cluster, names, places: regionColours(points.clusters) };
  }
  return { keys: points.modality, names: points.labels, places: null };
}

/**
 * @param {import("./map_data.js").Points} points
 * @param {By} by
 * @param {boolean} dark
 * @returns {{keys: Uint8Array, entries: Entry[]}} the key of every row, and the legend
 */
export function legendOf(points, by, dark) {
  const { keys, names, places } = keysOf(points, by);
  const palette = PALETTES[dark ? "dark" : "light"];
  const counts = new Uint32Array(256);
  for (const key of keys) counts[key]++;
  const entries = names.map((label, key) => ({ key, label, colour: palette[(places ? places[key] : key) % OTHER], count: counts[key] }));
  if (by === "class" && counts[OTHER]) entries.push({ key: OTHER, label: "other", colour: palette[OTHER], count: counts[OTHER] });
  const there = entries.filter(({ count }) => count);
  if (by === "cluster") there.sort((a, b) => Number(!points.clusters[a.key].label) - Number(!points.clusters[b.key].label) || b.count - a.count);
  return { keys, entries: there };
}

/**
 * Four bytes for each point.
 *
 * @param {import("./map_data.js").Points} points
 * @param {{keys: Uint8Array, entries: Entry[], shown: (row: number) => boolean, chosen: Set<number>, scores: Map<number, number>|null, dark: boolean}} style
 *     `scores` from 0 to 1 by row where points are coloured by score; `chosen` rows stand out of a grey crowd
 */
export function coloursOf(points, { keys, entries, shown, chosen, scores, dark }) {
  const result = new Uint8Array(4 * points.n);
  const table = new Uint8Array(256 * 4);
  for (const { key, colour } of entries) table.set([...bytes(colour), 255], 4 * key);
  const faint = dark ? [150, 150, 150, 60] : [110, 110, 110, 52];
  for (let row = 0; row < points.n; row++) {
    const key = keys[row];
    if (!table[4 * key + 3] || !shown(row)) continue;
    if (chosen.size ? !chosen.has(row) : scores && !scores.has(row)) result.set(faint, 4 * row);
    else if (scores?.has(row)) result.set([...ramp(/** @type {number} */ (scores.get(row)), dark), 255], 4 * row);
    else for (let part = 0; part < 4; part++) result[4 * row + part] = table[4 * key + part];
  }
  return result;
}
