// The shelf: what was put aside, with notes, to be taken along.

import { applyStyle, count, el, icon, iconButton } from "./dom.js";

const EXPORTS = [["list", "List of files"], ["csv", "CSV of pairs"], ["zip", "ZIP with the files"]];

/** One item with its note; a note is kept as soon as somebody leaves it. */
function entry(app, item, changed) {
  const name = item.text || item.path || item.id;
  const open = () => { app.update({ view: "search" }); app.openItem(item.number); };
  const note = el("input", {
    type: "text", value: item.note, placeholder: "Note", "aria-label": `Note on ${name}`, maxlength: "2000",
    onchange: () => app.api.post("api/shelf", { ids: [item.id], note: note.value }).catch((error) => app.notices.problem(error)),
  });
  return el("li", { class: "shelved" },
    el("button", { type: "button", class: "shelved-open", "aria-label": `Open ${name}`, onclick() { changed(true); open(); } },
      app.modalities.hasPreview(item) ? el("img", { alt: "", src: app.modalities.previewOf(item, 256) }) : icon("search")),
    el("div", {}, el("p", {}, name), note),
    iconButton("close", `Take ${name} off the shelf`, async () => {
      await app.shelve([item.id], false).catch((error) => app.notices.problem(error));
      changed();
    }));
}

/** @param {any} app */
export async function openShelf(app) {
  await applyStyle("shelf.css");
  const body = el("div", { class: "shelf-body" });
  const dialog = el("dialog", { class: "sheet shelf", "aria-labelledby": "shelf-title" },
    el("div", { class: "sheet-head" }, el("h2", { id: "shelf-title" }, "Shelf"), iconButton("close", "Close", () => dialog.close())), body);

  async function draw() {
    const { items, gone } = await app.api.get("api/shelf");
    app.shelfHolds(items.length);
    body.replaceChildren(...items.length ? [
      el("ul", { class: "shelf-list" }, ...items.map((item) => entry(app, item, (leave) => (leave ? dialog.close() : draw())))),
      el("div", { class: "shelf-exports" }, ...EXPORTS.map(([form, label]) =>
        el("a", { class: "secondary", href: `api/shelf/export?form=${form}`, download: "" }, icon("save"), label))),
      el("p", { class: "hint" }, "The CSV has a row for every caption, as “cospace train” takes it. Kept in the index folder."),
    ] : [el("p", { class: "hint" }, "Nothing here yet. Select results, or open one, and put it on the shelf; notes can be written beside it.")],
    gone.length ? el("p", { class: "hint" }, `${count(gone.length, "item")} of the shelf ${gone.length === 1 ? "is" : "are"} in the index no more.`) : "");
  }

  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  try {
    await draw();
  } catch (error) {
    return app.notices.problem(error, () => openShelf(app));
  }
  document.body.append(dialog);
  return dialog.showModal();
}
