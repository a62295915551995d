// What can be done with one part of the query: more or less of it, its weight, its words, and taking it away.

import { clampWeight } from "./address.js";
import { el, icon } from "./dom.js";

/**
 * @param {HTMLElement} anchor the button that it belongs to
 * @param {object} chip
 * @param {() => import("./address.js").Part} chip.part as it is now
 * @param {(change: Partial<import("./address.js").Part>, push: boolean) => void} chip.change
 * @param {string} chip.label
 * @param {boolean} chip.weighted a part that stands alone has no weight: it would change nothing
 * @param {(() => void)|null} chip.edit
 */
export function openChipMenu(anchor, { part, change, label, weighted, edit }) {
  const sizeOf = () => Math.abs(part().weight).toFixed(1);
  const amount = el("output", { class: "chip-amount" });
  const slider = el("input", {
    type: "range", min: "0.1", max: "2", step: "0.1", class: "chip-weight", "aria-label": `Weight of ${label}`,
    oninput() {
      change({ weight: clampWeight(Math.sign(part().weight) * Number(slider.value)) }, false);
      show();
    },
  });
  const sign = (name, words, plus) => el("button", {
    type: "button", class: "segment", "data-plus": String(plus),
    onclick() {
      const size = Math.abs(part().weight);
      change({ weight: plus ? size : -size }, true);
      show();
    },
  }, icon(name), words);
  const signs = el("div", { class: "segments", role: "group", "aria-label": `More or less of ${label}` },
    sign("plus", "More of this", true), sign("minus", "Less of this", false));
  const menu = el("div", { class: "chip-menu", popover: "auto", role: "dialog", "aria-label": label },
    signs,
    weighted && el("label", { class: "chip-strength" }, el("span", {}, "How much"), slider, amount),
    edit && el("button", { type: "button", class: "text-button", onclick() { menu.hidePopover(); edit(); } }, "Edit the words"));

  function show() {
    slider.value = sizeOf();
    amount.textContent = `×${sizeOf()}`;
    slider.setAttribute("aria-valuetext", `${part().weight < 0 ? "minus " : ""}${sizeOf()}`);
    for (const button of signs.children) button.setAttribute("aria-pressed", String((button.dataset.plus === "true") === part().weight > 0));
  }

  menu.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    anchor.setAttribute("aria-expanded", "false");
    if (menu.contains(document.activeElement) || document.activeElement === document.body) anchor.focus();
    menu.remove();
  });
  document.body.append(menu);
  show();
  menu.showPopover();
  anchor.setAttribute("aria-expanded", "true");
  const at = anchor.getBoundingClientRect();
  menu.style.top = `${at.bottom + 8}px`;
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - menu.offsetWidth - 8))}px`;
  (weighted ? slider : signs.querySelector("[aria-pressed=true]")).focus();
}
