// One preview as large as the window allows, with its caption; arrows go to the others.

import { original } from "./api.js";
import { applyStyle, el, iconButton } from "./dom.js";

const MOST_ENLARGED = 2;

/** @param {any} app @param {import("./api.js").Item} first */
export async function openViewer(app, first) {
  await applyStyle("viewer.css");
  const numbers = app.grid.source().numbers;
  let item = first;
  let place = Array.prototype.indexOf.call(numbers, first.number);
  let natural = false; // a pixel of the picture is one of the screen

  const image = el("img", { alt: "" });
  const stage = el("div", { class: "viewer-stage", tabindex: "-1" }, image);
  const caption = el("p", { class: "viewer-caption" });
  const previous = iconButton("left", "Previous", () => step(-1));
  const next = iconButton("right", "Next", () => step(1));
  const actual = el("button", { type: "button", class: "icon-button", "aria-label": "Actual size", "aria-pressed": "false", onclick: toggle }, "1:1");
  const dialog = el("dialog", { class: "viewer" }, stage,
    el("div", { class: "viewer-bar" }, previous, caption, actual, next, iconButton("close", "Close", () => dialog.close())));

  function show() {
    const name = item.text || item.path || item.id;
    const beyond = natural && Math.max(item.width, item.height) > 1280;
    image.src = beyond ? original(item.hash) : app.modalities.previewOf(item, 1280);
    image.alt = name;
    image.style.width = natural ? `${item.width}px` : `min(100%, ${MOST_ENLARGED * item.width}px)`;
    image.style.maxHeight = natural ? "none" : `min(100%, ${MOST_ENLARGED * item.height}px)`;
    dialog.classList.toggle("natural", natural);
    dialog.setAttribute("aria-label", name);
    caption.textContent = name;
    actual.setAttribute("aria-pressed", String(natural));
    previous.disabled = place <= 0;
    next.disabled = place < 0 || place >= numbers.length - 1;
  }

  function toggle() {
    natural = !natural;
    show();
  }

  /** To the next item that can be looked at. @param {number} by */
  async function step(by) {
    for (let at = place + by; place >= 0 && at >= 0 && at < numbers.length; at += by) {
      const found = await app.items.one(numbers[at]);
      if (!app.modalities.hasPreview(found)) continue;
      [item, place] = [found, at];
      return show();
    }
    return undefined;
  }

  image.addEventListener("error", () => { // the file is gone: what the index keeps of it
    const kept = app.modalities.previewOf(item, 256);
    if (!image.src.endsWith(kept)) image.src = kept;
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "1") toggle();
    else return;
    event.preventDefault();
  });
  stage.addEventListener("click", (event) => event.target === stage && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (item !== first) app.update({ item: item.id });
  });
  document.body.append(dialog);
  show();
  dialog.showModal();
  stage.focus();
}
