// Keys that work anywhere, and the setting that switches single letters off.

import { isWriting } from "./dom.js";

const SETTING = "cospace:single-keys";

function readSetting() {
  try {
    return localStorage.getItem(SETTING) !== "off";
  } catch {
    return true;
  }
}

/** The list of all shortcuts. @param {any} app */
export const openShortcuts = async (app) => (await import("./sheet.js")).openShortcuts(app);

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
