// What stands above the grid: the start page, and the words for when there is little or nothing to show.

import { count, el, icon } from "./dom.js";

/** One sentence. */
export const plainLead = (text, kind = "plain") => el("p", { class: `lead-line ${kind}` }, text);

/** Filters that let nothing through, each with a button that removes it. */
export function filteredLead(app, where) {
  const remove = (filter) => app.update({ where: app.state().where.filter((other) => other !== filter) }, true);
  return el("div", { class: "lead-filtered" },
    el("p", { class: "lead-line" }, `Nothing passes the ${where.length === 1 ? "filter" : "filters"} ${where.join(", ")}.`),
    ...where.map((filter) => el("button", { type: "button", class: "text-button", onclick: () => remove(filter) }, `Remove ${filter}`)));
}

/** "12,480 pictures · 61,900 captions · nothing leaves this computer" */
function holdings({ counts }) {
  const names = { image: ["picture"], text: ["caption"] };
  const parts = Object.entries(counts).filter(([, n]) => n).map(([modality, n]) => count(n, ...(names[modality] ?? [modality])));
  return [...parts, "nothing leaves this computer"].join(" · ");
}

/** The start page: what is here, six things to try, and pictures that stand for the others. */
export function emptyLead(app) {
  const info = app.info();
  const search = (text) => app.update({ parts: [{ kind: "text", value: text, weight: 1 }], draft: "" }, true);
  const examples = (info.examples ?? []).map((text) =>
    el("li", {}, el("button", { type: "button", class: "example", onclick: () => search(text) }, icon("search"), el("span", {}, text))));
  return el("div", { class: "welcome" },
    el("h2", {}, "Find it by describing it"),
    el("p", { class: "holdings" }, holdings(info)),
    examples.length && el("p", { class: "label" }, "Try one of these"),
    examples.length && el("ul", { class: "examples" }, ...examples),
    info.representatives?.length && el("p", { class: "label" }, "A look at what is here"));
}
