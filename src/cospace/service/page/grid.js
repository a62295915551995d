// The results as a grid of which only the part in view exists: at most 200 tiles, however many results there are.

import { createTile, assignTile, dropPreview, fillTile } from "./tile.js";
import { byId, count as counted, el } from "./dom.js";
import { justify, lastNotAbove, shapeOf } from "./layout.js";
import { listenInGrid } from "./grid_keys.js";
import { createTileTools } from "./tile_tools.js";

const MOST_TILES = 190;
const GAP = 4;
const DIVIDER = 44;
const REST = 0.7; // height of the rows of the rest, to that of the others
const ENLARGED = 1.4; // what small previews are; filling a row may add a little
const CAPTION = 24; // below a tile, where there is no pointer to hover with
const FAST = 4; // viewports per second above which previews are not asked for
const CALM_MS = 80;
const PLACE_MS = 200;

/**
 * @typedef {object} Source what the grid shows, in columns
 * @property {ArrayLike<number>} numbers
 * @property {ArrayLike<number>} [widths] without them all tiles are square
 * @property {ArrayLike<number>} [heights]
 * @property {ArrayLike<number>} [rgb]
 * @property {ArrayLike<number>} [percents] 255 where there is none
 * @property {number} [strong] so many of the first match strongly
 * @property {number} [likely] so many are likely or better
 * @property {number} [maybe] so many may fit or are better
 * @property {{from: number, words: string, rest?: boolean}[]} [dividers] what stands above the tiles from there on
 * @property {Map<number, number[]>} [behind] what shows the same as a number
 * @property {number} [total] how many there were to choose from
 *
 * @typedef {{index: number, offset: number, active?: number}} Place a tile, how far below the upper edge its row is, and the
 *     tile that the keys move from, if it is another
 */

/** @type {Source} */
const NOTHING = { numbers: [] };
/** Height of a row of texts. */
const LINE = 84;
/** The median of some heights. */
const usual = (heights) => Float32Array.from(heights).sort()[heights.length >> 1];

/**
 * @param {import("./app.js").App & Record<string, any>} app
 * @param {HTMLElement} scroller
 * @param {HTMLElement} canvas
 */
