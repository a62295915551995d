// Keys that work anywhere, and the sheet that lists all of them.

import { el, iconButton, isWriting } from "./dom.js";

const SETTING = "cospace:single-keys";
const SHEET = [
  ["Anywhere", [["/ or Ctrl+K", "Go to the search field"], ["Esc", "Close what is open"], ["t", "Theme"], ["?", "This sheet"], ["Ctrl+V", "Search by the picture on the clipboard"]]],
  ["Search field", [["Enter", "Add the words"], ["Shift+Enter", "Add the words as a minus"], ["-word", "Without this word"], ["Backspace", "Edit the last part, when empty"], ["↓", "To the results"]]],
  ["Results", [["← → ↑ ↓", "Move"], ["Home End", "Start and end of the row"], ["Ctrl+Home Ctrl+End", "First and last result"], ["PgUp PgDn", "A screen further"], ["Enter", "Open"], ["Space", "Select"]]],
  ["A result", [["m", "More like this"], ["+ -", "Add as plus or minus"], ["o", "Show on the map"], ["← →", "Previous and next, when open"]]],
  ["Parts of the query", [["← →", "Weight, on its slider"], ["Delete", "Remove"]]],
  ["Map", [["arrows", "Pan"], ["+ - 0", "Zoom in, out, to fit"], ["l", "Draw around points"]]],
];

function readSetting() {
  try {
    return localStorage.getItem(SETTING) !== "off";
  } catch {
    return true;
  }
}

/** @param {any} app */
export function openShortcuts(app) {
  const box = el("input", { type: "checkbox", checked: app.singleKeys(), onchange: () => app.setSingleKeys(box.checked) });
  const dialog = el("dialog", { class: "sheet", "aria-labelledby": "sheet-title" },
    el("div", { class: "sheet-head" }, el("h2", { id: "sheet-title" }, "Shortcuts"), iconButton("close", "Close", () => dialog.close())),
    el("div", { class: "sheet-columns" }, ...SHEET.map(([title, keys]) => el("section", {}, el("h3", {}, title),
      el("dl", {}, ...keys.map(([key, does]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, does))))))),
    el("label", { class: "check" }, box, el("span", {}, "Shortcuts of a single letter")));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** @param {import("./app.js").App & Record<string, any>} app */
export function listenForKeys(app) {
  let single = readSetting();
  app.singleKeys = () => single;
  app.setSingleKeys = (on) => {
    single = on;
    try {
      localStorage.setItem(SETTING, on ? "on" : "off");
    } catch {
      // without storage the choice lasts as long as the page
    }
  };

  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const control = event.ctrlKey || event.metaKey;
    if (control && event.key.toLowerCase() === "k") {
      event.preventDefault();
      app.focusField();
    } else if (event.key === "Escape") {
      if (document.querySelector(":popover-open")) return;
      if (!app.closeInspector() && isWriting(document.activeElement)) /** @type {HTMLElement} */ (document.activeElement).blur();
    } else if (!control && !event.altKey && !isWriting(event.target)) {
      if (event.key === "/" && single) {
        event.preventDefault();
        app.focusField();
      } else if (event.key === "?" && single) openShortcuts(app);
      else if (event.key === "t" && single) app.nextTheme();
    }
  });
}
