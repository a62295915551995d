// What stands above the grid: the start page, and the sentences for when there is little or nothing to show.

import { count, el, icon, number } from "./dom.js";

/** One sentence. */
export const plainIntro = (text, kind = "plain") => el("p", { class: `intro-line ${kind}` }, text);

/** What is said of a model that health calls poor, with a way there; of others nothing. @param {any} app */
export function learnedLittle(app) {
  if (app.info().quality?.level !== "poor") return null;
  const go = (event) => { event.preventDefault(); app.update({ view: "health" }, true); };
  return el("p", { class: "intro-line few" }, "This model has learned little so far (",
    el("a", { href: "#view=health", onclick: go }, "How good is it?"), "). Results are in order; percentages are left out.");
}

const listed = (words) => words.join(", ").replace(/, ([^,]*)$/, " or $1");

/**
 * "None of the 3,999 captions uses “qwzx”, so these are guesses." Only ever a fact about words, never about scores.
 *
 * @param {string[]} unknown @param {any} app
 */
export function unknownIntro(unknown, app) {
  const texts = app.modalities.all().find((one) => one.is_text);
  const captions = number(app.info().counts[texts?.name] ?? 0);
  const words = unknown.slice(0, 5).map((word) => `“${word}”`);
  return plainIntro(`None of the ${captions} captions uses ${listed(words)}, so these are guesses.`, "banner");
}

/** Filters that let nothing through, each with a button that removes it. */
export function filteredIntro(app, where) {
  const remove = (filter) => app.update({ where: app.state().where.filter((other) => other !== filter) }, true);
  return el("div", { class: "intro-filtered" },
    el("p", { class: "intro-line" }, `Nothing passes the ${where.length === 1 ? "filter" : "filters"} ${where.join(", ")}.`),
    ...where.map((filter) => el("button", { type: "button", class: "text-button", onclick: () => remove(filter) }, `Remove ${filter}`)));
}

/** "12,480 images · 61,900 texts · nothing leaves this computer" */
function holdings({ counts }, modalities) {
  const parts = modalities.held().map(({ name, noun, plural }) => count(counts[name], noun, plural));
  return [...parts, "nothing leaves this computer"].join(" · ");
}

/** Groups of the map with a picture each; a click searches for their name. */
async function showGroups(app, place, search) {
  const { groups } = await app.api.get("api/groups").catch(() => ({ groups: [] })); // an older service has none
  if (!groups.length) return;
  const covers = await app.items.all(groups.map((group) => group.cover));
  const byNumber = new Map(covers.map((item) => [item.number, item]));
  place.replaceChildren(...groups.map(({ name, count: size, cover }) => {
    const item = byNumber.get(cover);
    return el("li", {}, el("button", { type: "button", class: "group", onclick: () => search(name) },
      item && app.modalities.hasPreview(item) && el("img", { alt: "", src: app.modalities.previewOf(item, 256), loading: "lazy" }),
      el("span", { class: "group-name" }, name), el("span", { class: "group-size" }, number(size))));
  }));
  place.hidden = false;
}

/** The start page: what is here, what can be found, groups of it; everything follows in the grid. */
export function startIntro(app) {
  const info = app.info();
  const search = (text) => app.searchFor(text);
  const examples = (info.examples ?? []).map((text) =>
    el("li", {}, el("button", { type: "button", class: "example", onclick: () => search(text) }, text)));
  const groups = el("ul", { class: "groups", "aria-label": "Groups", hidden: true });
  showGroups(app, groups, search).catch(() => {}); // the page is whole without them
  return el("div", { class: "welcome" },
    el("h2", {}, "Find it by describing it"),
    el("p", { class: "holdings" }, holdings(info, app.modalities)),
    learnedLittle(app),
    examples.length && el("ul", { class: "examples", "aria-label": "Try one of these" }, ...examples),
    groups);
}