export function createGrid(app, scroller, canvas) {
  const dividers = el("div", { class: "dividers" });
  canvas.after(dividers);
  const captioned = matchMedia("(hover: none)");
  /** @type {Map<number, {node: HTMLElement, tiles: import("./tile.js").Tile[]}>} */
  const rows = new Map();
  /** @type {import("./tile.js").Tile[]} */
  const spare = [];
  /** @type {Set<number>} */
  const picked = new Set();
  let source = NOTHING;
  let shapes = new Float32Array(0);
  let layout = justify([], { width: 1, gap: GAP, below: 0, sections: [] });
  let width = 0;
  let words = false; // nothing but texts
  let natural = 0; // usual height of the previews, in pixels; 0 where it is not known
  let active = 0;
  let opened = -1; // number of the item in the inspector
  let painted = 0; // grows with every source, so that late fillings know that they are late
  let last = { top: 0, time: 0 };
  let calm = 0;
  let settled = 0;

  const count = () => source.numbers.length;
  const rowOf = (index) => lastNotAbove(layout.starts, layout.rows, index);
  const above = () => scroller.scrollTop - canvas.offsetTop;
  const hasFocus = () => canvas.contains(document.activeElement);

  /** Rows in view, and around them as many as tiles are allowed: more below than above. */
  function span() {
    const top = above();
    const view = scroller.clientHeight;
    const first = lastNotAbove(layout.tops, layout.rows, top);
    const end = lastNotAbove(layout.tops, layout.rows, top + view);
    let [from, to] = [first, end];
    const fits = (a, b) => layout.starts[b + 1] - layout.starts[a] <= MOST_TILES;
    while (to + 1 < layout.rows && layout.tops[to + 1] < top + 2.5 * view && fits(from, to + 1)) to += 1;
    while (from > 0 && layout.tops[from] > top - view && fits(from - 1, to)) from -= 1;
    return { first, end, from, to };
  }

  function dropRow(row, { node, tiles }) {
    for (const tile of tiles) {
      dropPreview(tile);
      tile.number = -1;
      spare.push(tile);
    }
    node.remove();
    rows.delete(row);
  }

  function addRow(row) {
    const [from, to] = [layout.starts[row], layout.starts[row + 1]];
    const tiles = [];
    for (let index = from; index < to; index += 1) {
      const tile = spare.pop() ?? createTile();
      assignTile(tile, index, source);
      tile.cell.style.width = `${shapes[index] * layout.scales[row]}px`;
      tile.cell.setAttribute("aria-colindex", String(index - from + 1));
      tile.cell.setAttribute("aria-selected", String(picked.has(tile.number)));
      tile.cell.classList.toggle("open", tile.number === opened);
      tile.cell.tabIndex = index === active ? 0 : -1;
      tiles.push(tile);
    }
    const node = el("div", { class: "row", role: "row", "aria-rowindex": row + 1 }, ...tiles.map((tile) => tile.cell));
    node.style.transform = `translateY(${layout.tops[row]}px)`;
    node.style.height = `${layout.heights[row]}px`;
    const after = [...rows].filter(([other]) => other > row).sort(([a], [b]) => a - b)[0];
    canvas.insertBefore(node, after ? after[1].node : null);
    rows.set(row, { node, tiles });
  }

  const alive = () => [...rows.values()].flatMap(({ tiles }) => tiles);

  /** Ask for what the tiles alive still lack; resolves when the first row in view can be seen. */
  async function fill() {
    const mine = painted;
    const { first, end } = span();
    const tiles = alive();
    await app.items.want(tiles.map((tile) => tile.number));
    if (mine !== painted) return;
    const urgent = (tile) => tile.index >= layout.starts[first] && tile.index < layout.starts[end + 1];
    const filling = alive().map((tile) => {
      const item = app.items.known(tile.number);
      const row = rowOf(tile.index);
      const pixels = layout.scales[row] * Math.max(1, shapes[tile.index]);
      const done = item && fillTile(tile, item, { pixels, urgent: urgent(tile) }, app);
      return row === first ? done : null;
    });
    await Promise.all(filling);
  }

  const fillQuietly = () => fill().catch((error) => app.notices.problem(error, fillQuietly));

  /** Make the rows that should be there, and only those; the row with the focus always stays. */
  function draw() {
    if (!count()) return;
    const { from, to } = span();
    const pinned = hasFocus() ? rowOf(active) : -1;
    for (const [row, made] of rows) {
      if ((row < from || row > to) && row !== pinned) dropRow(row, made);
    }
    for (let row = from; row <= to; row += 1) if (!rows.has(row)) addRow(row);
  }

  function clearRows() {
    for (const [row, made] of rows) dropRow(row, made);
  }

  /** Wanted height of a row: small pictures are enlarged a little and no more. */
  function tallness() {
    if (words) return LINE;
    const most = width < 560 ? 112 : 180;
    return natural ? Math.min(most, Math.max(64, ENLARGED * natural)) : most;
  }

  /** Rows for the width there is now. */
  function measure() {
    width = canvas.clientWidth;
    if (words) shapes.fill((width < 1100 ? width : (width - GAP) / 2) / LINE);
    const below = captioned.matches && !words ? CAPTION : 0;
    canvas.classList.toggle("captioned", below > 0);
    canvas.classList.toggle("listed", words);
    const cuts = source.dividers ?? [];
    const sections = [{ from: 0, height: tallness(), space: 0 }, ...cuts.map(({ from, rest }) =>
      ({ from, height: tallness() * (rest && !words ? REST : 1), space: from ? DIVIDER : 0 }))];
    layout = justify(shapes, { width, gap: GAP, below, sections });
    canvas.style.height = `${layout.tops[layout.rows]}px`;
    canvas.setAttribute("aria-rowcount", String(layout.rows));
    dividers.replaceChildren(...cuts.filter(({ from }) => from).map(({ words: says }) => el("p", { class: "divider" }, el("span", {}, says))));
    [...dividers.children].forEach((node, at) => {
      node.style.transform = `translateY(${canvas.offsetTop + layout.dividers[at + 1]}px)`;
    });
  }

  /** @returns {Place} */
  function firstVisible() {
    if (!count()) return { index: 0, offset: 0 };
    const row = Math.min(layout.rows - 1, lastNotAbove(layout.tops, layout.rows, Math.max(0, above())));
    return { index: layout.starts[row], offset: layout.tops[row] - above() };
  }

  /** @param {Place} place */
  const scrollTo = ({ index, offset }) =>
    scroller.scrollTo({ top: canvas.offsetTop + layout.tops[rowOf(index)] - offset, behavior: "instant" });

  /** The same tiles in another width: what was in view stays where it was. */
  function relayout() {
    if (!count() || canvas.clientWidth === width || !canvas.clientWidth) return;
    const row = rowOf(active);
    const offset = layout.tops[row] - above();
    const near = offset > -layout.heights[row] && offset < scroller.clientHeight;
    const kept = near && above() > 0 ? { index: active, offset } : firstVisible();
    const focused = hasFocus();
    clearRows();
    measure();
    scrollTo(kept);
    draw();
    if (focused) focus(active);
    fillQuietly();
  }

  /** @param {number} index @param {boolean} [visibly] scroll so that it can be seen */
  function focus(index = active, visibly = true) {
    if (!count()) return false;
    active = Math.max(0, Math.min(index, count() - 1));
    const row = rowOf(active);
    if (visibly) {
      const [top, bottom] = [layout.tops[row], layout.tops[row] + layout.heights[row]];
      const start = row === 0 ? -canvas.offsetTop : top - GAP - 2;
      if (start < above()) scroller.scrollTop = canvas.offsetTop + start;
      else if (bottom + GAP > above() + scroller.clientHeight) {
        scroller.scrollTop = canvas.offsetTop + bottom + GAP + 2 - scroller.clientHeight;
      }
    }
    draw();
    for (const tile of alive()) tile.cell.tabIndex = tile.index === active ? 0 : -1;
    const made = rows.get(row) ?? (addRow(row), rows.get(row));
    made?.tiles[active - layout.starts[row]].cell.focus({ preventScroll: true });
    fillQuietly();
    return true;
  }

  function pick(index) {
    const item = source.numbers[index];
    if (!picked.delete(item)) picked.add(item);
    for (const tile of alive()) tile.cell.setAttribute("aria-selected", String(picked.has(tile.number)));
    app.pickedChanged?.([...picked]);
  }

  function scrolled() {
    const now = performance.now();
    const speed = Math.abs(scroller.scrollTop - last.top) / scroller.clientHeight / Math.max(1, now - last.time) * 1000;
    last = { top: scroller.scrollTop, time: now };
    draw();
    clearTimeout(calm);
    calm = setTimeout(fillQuietly, speed > FAST ? CALM_MS : 0);
    clearTimeout(settled);
    settled = setTimeout(app.savePlace, PLACE_MS);
    grid.onscroll?.(firstVisible().index);
  }

  scroller.addEventListener("scroll", scrolled, { passive: true });
  new ResizeObserver(relayout).observe(canvas);
  new ResizeObserver(() => { draw(); fillQuietly(); }).observe(scroller);

  const grid = {
    /** @type {((index: number) => void)|null} */
    onscroll: null,
    count,
    source: () => source,
    layout: () => layout,
    active: () => active,
    rowOf,
    /** Where the middle of a tile is, in pixels from the left. @param {number} index */
    middle(index) {
      const row = rowOf(index);
      let left = 0;
      for (let at = layout.starts[row]; at < index; at += 1) left += shapes[at] * layout.scales[row] + GAP;
      return left + (shapes[index] * layout.scales[row]) / 2;
    },
    focus,
    hasFocus,
    pick,
    picked: () => [...picked],
    unpick() {
      picked.clear();
      for (const tile of alive()) tile.cell.setAttribute("aria-selected", "false");
      app.pickedChanged?.([]);
    },
    /** Mark the tile that the inspector shows. @param {number} item its number, -1 for none */
    open(item) {
      opened = item;
      for (const tile of alive()) tile.cell.classList.toggle("open", tile.number === item);
    },
    firstVisible,
    /** Place of the last tile that can be seen. */
    lastVisible: () => (count() ? layout.starts[span().end + 1] - 1 : 0),
    viewRows: () => Math.max(1, Math.floor(scroller.clientHeight / (tallness() + GAP)) - 1),
    /** @param {number} index */
    jump(index) {
      scrollTo({ index: Math.max(0, Math.min(index, count() - 1)), offset: 0 });
    },
    /** Go where an entry of the history was left. @param {Place} place */
    restore(place) {
      if (!count()) return;
      if (canvas.clientWidth !== width && canvas.clientWidth) {
        clearRows();
        measure();
      }
      scrollTo(place);
      draw();
      fillQuietly();
    },
    /**
     * Show other results, from the top or from where they were left.
     * @param {Source} fresh @param {Place|null} [place] @param {boolean} [more] the same, with more at its end
     * @returns {Promise<void>} when the first row can be seen
     */
    show(fresh, place = null, more = false) {
      const focused = hasFocus();
      clearRows();
      painted += 1;
      source = fresh;
      shapes = Float32Array.from(source.numbers, (_, at) =>
        source.widths ? shapeOf(source.widths[at], source.heights?.[at]) : 1);
      words = Boolean(source.widths?.length) && Array.prototype.every.call(source.widths, (wide) => !wide);
      natural = source.heights?.length && !words ? usual(source.heights) : 0;
      active = place ? Math.min(place.active ?? place.index, count() - 1) : 0;
      if (!more) {
        picked.clear();
        app.pickedChanged?.([]);
      }
      canvas.hidden = !count();
      canvas.setAttribute("aria-label", counted(count(), "item"));
      dividers.replaceChildren();
      if (!count()) return Promise.resolve();
      measure();
      scrollTo(place ?? { index: 0, offset: canvas.offsetTop });
      draw();
      if (focused) focus(active, false);
      return fill();
    },
  };
  listenInGrid(app, grid, canvas);
  createTileTools(app, grid, canvas);
  byId("grid").setAttribute("aria-multiselectable", "true");
  return grid;
}
