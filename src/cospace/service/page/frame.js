// The views as links, the theme, and views whose code is loaded when they are first opened.

import { VIEWS, writeAddress } from "./address.js";
import { applyStyle, byId, el, icon, iconButton, sentence } from "./dom.js";
import { openShortcuts } from "./shortcuts.js";

const LABELS = { search: "Search", map: "Map", ask: "Ask", health: "Health" };
const LATER = {
  map: { script: "./map.js", style: "map.css" },
  ask: { script: "./ask.js", style: "ask.css" },
  health: { script: "./health.js", style: "health.css" },
};
const THEMES = ["auto", "light", "dark"];
/** @type {Record<string, Promise<import("./app.js").View>>} */
const mounted = {};

/** A click that should follow the link as any other: in a new tab, say. */
const isForBrowser = (event) => event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0;

/** @param {import("./app.js").App & Record<string, any>} app */
export function createViews(app) {
  const links = VIEWS.map((view) =>
    el("a", {
      class: "view",
      onclick(event) {
        if (isForBrowser(event)) return;
        event.preventDefault();
        app.update({ view }, true);
      },
    }, icon(view), el("span", {}, LABELS[view])));
  byId("views").append(...links);
  byId("start").addEventListener("click", (event) => {
    if (isForBrowser(event)) return;
    event.preventDefault();
    app.reset();
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    if (!app.grid.focus()) byId("main").focus();
  });
  return {
    render(state) {
      links.forEach((link, at) => {
        link.setAttribute("href", writeAddress({ ...state, view: VIEWS[at] }));
        if (VIEWS[at] === state.view) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      });
      document.body.dataset.view = state.view;
      for (const view of VIEWS.slice(1)) byId(`${view}-view`).hidden = state.view !== view;
      byId("results").hidden = state.view !== "search" && state.view !== "map";
    },
  };
}

async function mount(view, app) {
  const [module] = await Promise.all([import(LATER[view].script), applyStyle(LATER[view].style)]);
  return (await module.mount(byId(`${view}-view`), app)) ?? {};
}

/** In place of a view that could not be loaded: why, and another try, which is made by itself when the service is there again. */
function excuse(app, view, error) {
  const again = () => { app.backInView = null; loadView(app, app.state(), app.state()); };
  const why = error.status ? error.message : "The search service does not answer.";
  if (error instanceof Error && error.status === undefined) console.error(error); // a fault of ours would be hidden otherwise
  app.backInView = again;
  byId(`${view}-view`).replaceChildren(el("div", { class: "missing", role: "alert" },
    el("p", {}, `${LABELS[view]} cannot be shown. ${sentence(why)}`),
    el("button", { type: "button", class: "secondary", onclick: again }, "Try again")));
}

/** Bring a view to the front, fetching its code the first time. */
export async function loadView(app, state, before) {
  if (before.view !== state.view) mounted[before.view]?.then((view) => view.hidden?.());
  const view = state.view;
  if (!(view in LATER)) return;
  if (before.view === view && view in mounted) {
    mounted[view].then((there) => there.changed?.(), () => {});
    return;
  }
  mounted[view] ??= mount(view, app);
  try {
    (await mounted[view]).shown?.();
  } catch (error) {
    delete mounted[view];
    excuse(app, view, error);
  }
}

/** "Show on map". */
export async function showOnMap(app, item) {
  const { id } = await app.items.one(item);
  app.update({ view: "map", item: id }, true);
  (await mounted.map)?.showItem?.(item);
}

const chosenTheme = () => document.documentElement.dataset.theme ?? "auto";

function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("cospace:theme", theme);
  } catch {
    // without storage the choice lasts as long as the page
  }
}

/** @param {import("./app.js").App & Record<string, any>} app */
export function createActions(app) {
  const button = iconButton("auto", "", () => app.nextTheme(), { class: "icon-button theme-button" });
  const describeTheme = () => {
    const theme = chosenTheme();
    const label = `Theme: ${theme}`;
    button.replaceChildren(icon(theme));
    button.setAttribute("aria-label", label);
    return label;
  };
  app.nextTheme = () => {
    applyTheme(THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length]);
    app.say(describeTheme());
    app.notifyTheme();
  };
  describeTheme();
  byId("actions").append(button, iconButton("help", "Help and shortcuts", () => openShortcuts(app), { class: "icon-button wide-only" }));
}
