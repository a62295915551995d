// One picture as large as the window.

import { thumbnail } from "./api.js";
import { el, iconButton } from "./dom.js";

/** @param {import("./api.js").Item} item */
export function openViewer(item) {
  const close = iconButton("close", "Close", () => dialog.close());
  const dialog = el("dialog", { class: "viewer", "aria-label": item.text || item.path || "Picture" },
    el("img", { src: thumbnail(item.hash, 1280), alt: item.text || item.path || item.id }), close);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
