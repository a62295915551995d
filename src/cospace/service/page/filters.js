// One popover with everything that narrows the results: conditions on the columns that the index has.

import { el, icon, iconButton } from "./dom.js";

const RELATIONS = [["=", "is"], ["!=", "is not"], [">=", "at least"], ["<=", "at most"]];

/** @param {import("./app.js").App & Record<string, any>} app */
export function createFilters(app) {
  const badge = el("span", { class: "badge", hidden: true });
  const button = el("button", { type: "button", class: "text-button filters-button", popovertarget: "filters" },
    icon("filter"), el("span", {}, "Filters"), badge);
  const list = el("ul", { class: "filter-list" });
  const column = el("select", { "aria-label": "Column" });
  const relation = el("select", { "aria-label": "Relation" }, ...RELATIONS.map(([sign, words]) => el("option", { value: sign }, words)));
  const value = el("input", { type: "text", "aria-label": "Value", placeholder: "cat|dog", required: true, autocomplete: "off" });
  const form = el("form", { class: "filter-form" }, column, relation, value, el("button", { class: "primary" }, "Add"));
  const popover = el("div", { id: "filters", class: "filters", popover: "auto", role: "dialog", "aria-label": "Filters" },
    el("h2", {}, "Filters"), list, form, el("p", { class: "hint" }, "Separate several values by |; any of them will do."));
  document.body.append(popover);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const filter = `${column.value}${relation.value}${value.value.trim()}`;
    value.value = "";
    if (!app.state().where.includes(filter)) app.update({ where: [...app.state().where, filter] }, true);
  });
  popover.addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    const at = button.getBoundingClientRect();
    popover.style.top = `${at.bottom + 6}px`;
    popover.style.left = `${Math.max(8, Math.min(at.right - popover.offsetWidth, innerWidth - popover.offsetWidth - 8))}px`;
    value.focus();
  });

  return {
    button,
    /** @param {import("./address.js").State} state */
    render({ where }) {
      const columns = Object.keys(app.info().columns ?? {});
      button.hidden = !columns.length && !where.length;
      badge.hidden = !where.length;
      badge.textContent = String(where.length);
      if (column.children.length !== columns.length) column.replaceChildren(...columns.map((name) => el("option", {}, name)));
      list.replaceChildren(...where.map((filter) => el("li", {}, el("span", {}, filter),
        iconButton("close", `Remove ${filter}`, () => app.update({ where: app.state().where.filter((other) => other !== filter) }, true)))));
    },
  };
}
