// One row above the model's own results: items whose captions hold all the words that were typed.

import { byId, el, number } from "./dom.js";

const MOST = 24;

/** @param {any} app */
export function createLiteralRow(app) {
  const row = byId("literal");
  let turn = 0;

  return {
    /** @param {import("./api.js").Ranked|null} ranked null: no row */
    async show(ranked) {
      const mine = ++turn;
      const pictured = ranked?.widths?.some(Boolean); // a list of texts shows the words by itself
      const found = pictured && !ranked.by_caption ? ranked.literal ?? [] : []; // otherwise they are the results
      row.hidden = !found.length;
      if (row.hidden) return;
      const heading = el("h2", {}, "Captions that say it", el("span", {}, number(found.length)));
      const strip = el("div", { class: "literal-strip" });
      row.replaceChildren(heading, strip);
      const items = await app.items.all(found.slice(0, MOST));
      if (mine !== turn) return;
      strip.replaceChildren(...items.map((item) => {
        const name = item.text || item.path || item.id;
        const shown = app.modalities.hasPreview(item);
        return el("button", { type: "button", class: shown ? "literal-item" : "literal-item text", title: name, onclick: () => app.openItem(item.number) },
          shown ? el("img", { alt: name, src: app.modalities.previewOf(item, 256), loading: "lazy", width: item.width, height: item.height }) : name);
      }));
    },
  };
}
