// Asking the service and drawing its newest reply: what is shown while it works, when it fails, and when it is empty.

import { describe, searchingParts } from "./address.js";
import { byId, el } from "./dom.js";
import { createHead } from "./results_head.js";
import { createScrubber } from "./scrubber.js";
import { filteredIntro, plainIntro, startIntro } from "./intro.js";

const DIM_MS = 150;
const PROGRESS_MS = 200;
const KEPT_REPLIES = 8;
const MOST = 5000;
/** The time from the end of typing to the first row; the Health view reads it. */
const MEASURE = "cospace:first-row";

/** @param {import("./app.js").App & Record<string, any>} app */
export function createSearch(app) {
  const head = createHead(app);
  const scrubber = createScrubber(app);
  const [intro, tail, results, progress] = ["intro", "tail", "results", "progress"].map(byId);
  /** @type {Map<string, import("./api.js").Ranked>} */
  const replies = new Map();
  /** @type {import("./api.js").Ranked|null} */
  let ranked = null;
  /** @type {{numbers: number[], label: string}|null} */
  let selection = null;
  let key = "";
  let failed = false;
  let turn = 0;
  let controller = new AbortController();
  let timers = [];

  const keyOf = (query) => JSON.stringify(query);
  const inMap = () => app.state().view === "map";

  function calm() {
    timers.forEach(clearTimeout);
    results.classList.remove("waiting");
    results.removeAttribute("aria-busy");
    progress.hidden = true;
  }

  function busy() {
    calm();
    results.setAttribute("aria-busy", "true");
    timers = [
      setTimeout(() => results.classList.add("waiting"), DIM_MS),
      setTimeout(() => { progress.hidden = false; }, PROGRESS_MS),
    ];
  }

  function keep(name, reply) {
    replies.delete(name);
    replies.set(name, reply);
    if (replies.size > KEPT_REPLIES) replies.delete(replies.keys().next().value);
  }

  /** Percents of a drawing would mean nothing: they were measured on photographs. */
  function readable(reply) {
    const drawn = app.state().parts.some((part) => part.kind === "drawing");
    return drawn || !reply.calibrated
      ? { ...reply, calibrated: false, percents: undefined, good: 0, weakFrom: reply.n, banner: drawn ? false : reply.banner }
      : reply;
  }

  /** The replies belong to one version of the index; a newer one makes all that is known of rows void. */
  async function follow(reply) {
    if (reply.version === app.info().version) return;
    app.setInfo(await app.api.info());
    app.items.forget();
    replies.clear();
  }

  async function ask(query) {
    const k = Math.min(MOST, app.info().limits?.ranks ?? MOST);
    const reply = await app.api.rank({ ...query, k }, { signal: controller.signal });
    await follow(reply);
    const read = readable(reply);
    keep(keyOf(query), read);
    return read;
  }

  function announce() {
    const what = describe(searchingParts(app.state()), app.nameOf);
    if (!ranked?.n) return app.say(`Nothing found for ${what}`);
    if (ranked.banner) return app.say(`Nothing matches ${what} well; the closest are shown`);
    const good = ranked.calibrated ? `${ranked.good} good ${ranked.good === 1 ? "match" : "matches"}` : `${ranked.n} results`;
    return app.say(`${good} for ${what}`);
  }

  /** What the grid shows now, with the words above and below it. */
  async function draw(place = null) {
    const source = selection && inMap() ? head.sorted(selection, ranked) : ranked;
    head.show(ranked, inMap() ? selection : null);
    tail.hidden = true;
    if (!source) {
      const shown = inMap() ? null : await representatives();
      if (ranked || (selection && inMap())) return; // something came meanwhile
      intro.replaceChildren(inMap() ? plainIntro("Draw around points on the map: what they are is shown here.") : startIntro(app));
      scrubber.show(null);
      await app.grid.show(shown ?? { numbers: [] }, place);
      return;
    }
    const where = app.state().where;
    if (!source.numbers.length && where.length) intro.replaceChildren(filteredIntro(app, where));
    else if (!source.numbers.length) intro.replaceChildren(plainIntro("Nothing is indexed that could be found this way."));
    else if (source.banner) intro.replaceChildren(plainIntro("Nothing matches well; closest:", "banner"));
    else intro.replaceChildren();
    const done = app.grid.show(source, place);
    if (source === ranked && ranked && ranked.n < ranked.total) {
      tail.replaceChildren(el("p", {}, head.summary(ranked)));
      tail.hidden = false;
    }
    scrubber.show(source);
    await done;
  }

  async function representatives() {
    const items = await app.items.all(app.info().representatives ?? []);
    return {
      numbers: items.map((item) => item.number), widths: items.map((item) => item.width),
      heights: items.map((item) => item.height), rgb: items.map((item) => item.rgb),
    };
  }

  function settle(reply, place) {
    ranked = reply;
    app.notices.clear("problem");
    const drawn = draw(place);
    app.notifyQuery(ranked);
    return drawn;
  }

  async function run(query, place = null) {
    const mine = ++turn;
    controller.abort();
    controller = new AbortController();
    key = keyOf(query);
    failed = false;
    const start = performance.now();
    try {
      const known = replies.get(key);
      if (query && !known) {
        busy();
        await app.connection.ready(app.info());
        if (mine !== turn) return;
      }
      const reply = query ? known ?? await ask(query) : null;
      if (mine !== turn) return; // a newer query has been asked
      calm();
      const drawn = settle(reply, place);
      if (reply) announce();
      await drawn;
      if (reply && !known && mine === turn) performance.measure(MEASURE, { start, end: performance.now() });
    } catch (error) {
      if (mine !== turn) return;
      calm();
      failed = true;
      app.notices.problem(error, () => rerun(false));
    }
  }

  /** Ask again: after a failure, or because the index has changed. */
  function rerun(changed) {
    if (changed) {
      replies.clear();
      selection = null;
    }
    const fresh = app.query();
    if (changed || failed || keyOf(fresh) !== key || !ranked) run(fresh, app.grid.firstVisible());
  }

  app.pickedChanged = head.showPicked;
  return {
    rerun,
    ranked: () => ranked,
    /** @param {ArrayLike<number>} numbers @param {string} label */
    setSelection(numbers, label) {
      selection = numbers.length ? { numbers: Array.from(numbers), label } : null;
      draw();
    },
    redraw: () => draw(),
    /** Fetch a likely next query before it is asked for. @param {import("./api.js").Query} query */
    prefetch(query) {
      if (!replies.has(keyOf(query))) ask(query).catch(() => {});
    },
    /** @param {import("./address.js").State} state */
    render(state, before, place) {
      head.render(state);
      if (state.view !== "search" && state.view !== "map") return;
      const query = app.query();
      if (keyOf(query) !== key) run(query, place);
      else if (state.view !== before.view) draw(place);
      else if (place) app.grid.restore(place);
    },
  };
}
