// The frame: state, views and the pieces that show them.

import { createApi } from "./api.js";
import { MINUS, describe, emptyState, searchingParts, serverPart } from "./address.js";
import { createActions, createViews, loadView } from "./frame.js";
import { createChips } from "./chips.js";
import { createConnection } from "./connection.js";
import { createField } from "./field.js";
import { createGrid } from "./grid.js";
import { createInspector } from "./inspector.js";
import { createItems } from "./items.js";
import { createModalities, withArticle } from "./modalities.js";
import { createNavigation } from "./navigation.js";
import { createNotices } from "./notices.js";
import { createSearch } from "./search.js";
import { createShelfButton } from "./shelf_button.js";
import { listenForKeys } from "./shortcuts.js";
import { createUploads } from "./uploads.js";
import { byId } from "./dom.js";

/**
 * What every piece of the page, and every view that is loaded later, is given. A view module exports
 * `mount(root: HTMLElement, app: App): View | Promise<View>`; it is imported when its view is first opened, after
 * its style sheet (`map.css` for `map.js`) has been applied.
 *
 * @typedef {object} App
 * @property {ReturnType<typeof createApi>} api the service; see api.js
 * @property {() => any} info the reply of /api/info; renewed when the index changes, see `onInfo`
 * @property {Promise<any>} firstInfo resolves when there is one
 * @property {ReturnType<typeof createModalities>} modalities what kinds of items there are
 * @property {ReturnType<typeof createUploads>} uploads files that people search by
 * @property {() => import("./address.js").State} state what the page shows; never change it in place
 * @property {(patch: Partial<import("./address.js").State>, push?: boolean) => void} update changes the state, the
 *     address and the page; `push` makes an entry that Back returns to
 * @property {() => import("./api.js").Query|null} query as the service takes it; null while there is nothing to search
 * @property {() => import("./api.js").Ranked|null} results the newest reply to it
 * @property {ReturnType<typeof createItems>} items what the index remembers of rows, by number; fetched as needed
 * @property {(number: number) => Promise<void>} openItem shows it in the inspector
 * @property {(part: {text: string}|{id: string}|{upload: string}, sign?: 1|-1) => void} addPart one more chip;
 *     words in the field become one too
 * @property {(text: string, stay?: boolean) => void} searchFor puts words into the field and searches for them
 * @property {() => Set<string>} words that are looked for, in small letters
 * @property {(ids: string[], kept?: boolean) => Promise<void>} shelve puts items on the shelf, or takes them off
 * @property {(numbers: ArrayLike<number>, label: string, inView?: boolean) => void} setSelection shows these items in the
 *     grid beside the map, with the label above: a selection, or what is `inView`; an empty selection shows the query's
 *     results again
 * @property {(text: string) => void} say reads it to those who cannot see, politely
 * @property {(text: string, action?: {label: string, run: () => void}) => void} toast says it briefly on screen
 * @property {(part: import("./address.js").Part) => string} nameOf a part of the query in words: "an image"
 * @property {(callback: (ranked: import("./api.js").Ranked|null) => void) => () => void} onQuery called when the reply
 *     to a query is drawn, and with null when there is no query any more; gives back what stops it
 * @property {(callback: (info: any) => void) => () => void} onInfo called when the index has another version
 * @property {(callback: () => void) => () => void} onTheme called when light and dark change
 * @property {() => boolean} reducedMotion
 * @property {() => boolean} singleKeys whether shortcuts of one letter are switched on
 *
 * @typedef {object} View
 * @property {() => void} [shown] called whenever the view comes to the front (also the first time)
 * @property {() => void} [hidden]
 * @property {() => void} [changed] called when the state changes while the view is in front
 * @property {(number: number) => void} [showItem] "Show on map": bring the item into view and mark it
 */

/** Callbacks of one kind. */
function listeners() {
  const all = new Set();
  return {
    /** @returns {() => void} */
    add(callback) {
      all.add(callback);
      return () => all.delete(callback);
    },
    notify: (...values) => all.forEach((callback) => callback(...values)),
  };
}

