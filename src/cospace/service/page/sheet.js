// The dialog that lists all shortcuts.

import { el, iconButton } from "./dom.js";

const SHEET = [
  ["Anywhere", [["/ or Ctrl+K", "Go to the search field"], ["Esc", "Close what is open"], ["t", "Theme"], ["?", "Show this list"], ["Ctrl+V", "Search by the file on the clipboard"]]],
  ["Search field", [["Enter", "Search; the words stay"], ["↓ ↑", "Through the suggestions"], ["-word", "Without this word"], ["Shift+Enter", "Show less of the words"], ["Backspace", "Edit the last part, when empty"], ["↓", "To the results"]]],
  ["Results", [["← → ↑ ↓", "Move"], ["Home End", "Start and end of the row"], ["Ctrl+Home Ctrl+End", "First and last result"], ["PgUp PgDn", "A screen further"], ["Enter", "Open"], ["Space", "Select"]]],
  ["A result", [["m", "More like this"], ["+ -", "Also like this, less like this"], ["y n", "Mark as right, as wrong; again to take it back"], ["s", "Put on the shelf"], ["o", "Show on the map"], ["← →", "Previous and next, when open"]]],
  ["Parts of the query", [["Enter", "More or less of it"], ["Delete", "Remove"]]],
  ["Map", [["arrows", "Pan"], ["+ - 0", "Zoom in, out, to fit"], ["l", "Draw around points"]]],
];

/** @param {any} app */
export function openShortcuts(app) {
  const box = el("input", { type: "checkbox", checked: app.singleKeys(), onchange: () => app.setSingleKeys(box.checked) });
  const dialog = el("dialog", { class: "sheet", "aria-labelledby": "sheet-title" },
    el("div", { class: "sheet-head" }, el("h2", { id: "sheet-title" }, "Shortcuts"), iconButton("close", "Close", () => dialog.close())),
    el("div", { class: "sheet-columns" }, ...SHEET.map(([title, keys]) => el("section", {}, el("h3", {}, title),
      el("dl", {}, ...keys.map(([key, does]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, does))))))),
    el("label", { class: "check" }, box, el("span", {}, "Use single-letter shortcuts")));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
