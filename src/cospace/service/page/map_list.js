// The list beside the map: what is in view, following the map; a selection narrows it to what was drawn around.

import { el, number } from "./dom.js";

const REST_MS = 180;
/** Items that the list takes; of more, those come first that the search found, then a fair sample. */
const MOST = 5000;

/**
 * @param {import("./app.js").App & Record<string, any>} app
 * @param {HTMLElement} stage
 * @param {{visible: () => number[], chosen: () => Set<number>, found: () => number[], points: () => import("./map_data.js").Points, fit: () => void}} map
 */
export function createList(app, stage, { visible, chosen, found, points, fit }) {
  const nothing = el("div", { class: "map-nothing", role: "status", hidden: true }, el("span", {}, "Nothing here."),
    el("button", { type: "button", class: "text-button", onclick: fit }, "Fit"));
  stage.append(nothing);
  let timer = 0;
  let listed = "";

  /** The results of the search first, best first; then the others, which lie in an order drawn by chance. */
  function ordered(rows) {
    const there = new Set(rows);
    const first = found().filter((row) => there.delete(row));
    return [...first, ...[...there].sort((a, b) => a - b)];
  }

  function show() {
    if (stage.parentElement?.hidden) return;
    const seen = visible();
    nothing.hidden = seen.length > 0 || !points().n;
    const selected = chosen();
    const rows = ordered(selected.size ? [...selected] : seen);
    const words = selected.size ? `${number(rows.length)} selected` : `${number(rows.length)} in view`;
    const some = rows.slice(0, MOST);
    const label = some.length < rows.length ? `${number(some.length)} of ${words}` : words;
    const key = `${label} ${some.join()}`;
    if (key === listed) return;
    listed = key;
    app.setSelection(some.map((row) => points().numbers[row]), label, !selected.size);
  }

  return {
    /** Called after every change of what is seen; the list changes when the map is at rest. */
    follow(now = false) {
      clearTimeout(timer);
      if (now) show();
      else timer = setTimeout(show, REST_MS);
    },
    /** The index or the page has changed: whatever is listed is listed again. */
    forget() { listed = ""; },
  };
}
