// What stands above the grid: the start page, and the sentences for when there is little or nothing to show.

import { count, el, icon } from "./dom.js";

/** One sentence. */
export const plainIntro = (text, kind = "plain") => el("p", { class: `intro-line ${kind}` }, text);

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

/** The start page: what is here, six things to try, and items that stand for the others. */
export function startIntro(app) {
  const info = app.info();
  const search = (text) => app.update({ parts: [{ kind: "text", value: text, weight: 1 }], draft: "" }, true);
  const examples = (info.examples ?? []).map((text) =>
    el("li", {}, el("button", { type: "button", class: "example", onclick: () => search(text) }, icon("search"), el("span", {}, text))));
  return el("div", { class: "welcome" },
    el("h2", {}, "Find it by describing it"),
    el("p", { class: "holdings" }, holdings(info, app.modalities)),
    examples.length && el("p", { class: "label" }, "Try one of these"),
    examples.length && el("ul", { class: "examples" }, ...examples),
    info.representatives?.length && el("p", { class: "label" }, "Some of what is here"));
}