/** As a shell takes it. */
const quoted = (name) => (/^[\w./:@-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);

const asPart = (part, weight) => {
  const kind = "text" in part ? "text" : "id" in part ? "item" : "upload";
  return { kind, value: part.text ?? part.id ?? part.upload, weight };
};

/** @returns {App & Record<string, any>} with the pieces that only the frame uses */
function createApp() {
  const events = { query: listeners(), info: listeners(), theme: listeners() };
  const notices = createNotices();
  const connection = createConnection(notices, {
    back: () => app.refresh(),
    gone: () => app.search?.away(),
    command: () => `cospace serve ${info ? quoted(info.name) : "INDEX"}`,
  });
  const api = createApi(connection);
  let info = null;
  const first = Promise.withResolvers();
  const modalities = createModalities(() => info);
  /** @type {any} */
  const app = {
    api, connection, notices, modalities,
    info: () => info,
    firstInfo: first.promise,
    setInfo(fresh) {
      const changed = info && (info.version !== fresh.version || info.fingerprint !== fresh.fingerprint);
      info = fresh;
      first.resolve(info);
      if (changed) events.info.notify(info);
      return Boolean(changed);
    },
    query() {
      const { find, where, right, wrong } = app.state();
      const parts = searchingParts(app.state()).filter((part) => !app.expired.has(part.value)).map(serverPart);
      const marks = right.length || wrong.length ? { right, wrong } : {};
      return parts.length ? { parts, find, where, ...marks } : null;
    },
    addPart(part, sign = 1) {
      const before = searchingParts(app.state());
      app.update({ parts: [...before, asPart(part, sign > 0 ? 1 : MINUS)], draft: "", item: null }, true);
    },
    expired: new Set(), // uploads that the server has forgotten
    reset: () => app.update({ ...emptyState(), view: app.state().view === "map" ? "map" : "search" }, true),
    nameOf({ kind, value }) {
      if (kind === "text") return value;
      if (kind === "drawing") return "your drawing";
      const modality = kind === "upload" ? app.uploads.known(value)?.modality : app.items.modalityOf(value);
      const noun = modality && modalities.of(modality).noun;
      return kind === "upload" ? `your ${noun ?? modalities.uploadNoun()}` : withArticle(noun ?? modalities.main().noun);
    },
    say: notices.say,
    toast: notices.toast,
    onQuery: events.query.add,
    onInfo: events.info.add,
    onTheme: events.theme.add,
    notifyQuery: events.query.notify,
    notifyTheme: events.theme.notify,
    reducedMotion: () => matchMedia("(prefers-reduced-motion: reduce)").matches,
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => events.theme.notify());
  return app;
}

/** Everything that draws state gets `render(state, before)`; the order is the order of the page. */
function start() {
  const app = createApp();
  app.items = createItems(app);
  app.uploads = createUploads(app);
  app.grid = createGrid(app, byId("scroller"), byId("grid"));
  app.search = createSearch(app);
  app.results = app.search.ranked;
  app.setSelection = app.search.setSelection;
  const pieces = [createViews(app), createField(app), createChips(app), app.search, createInspector(app)];
  createActions(app);
  createShelfButton(app);
  const navigation = createNavigation({
    place: () => app.grid.firstVisible(),
    changed(state, before, place) {
      document.title = [describe(searchingParts(state), app.nameOf), "cospace"].filter(Boolean).join(" · ");
      for (const piece of pieces) piece.render(state, before, place);
      loadView(app, state, before);
    },
  });
  app.state = navigation.state;
  app.update = navigation.update;
  app.savePlace = navigation.savePlace;
  app.settle = navigation.settle;
  app.openItem = async (item) => {
    const { id } = await app.items.one(item);
    app.update({ item: id }, app.state().item === null);
  };
  app.refresh = async () => {
    const changed = app.setInfo(await app.api.info());
    if (changed) app.items.forget();
    app.search.rerun(changed);
    app.backInView?.();
  };
  listenForKeys(app);
  return { app, navigation };
}

/** The address may bring the server's token, once; a cookie holds it from then on. */
async function exchangeToken(api) {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  await api.post("api/session", { token });
}

const { app, navigation } = start();
try {
  await exchangeToken(app.api);
  app.setInfo(await app.connection.until(() => app.api.info()));
  navigation.begin();
  if (!app.query() && app.state().view === "search" && matchMedia("(hover: hover)").matches) app.focusField();
  app.connection.watch(app);
} catch (error) {
  app.notices.problem(error, () => location.reload());
}
