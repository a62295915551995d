// The line above the results: how many there are, what to find, filters, and what has been selected.

import { searchingParts } from "./address.js";
import { byId, count, el, icon, iconButton, number } from "./dom.js";
import { capital } from "./modalities.js";
import { createFilters } from "./filters.js";
import { ACTIONS, runAction } from "./actions.js";

/** @param {import("./app.js").App & Record<string, any>} app */
export function createHead(app) {
  const words = el("p", { class: "summary" });
  const group = el("div", { class: "segments", role: "group", "aria-label": "What to find" });
  let choices = "";
  const filters = createFilters(app);
  const picks = el("div", { class: "picks", hidden: true });
  let byQuery = true;
  byId("results-head").append(words, picks, group, filters.button);

  /** "7 likely matches · 24 more that may fit" @param {import("./api.js").Ranked} ranked */
  function summary({ likely, maybe, n }) {
    const more = maybe - likely;
    const sure = likely && count(likely, "likely match", "likely matches");
    const unsure = more > 0 && (sure ? `${number(more)} more that may fit` : `${number(more)} that may fit`);
    return [sure, unsure].filter(Boolean).join(" · ") || (n ? "The closest there are" : "No results");
  }

  function clearSelection() {
    if (app.clearSelection) app.clearSelection();
    else app.setSelection([], "");
  }

  /** What can be found, where there is a choice; nothing chosen means the first of them. @param {string|null} find */
  function showChoices(find) {
    const held = app.modalities.held();
    const key = JSON.stringify(held);
    if (key !== choices) {
      group.replaceChildren(...held.map(({ name, plural }, at) => el("button", {
        type: "button", class: "segment", "data-find": name, onclick: () => app.update({ find: at ? name : null }, true),
      }, capital(plural))));
    }
    choices = key;
    group.hidden = held.length < 2;
    const chosen = find ?? app.modalities.main().name;
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.find === chosen));
  }

  const order = el("button", { type: "button", class: "text-button", onclick() { byQuery = !byQuery; app.search.redraw(); } });

  return {
    summary,
    /** The selection of the map as a source, in the order of the query where that is wanted. */
    sorted({ numbers }, ranked) {
      if (!ranked || !byQuery) return { numbers };
      const ranks = new Map(Array.from(ranked.numbers, (item, rank) => [item, rank]));
      const rank = (item) => ranks.get(item) ?? Infinity;
      return { numbers: [...numbers].sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b))) };
    },
    /** @param {import("./api.js").Ranked|null} ranked @param {{numbers: number[], label: string}|null} selection */
    show(ranked, selection) {
      if (selection) {
        order.textContent = byQuery ? "Sorted by query" : "As on the map";
        words.replaceChildren(`${selection.label} `, ...(ranked ? [order] : []), ...(selection.inView ? [] : [
          el("button", { type: "button", class: "text-button", onclick: clearSelection }, "Clear selection")]));
      } else {
        words.replaceChildren(ranked ? summary(ranked) : "");
      }
    },
    /** The results that are shown are not those of the query. @param {string} text */
    stale(text) {
      words.replaceChildren(text);
    },
    /** What Space has selected, and what can be done with it. @param {number[]} picked */
    showPicked(picked) {
      picks.hidden = !picked.length;
      if (!picked.length) return;
      const plus = ACTIONS.find((action) => action.name === "plus");
      const addAll = async () => {
        const items = await app.items.all(picked);
        const parts = items.map(({ id }) => ({ kind: "item", value: id, weight: 1 }));
        const before = searchingParts(app.state());
        app.update({ parts: [...before, ...parts].slice(0, app.info().limits?.parts ?? 16), draft: "" }, true);
      };
      const copyAll = async () => {
        const items = await app.items.all(picked);
        await navigator.clipboard.writeText(items.map(({ path, id }) => path || id).join("\n"));
        app.toast(`Copied ${count(items.length, "name")}.`);
      };
      const shelveAll = async () => app.shelve((await app.items.all(picked)).map(({ id }) => id));
      picks.replaceChildren(
        el("span", {}, `${number(picked.length)} selected`),
        iconButton("shelf", "Put on the shelf", shelveAll),
        iconButton("plus", "Also like these", () => (picked.length === 1 ? runAction(app, plus, picked[0]) : addAll())),
        iconButton("copy", "Copy file names", copyAll),
        iconButton("close", "Clear selection", () => app.grid.unpick()));
    },
    /** @param {import("./address.js").State} state */
    render(state) {
      showChoices(state.find);
      filters.render(state);
      byId("results-head").classList.toggle("start", !app.query() && state.view === "search");
    },
  };
}
