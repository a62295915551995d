// What can be done with one item: in its menu, in the inspector, and by single keys.

import { el, icon } from "./dom.js";
import { showOnMap } from "./frame.js";

/**
 * @typedef {object} ItemAction
 * @property {string} name
 * @property {string} icon
 * @property {string} label
 * @property {string} [key] single letter
 * @property {boolean} [files] for files only
 * @property {(app: any, item: number) => void|Promise<void>} run
 */

/** The search by one item alone. */
export const likeItem = (id) => ({ parts: [{ kind: "item", value: id, weight: 1 }], draft: "" });

async function copyName(app, item) {
  const { path, id } = await app.items.one(item);
  try {
    await navigator.clipboard.writeText(path || id);
    app.toast(`Copied: ${path || id}`);
  } catch {
    app.toast(`The browser did not allow copying: ${path || id}`);
  }
}

async function reportWrong(app, item) {
  const { id } = await app.items.one(item);
  await app.api.post("api/feedback", { id, verdict: "wrong" });
  app.toast("Noted as a wrong pair.", {
    label: "Undo",
    run: () => app.api.post("api/feedback", { id, verdict: "fine" }),
  });
}

/** @type {ItemAction[]} */
export const ACTIONS = [
  {
    name: "like", icon: "similar", label: "More like this", key: "m",
    async run(app, item) {
      const { id } = await app.items.one(item);
      app.update({ ...likeItem(id), view: app.state().view === "map" ? "map" : "search" }, true);
    },
  },
  {
    name: "plus", icon: "plus", label: "Add as +", key: "+",
    run: async (app, item) => app.addPart({ id: (await app.items.one(item)).id }, 1),
  },
  {
    name: "minus", icon: "minus", label: "Add as −", key: "-",
    run: async (app, item) => app.addPart({ id: (await app.items.one(item)).id }, -1),
  },
  { name: "map", icon: "map", label: "Show on map", key: "o", run: showOnMap },
  {
    name: "ask", icon: "ask", label: "Ask", files: true,
    async run(app, item) {
      const { id } = await app.items.one(item);
      app.update({ view: "ask", subject: { kind: "item", value: id, weight: 1 }, item: null }, true);
    },
  },
  { name: "copy", icon: "copy", label: "Copy file name", run: copyName },
  { name: "wrong", icon: "flag", label: "Report wrong pair", run: reportWrong },
];

/** Run an action, and say what went wrong. */
export async function runAction(app, action, item) {
  try {
    await action.run(app, item);
  } catch (error) {
    app.notices.problem(error, () => runAction(app, action, item));
  }
}

/** @param {KeyboardEvent} event @returns {ItemAction|undefined} */
export function actionForKey(app, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !app.singleKeys()) return undefined;
  return ACTIONS.find((action) => action.key === event.key);
}

/** The actions that make sense for an item. */
export const actionsFor = (app, item) => ACTIONS.filter(({ files }) => !files || (item && !app.modalities.of(item.modality).is_text));

/** The same actions under the pointer (or Shift+F10). @param {{x: number, y: number}} at */
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
