// The panel at the right: one item, how well it matches and why, its neighbours, and what can be done with it.

import { serverPart, searchingParts } from "./address.js";
import { actionsFor, actionForKey, likeItem, runAction } from "./actions.js";
import { media } from "./api.js";
import { byId, el, icon, iconButton, isWriting } from "./dom.js";
import { capital } from "./modalities.js";
import { marked } from "./matches.js";
import { miniTiles } from "./mini_tiles.js";

const NEIGHBOURS = 8;
const IDLE_MS = 300;
const MOST_ENLARGED = 2;

/** @param {import("./app.js").App & Record<string, any>} app */
export function createInspector(app) {
  const { modalities } = app;
  const panel = byId("inspector");
  /** @type {import("./api.js").Item|null} */
  let item = null;
  let wanted = "";
  let idle = 0;
  let controller = new AbortController();

  /** @type {HTMLElement} */
  let figures = el("div");

  /** What names a button of the panel when it is made anew, so that the focus can stay on it. */
  const stayOf = (button) => button?.dataset.stay ?? button?.getAttribute("aria-label") ?? "";

  const close = () => app.update({ item: null }, true);

  /** Place of the item among the results; -1 if it is not there. */
  const place = () => (item ? Array.prototype.indexOf.call(app.grid.source().numbers, item.number) : -1);

  /** Where the item is or was: one that was marked wrong has gone from there, and another has come. */
  let last = -1;
  function beside(by) {
    const here = place();
    return app.grid.source().numbers[here >= 0 ? here + by : last < 0 ? -1 : last + Math.min(by, 0)];
  }

  async function step(by) {
    const next = beside(by);
    if (next === undefined) return;
    app.update({ item: (await app.items.one(next)).id });
  }

  const modality = () => modalities.of(item?.modality);

  /** The preview of the item, as a button that enlarges it; its words where there is no preview. */
  function preview() {
    const shown = /** @type {import("./api.js").Item} */ (item);
    const name = shown.text || shown.path || shown.id;
    if (!modalities.hasPreview(shown)) return el("blockquote", { class: "inspected-words" }, ...marked(name, app.words()));
    const image = el("img", { alt: name, src: modalities.previewOf(shown, 1280), width: shown.width, height: shown.height });
    image.style.maxWidth = `${MOST_ENLARGED * shown.width}px`;
    image.addEventListener("error", () => frame.replaceChildren(icon("broken"), el("span", {}, shown.path || shown.id)));
    const frame = el("button", { type: "button", class: "inspected-preview", "aria-label": "Enlarge", onclick: async () => (await import("./viewer.js")).openViewer(app, shown) }, image);
    return frame;
  }

  /** What stands in the same rows: all captions of a file, of which those with the words searched for are marked; the file of a text. */
  async function addPaired(place) {
    const { number } = /** @type {import("./api.js").Item} */ (item);
    const paired = await app.items.paired(number).catch(() => []);
    if (item?.number !== number) return;
    const texts = paired.filter((other) => modalities.of(other.modality).is_text).map(({ text }) => text);
    if (texts.length > 1) {
      const words = app.words();
      panel.querySelector(".inspected-caption")?.remove();
      place.replaceChildren(el("ul", { class: "inspected-captions", "aria-label": "Captions" }, ...texts.map((text) => el("li", {}, ...marked(text, words)))));
    }
    const files = paired.filter((other) => modalities.hasPreview(other));
    if (files.length) {
      place.replaceChildren(el("h3", {}, files.length > 1 ? "Its pictures" : `Its ${modalities.of(files[0].modality).noun}`),
        miniTiles(app, files.slice(0, 8), (other) => app.openItem(/** @type {any} */ (other).number)));
    }
    keepInView();
  }

  /** A place for the player that the item's modality brings, if it brings one. */
  function player() {
    const place = el("div", { class: "player" });
    const { hash, text, path, id } = /** @type {import("./api.js").Item} */ (item);
    const gone = () => place.replaceChildren(el("p", { class: "hint" }, "The file is not on this machine any more, or has changed."));
    place.addEventListener("error", gone, true); // errors of media do not bubble
    modalities.module(modality()).then((module) => module?.player && place.append(module.player(media(hash), text || path || id)));
    return place;
  }

  const listOf = (rows) => el("dl", { class: "facts" }, ...rows.filter(([, value]) => value).flatMap(([name, value]) =>
    [el("dt", {}, name), el("dd", {}, String(value))]));

  /** What the person's own table says of the item; figures and names of ours are for who opens them. */
  function facts() {
    const { path, width, height, id, extras } = /** @type {any} */ (item);
    const rows = [["File", path], ["Size", width && !modality().page ? `${width} × ${height}` : ""], ["Id", id]];
    figures = el("div", { class: "figures" });
    return [listOf(Object.entries(extras ?? {})), el("details", { class: "details" }, el("summary", {}, "Details"), figures, listOf(rows))];
  }

  const actionButton = (action, label, attributes = {}) => el("button", {
    type: "button", class: `item-action ${action.name}`, "data-stay": action.name, onclick: () => runAction(app, action, item?.number ?? -1), ...attributes,
  }, icon(action.icon), el("span", {}, label), action.key && el("kbd", { "aria-hidden": "true" }, action.key));

  const actions = () => el("div", { class: "inspector-actions" },
    ...actionsFor(app, item).filter(({ mark }) => !mark).map((action) => actionButton(action, action.label)));

  /** Whether it is what was searched for: two buttons. */
  function markButtons() {
    const buttons = actionsFor(app, item).filter(({ mark }) => mark).map((action) => actionButton(action, capital(action.mark), { "data-mark": action.mark }));
    return buttons.length && el("div", { class: "inspector-actions", role: "group", "aria-label": "Is this what you are looking for?" }, ...buttons);
  }

  function showMarks() {
    for (const button of panel.querySelectorAll("[data-mark]")) {
      button.setAttribute("aria-pressed", String(app.state()[button.dataset.mark].includes(item?.id)));
    }
  }

  /** What comes late above it must not push the button with the focus out of sight. */
  function keepInView() {
    if (panel.contains(document.activeElement)) document.activeElement?.scrollIntoView({ block: "nearest" });
  }

  /** What shows the same and lies behind the item in the results. */
  async function addSame(place) {
    const shown = /** @type {import("./api.js").Item} */ (item);
    const numbers = app.results()?.behind?.get(shown.number) ?? [];
    if (!numbers.length) return;
    const items = await app.items.all(numbers).catch(() => []);
    if (item === shown) place.replaceChildren(el("h3", {}, "Shows the same"), miniTiles(app, items, (other) => app.openItem(other.number)));
  }

  /** What needs the service: the score's parts, and the nearest items: of the same kind, of a text the nearest files. */
  async function addEvidence(score, nearest) {
    const { signal } = controller;
    const shown = /** @type {import("./api.js").Item} */ (item);
    const parts = searchingParts(app.state());
    const { version } = app.info();
    const wanted = modality().is_text ? modalities.main() : modality();
    try {
      const [explanation, near] = await Promise.all([
        parts.length ? app.api.explain(parts.map(serverPart), shown.number, version, { signal }) : null,
        app.api.near(shown.number, version, NEIGHBOURS, wanted.name, { signal }),
      ]);
      if (explanation) {
        const { explained } = await import("./evidence.js");
        const place = app.results()?.numbers.indexOf(shown.number) ?? -1;
        const { verdict, details } = explained(parts, explanation, place, app.results(), app.nameOf);
        score.replaceChildren(...verdict);
        figures.replaceChildren(listOf(details));
        keepInView();
      }
      const items = await app.items.all(near.numbers);
      if (signal.aborted || !items.length) return;
      nearest.replaceChildren(el("h3", {}, `Nearest ${wanted.plural}`), miniTiles(app, items, (other) => app.openItem(other.number)));
    } catch (error) {
      if (error.name !== "AbortError" && error.status !== 409) score.replaceChildren(el("p", { class: "hint" }, error.message));
    }
  }

  /** Fetch what is likely to be wanted next: the items beside this one, and the search by it. */
  function prefetch() {
    clearTimeout(idle);
    idle = setTimeout(async () => {
      if (!item) return;
      const { numbers } = app.grid.source();
      const here = place();
      const beside = await app.items.all([numbers[here - 1], numbers[here + 1]].filter((other) => here >= 0 && other !== undefined)).catch(() => []);
      for (const other of beside) if (modalities.hasPreview(other)) new Image().src = modalities.previewOf(other, 1280);
      const { find, where } = app.state();
      if (item) app.search.prefetch({ parts: likeItem(item.id).parts.map(serverPart), find, where });
    }, IDLE_MS);
  }

  function draw() {
    controller.abort();
    controller = new AbortController();
    const shown = /** @type {import("./api.js").Item} */ (item);
    const here = place();
    if (here >= 0) last = here;
    else if (!app.state().wrong.includes(shown.id)) last = -1;
    const shownItem = preview();
    const why = el("button", {
      type: "button", class: "text-button", "aria-pressed": "false",
      async onclick() { why.setAttribute("aria-pressed", String(await (await import("./why.js")).showWhy(app, shownItem, shown))); },
    }, icon("spark"), "Why was this found?");
    const score = el("div", { class: "evidence" });
    const nearest = el("div", { class: "nearest" });
    const paired = el("div", { class: "paired" });
    const same = el("div", { class: "paired" });
    const focused = panel.contains(document.activeElement) ? stayOf(document.activeElement) : null;
    panel.replaceChildren(
      el("div", { class: "inspector-head" },
        el("h2", {}, capital(modality().noun)),
        iconButton("left", "Previous", () => step(-1), { disabled: beside(-1) === undefined }),
        iconButton("right", "Next", () => step(1), { disabled: beside(1) === undefined }),
        iconButton("close", "Close", close)),
      el("div", { class: "inspector-body" }, shownItem, searchingParts(app.state()).length && why, modality().page && player(),
        modalities.hasPreview(shown) && shown.text && el("p", { class: "inspected-caption" }, ...marked(shown.text, app.words())),
        paired, score, markButtons(), actions(), same, nearest, ...facts()));
    showMarks();
    if (focused !== null) ([...panel.querySelectorAll("button:not([disabled])")].find((button) => stayOf(button) === focused) ?? panel).focus();
    addPaired(paired);
    addSame(same);
    addEvidence(score, nearest);
    prefetch();
  }

  async function open(id) {
    wanted = id;
    const wasOpen = !panel.hidden;
    try {
      const found = await app.items.withId(id);
      if (wanted !== id) return;
      item = found;
    } catch (error) {
      if (error.status === 404) app.toast("That item is no longer in the index.");
      else app.notices.problem(error, () => open(id));
      return;
    }
    panel.hidden = false;
    byId("results").inert = matchMedia("(max-width: 639px)").matches; // the sheet covers them
    document.body.classList.add("inspecting");
    draw();
    app.grid.open(item.number);
    if (!wasOpen) panel.focus({ preventScroll: true });
  }

  function shut() {
    wanted = "";
    controller.abort();
    clearTimeout(idle);
    const focused = panel.contains(document.activeElement) || document.activeElement === document.body;
    const here = place();
    panel.hidden = true;
    byId("results").inert = false;
    panel.replaceChildren();
    document.body.classList.remove("inspecting");
    if (focused && app.state().view !== "ask") app.grid.focus(here >= 0 ? here : undefined, here >= 0);
    app.grid.open(-1);
    item = null;
  }

  panel.addEventListener("keydown", (event) => {
    if (isWriting(event.target) || event.altKey) return;
    const action = item && actionForKey(app, event);
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else if (action) runAction(app, action, item?.number ?? -1);
    else return;
    event.preventDefault();
  });
  app.closeInspector = () => {
    if (panel.hidden) return false;
    close();
    return true;
  };
  app.onQuery(() => item && draw());
  app.onInfo(() => item && open(item.id));

  return {
    /** @param {import("./address.js").State} state */
    render(state) {
      const id = state.view === "ask" ? null : state.item;
      if (id === null) {
        if (!panel.hidden || wanted) shut();
      } else if (id !== wanted) open(id);
      else showMarks();
    },
  };
}
