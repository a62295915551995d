// One preview as large as the window.

import { el, iconButton } from "./dom.js";

/** @param {any} app @param {import("./api.js").Item} item */
export function openViewer(app, item) {
  const close = iconButton("close", "Close", () => dialog.close());
  const dialog = el("dialog", { class: "viewer", "aria-label": item.text || item.path || item.id },
    el("img", { src: app.modalities.previewOf(item, 1280), alt: item.text || item.path || item.id }), close);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
