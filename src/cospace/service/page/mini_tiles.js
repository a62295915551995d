// A few items as small square tiles: neighbours, examples, what an answer rests on.

import { el } from "./dom.js";

/**
 * @template {{hash: string, modality: string, text: string, path: string, id: string}} T
 * @param {import("./app.js").App} app
 * @param {T[]} items
 * @param {(item: T) => void} open
 */
export function miniTiles(app, items, open) {
  return el("div", { class: "strip-of-tiles" }, ...items.map((item) => {
    const name = item.text || item.path || item.id;
    return el("button", { type: "button", class: "mini", title: name, onclick: () => open(item) },
      app.modalities.hasPreview(/** @type {any} */ (item))
        ? el("img", { src: app.modalities.previewOf(item, 256), alt: name, loading: "lazy" })
        : el("span", {}, name));
  }));
}
