// Asking the service and drawing its newest reply: what is shown while it works, when it fails, and when it is empty.

import { createBrowsing } from "./browse.js";
import { SIDES, describe, searchingParts, wordsOf } from "./address.js";
import { byId, el, number } from "./dom.js";
import { createHead } from "./results_head.js";
import { createLiteralRow } from "./literal.js";
import { createScrubber } from "./scrubber.js";
import { filteredIntro, learnedLittle, plainIntro, startIntro, unknownIntro } from "./intro.js";
import { shownOf } from "./matches.js";

const DIM_MS = 150;
const PROGRESS_MS = 200;
const KEPT_REPLIES = 8;
const MOST = 5000;
const SAID = 60;
/** The time from the end of typing to the first row; the Health view reads it. */
const MEASURE = "cospace:first-row";
const COLUMNS = /** @type {const} */ (["numbers", "scores", "rgb", "widths", "heights", "percents"]);

/** The first so many of a ranking, as the grid shows them. */
function cut(ranked, end) {
  const source = { ...ranked };
  for (const name of COLUMNS) source[name] = ranked[name]?.subarray(0, end);
  return source;
}

/** @param {import("./app.js").App & Record<string, any>} app */
export function createSearch(app) {
  const head = createHead(app);
  const scrubber = createScrubber(app);
  const literal = createLiteralRow(app);
  const [intro, tail, results, progress] = ["intro", "tail", "results", "progress"].map(byId);
  /** @type {Map<string, import("./api.js").Ranked>} */
  const replies = new Map();
  /** @type {import("./api.js").Ranked|null} */
  let ranked = null;
  /** @type {{numbers: number[], label: string, inView: boolean}|null} */
  let selection = null;
  let key = "";
  let drawnFor = ""; // in words, what the results that are shown were found for
  let whole = ""; // the query of which the rest is shown too
  let failed = false;
  let turn = 0;
  let controller = new AbortController();
  let timers = [];

  const keyOf = (query) => JSON.stringify(query);
  const inMap = () => app.state().view === "map";
  const asked = () => describe(searchingParts(app.state()), app.nameOf);
  const browsing = createBrowsing(app, () => !ranked && !inMap());
  app.words = () => wordsOf(searchingParts(app.state()));

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
      setTimeout(() => { results.classList.add("waiting"); sayWhatIsShown(); }, DIM_MS),
      setTimeout(() => { progress.hidden = false; }, PROGRESS_MS),
    ];
  }

  /** Results of another query than the one that is being asked are named. */
  function sayWhatIsShown() {
    if (drawnFor) head.stale(`Still showing: ${drawnFor}`);
  }

  function keep(name, reply) {
    replies.delete(name);
    replies.set(name, reply);
    if (replies.size > KEPT_REPLIES) replies.delete(replies.keys().next().value);
  }

  /** Percents of a drawing would mean nothing: they were measured on photographs; those of a poor model say little. */
  function readable(reply) {
    const left = app.state().parts.some((part) => part.kind === "drawing") || learnedLittle(app);
    return left || !reply.calibrated ? { ...reply, calibrated: false, percents: undefined } : reply;
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
    const full = asked();
    const what = full.length > SAID ? `${full.slice(0, SAID)}…` : full;
    if (!ranked?.n) return app.say(`Nothing found for ${what}`);
    if (ranked.unknown_words?.length) return app.say(`No caption uses ${ranked.unknown_words.slice(0, 3).join(", ")}; guesses are shown`);
    return app.say(`${head.summary(ranked)} for ${what}`);
  }

  /** A ranking as the grid shows it: what fits, then, if somebody wants it, the rest in smaller rows. */
  function listed(place) {
    const end = shownOf(ranked);
    if (place && place.index >= end) whole = key;
    const all = whole === key || end >= ranked.n;
    const dividers = [];
    if (ranked.likely > 0 && ranked.likely < end) dividers.push({ from: ranked.likely, words: "Less sure from here" });
    if (all && end < ranked.n) dividers.push({ from: end, words: "The rest, the closest first", rest: true });
    return { ...(all ? ranked : cut(ranked, end)), dividers };
  }

  function showTail(source) {
    const hidden = ranked.n - source.numbers.length;
    tail.hidden = !hidden && ranked.n >= ranked.total;
    if (hidden) {
      tail.replaceChildren(el("button", { type: "button", class: "secondary", onclick: showRest }, `Show the rest (${number(hidden)})`));
    } else tail.replaceChildren(el("p", {}, `The ${number(ranked.n)} closest of ${number(ranked.total)}.`));
  }

  function showRest() {
    const first = app.grid.count();
    whole = key;
    draw(app.grid.firstVisible());
    app.grid.focus(first, false);
  }

  /** The sentence above the results, if there is one to say. */
  function introOf() {
    const { where } = app.state();
    if (!ranked?.n) return where.length ? filteredIntro(app, where) : plainIntro("Nothing is indexed that could be found this way.");
    const unknown = (ranked.unknown_words ?? []).filter((word) => word !== app.unfinished());
    if (unknown.length) return unknownIntro(unknown, app);
    return learnedLittle(app) ?? (ranked.likely ? null : plainIntro("Few clear matches.", "few"));
  }

  /** What the grid shows now, with the words above and below it. */
  async function draw(place = null) {
    const chosen = inMap() ? selection : null;
    head.show(ranked, chosen);
    tail.hidden = true;
    literal.show(chosen || inMap() ? null : ranked);
    if (!chosen && !ranked) return drawStart(place);
    drawnFor = chosen ? "" : asked();
    const source = chosen ? head.sorted(chosen, ranked) : listed(place);
    const said = chosen ? null : introOf();
    intro.replaceChildren(...said ? [said] : []);
    const done = app.grid.show(source, place);
    if (!chosen) showTail(source);
    scrubber.show(source);
    return done;
  }

  /** Without a query: in the map a hint, else the start page and everything there is. */
  async function drawStart(place) {
    drawnFor = "";
    intro.replaceChildren(inMap() ? plainIntro("Here is what you see on the map. Draw around some to keep only those.") : startIntro(app));
    scrubber.show(null);
    const everything = inMap() ? { numbers: [] } : await browsing.first();
    if (ranked || (selection && inMap())) return; // something came meanwhile
    await app.grid.show(everything, place);
    if (!inMap()) scrubber.show(everything);
  }

  function settle(reply, place) {
    ranked = reply;
    for (const name of ["problem", "refusal"]) app.notices.clear(name);
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
      sayWhatIsShown();
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
    else head.show(ranked, inMap() ? selection : null);
  }

  app.pickedChanged = head.showPicked;
  app.grid.onscroll = (place) => { scrubber.update(place); browsing.near(app.grid.lastVisible()); };
  return {
    rerun,
    ranked: () => ranked,
    away: sayWhatIsShown,
    /** @param {ArrayLike<number>} numbers @param {string} label @param {boolean} [inView] they are what the map shows */
    setSelection(numbers, label, inView = false) {
      selection = numbers.length || inView ? { numbers: Array.from(numbers), label, inView } : null;
      draw();
    },
    redraw: () => draw(),
    /** The last word of the query is written out. */
    reword() {
      if (!ranked?.unknown_words?.length || inMap()) return;
      const said = introOf();
      intro.replaceChildren(...said ? [said] : []);
    },
    /** Fetch a likely next query before it is asked for. @param {import("./api.js").Query} query */
    prefetch(query) {
      if (!replies.has(keyOf(query))) ask(query).catch(() => {});
    },
    /** @param {import("./address.js").State} state */
    render(state, before, place) {
      head.render(state);
      if (state.view !== "search" && state.view !== "map") return;
      const query = app.query();
      const marked = SIDES.some((side) => String(state[side]) !== String(before[side]));
      const here = place ?? (marked && query ? { ...app.grid.firstVisible(), active: app.grid.active() } : null);
      if (keyOf(query) !== key) run(query, here);
      else if (state.view !== before.view) draw(place);
      else if (place) app.grid.restore(place);
    },
  };
}
