// What can be done with one item: in its menu, in the inspector, and by single keys.

import { original } from "./api.js";
import { showOnMap } from "./frame.js";

/**
 * @typedef {object} ItemAction
 * @property {string} name
 * @property {string} icon
 * @property {string} label
 * @property {string} [key] single letter
 * @property {boolean} [files] for files only
 * @property {"right"|"wrong"} [mark] for results of a search only; the inspector has buttons of its own for them
 * @property {(app: any, item: number) => void|Promise<void>} run
 */

/** The search by one item alone. */
export const likeItem = (id) => ({ parts: [{ kind: "item", value: id, weight: 1 }], draft: "" });

/** The path as this machine knows it; from a service that others reach only the file's name comes. */
async function copyPath(app, item) {
  const { path, id } = await app.items.one(item);
  const found = await app.api.get(`api/path?id=${encodeURIComponent(id)}`).catch(() => ({ path: path || id }));
  try {
    await navigator.clipboard.writeText(found.path);
    app.toast(`Copied: ${found.path}`);
  } catch {
    app.toast(`The browser did not allow copying: ${found.path}`);
  }
}

/** In a window of its own, as it lies on the disk. */
async function openOriginal(app, item) {
  const { hash } = await app.items.one(item);
  open(original(hash), "_blank", "noopener");
}

async function reportWrong(app, item) {
  const { id } = await app.items.one(item);
  await app.api.post("api/feedback", { id, verdict: "wrong" });
  app.toast("Marked. Kept in the index folder.", {
    label: "Undo",
    run: () => app.api.post("api/feedback", { id, verdict: "fine" }).catch((error) => app.notices.problem(error)),
  });
}

/** @returns {ItemAction} */
const marking = (side, key, iconName) => ({
  name: `mark-${side}`, icon: iconName, label: `Mark as ${side}`, key, mark: side,
  run: async (app, item) => (await import("./marks.js")).mark(app, item, side),
});

/** @type {ItemAction[]} */
export const ACTIONS = [
  marking("right", "y", "check"),
  marking("wrong", "n", "close"),
  {
    name: "like", icon: "similar", label: "More like this", key: "m",
    async run(app, item) {
      const { id } = await app.items.one(item);
      app.update({ ...likeItem(id), view: app.state().view === "map" ? "map" : "search" }, true);
    },
  },
  {
    name: "plus", icon: "plus", label: "Also like this", key: "+",
    run: async (app, item) => app.addPart({ id: (await app.items.one(item)).id }, 1),
  },
  {
    name: "minus", icon: "minus", label: "Less like this", key: "-",
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
  {
    name: "shelf", icon: "shelf", label: "Put on the shelf", key: "s",
    run: async (app, item) => app.shelve([(await app.items.one(item)).id]),
  },
  { name: "original", icon: "open", label: "Open the original", files: true, run: openOriginal },
  { name: "copy", icon: "copy", label: "Copy path", files: true, run: copyPath },
  { name: "wrong", icon: "flag", label: "Mark caption as wrong", run: reportWrong },
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
export const actionsFor = (app, item) => ACTIONS.filter(({ files, mark }) => (!mark || app.query()) && (!files || (item && !app.modalities.of(item.modality).is_text)));
