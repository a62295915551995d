// The previews in view as buttons that Tab reaches; the pointer has the map itself.

import { el } from "./dom.js";

const SETTLED_MS = 160;
const MOST = 40;

/**
 * @param {import("./app.js").App} app
 * @param {HTMLElement} list
 * @param {() => import("./map_data.js").Points} points
 * @param {(row: number) => void} show the card of a row, -1 for none
 */
export function createTabStops(app, list, points, show) {
  /** @type {Map<number, any>} list items by row */
  const there = new Map();
  let timer = 0;

  function entry(row) {
    const number = points().numbers[row];
    const button = el("button", { type: "button", "aria-label": "Item", onfocus: () => show(row), onblur: () => show(-1), onclick: () => app.openItem(number) });
    return el("li", { "data-number": number }, button);
  }

  function put(node, { left, top, width, height }) {
    node.style.transform = `translate(${left}px, ${top}px)`;
    node.firstChild.style.width = `${width}px`;
    node.firstChild.style.height = `${height}px`;
  }

  /** @param {import("./map_previews.js").Drawn[]} drawn */
  async function settle(drawn) {
    const kept = new Set(drawn.map(({ row }) => row));
    for (const [row, node] of there) {
      if (kept.has(row) || node.contains(document.activeElement)) continue;
      node.remove();
      there.delete(row);
    }
    const inOrder = [...drawn].sort((a, b) => Math.round((a.top - b.top) / 60) || a.left - b.left);
    for (const place of inOrder) {
      const node = there.get(place.row) ?? entry(place.row);
      there.set(place.row, node);
      put(node, place);
      if (!node.contains(document.activeElement)) list.append(node);
    }
    const rows = inOrder.map(({ row }) => row);
    const items = await app.items.all(rows.map((row) => points().numbers[row])).catch(() => []);
    for (const item of items) there.get(points().rowOf(item.number))?.firstChild.setAttribute("aria-label", item.text || item.path);
  }

  return {
    /** Called after every drawing. @param {import("./map_previews.js").Drawn[]} drawn */
    follow(drawn) {
      const some = drawn.slice(0, MOST);
      for (const place of some) {
        const node = there.get(place.row);
        if (node) put(node, place);
      }
      clearTimeout(timer);
      timer = setTimeout(settle, SETTLED_MS, some);
    },
  };
}
