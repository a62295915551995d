// What can be done with an item, under the pointer; its code comes when somebody first asks for it.

import { actionsFor, runAction } from "./actions.js";
import { el, icon } from "./dom.js";

/** The actions under the pointer (or Shift+F10). @param {{x: number, y: number}} at */
export function openMenu(app, item, { x, y }) {
  const back = /** @type {HTMLElement} */ (document.activeElement);
  const entries = actionsFor(app, app.items.known(item)).map((action) =>
    el("button", { type: "button", role: "menuitem", tabindex: "-1", onclick: () => { close(); runAction(app, action, item); } },
      icon(action.icon), el("span", {}, action.label), action.key && el("kbd", { "aria-hidden": "true" }, action.key)));
  const menu = el("div", { class: "menu", role: "menu", "aria-label": "With this item", popover: "manual" }, ...entries);
  const outside = (event) => menu.contains(event.target) || close();
  const close = () => {
    removeEventListener("pointerdown", outside, true);
    menu.remove();
    back?.focus({ preventScroll: true });
  };
  addEventListener("pointerdown", outside, true);
  menu.addEventListener("keydown", (event) => {
    const at = entries.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (event.key === "Tab" || event.key === "Escape") close();
    else if (to !== undefined) entries[(to + entries.length) % entries.length].focus();
    else return;
    event.preventDefault();
  });
  document.body.append(menu);
  menu.showPopover();
  const { width, height } = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, Math.min(y, innerHeight - height - 8))}px`;
  entries[0].focus();
}
