// The way to the shelf, and what puts items there.

import { byId, count, el, iconButton } from "./dom.js";

/** @param {any} app */
export function createShelfButton(app) {
  const badge = el("span", { class: "badge", hidden: true });
  const open = async () => (await import("./shelf.js")).openShelf(app);
  const button = iconButton("shelf", "Shelf", open, { class: "icon-button shelf-button" });
  button.append(badge);
  byId("actions").prepend(button);

  /** @param {number} size */
  app.shelfHolds = (size) => {
    badge.hidden = !size;
    badge.textContent = String(size);
    button.setAttribute("aria-label", size ? `Shelf, ${count(size, "item")}` : "Shelf");
  };
  app.shelve = async (ids, kept = true) => {
    const reply = await app.api.post("api/shelf", { ids, kept });
    app.shelfHolds(reply.count);
    app.toast(kept ? `${count(ids.length, "item")} put on the shelf.` : `${count(ids.length, "item")} taken off the shelf.`,
      { label: "Undo", run: () => app.shelve(ids, !kept).catch((error) => app.notices.problem(error)) });
  };
  app.firstInfo.then(() => app.api.get("api/shelf")).then(({ items }) => app.shelfHolds(items.length), () => {});
}
