// The popover with everything that narrows the results: a section for each of the person's own columns.

import { el, iconButton, number } from "./dom.js";
import { createClassBoxes } from "./class_boxes.js";

/** `label=cat|dog` as column, relation and values. */
function parsed(filter) {
  const match = /^\s*([^=!<>]+?)\s*(=|!=|>=|<=)([^]*)$/.exec(filter);
  return match && { column: match[1], relation: match[2], values: match[3].split("|").map((value) => value.trim()) };
}

/** @param {any} app @param {HTMLElement} button that opens it */
export function createFilterPanel(app, button) {
  const sections = el("div", { class: "filter-sections" });
  const list = el("ul", { class: "filter-list", "aria-label": "Filters in use" });
  const popover = el("div", { id: "filters", class: "filters", popover: "auto", role: "dialog", "aria-label": "Filters", tabindex: "-1" },
    el("h2", {}, "Filters"), list);
  const classes = createClassBoxes(app);
  popover.append(classes.node, sections);
  document.body.append(popover);
  let version = -1;

  const set = (where) => app.update({ where }, true);
  const of = (column, relation) => app.state().where.find((filter) => {
    const one = parsed(filter);
    return one?.column === column && one.relation === relation;
  });
  const chosen = (column) => parsed(of(column, "=") ?? "")?.values ?? [];

  /** Another condition of a kind on a column in place of the one there is; "" for none. */
  function replace(column, relation, value) {
    const old = of(column, relation);
    const fresh = value === "" ? [] : [`${column}${relation}${value}`];
    const where = app.state().where;
    set(old === undefined ? [...where, ...fresh] : where.flatMap((filter) => (filter === old ? fresh : [filter])));
  }

  function choices({ name, values, distinct }) {
    const box = ({ value, count }) => {
      const input = el("input", {
        type: "checkbox", "data-column": name, "data-value": value, checked: chosen(name).includes(value),
        onchange() {
          const others = chosen(name).filter((other) => other !== value);
          replace(name, "=", [...others, ...input.checked ? [value] : []].join("|"));
        },
      });
      return el("label", { class: "filter-value" }, input, el("span", {}, value), el("span", { class: "filter-count" }, number(count)));
    };
    // A bar would part a value in two in a condition.
    return [...values.filter(({ value }) => !value.includes("|")).map(box),
      distinct > values.length && el("p", { class: "hint" }, `The most frequent of ${number(distinct)}.`)];
  }

  function range({ name, least, most }) {
    const side = (relation, label, bound) => el("label", {}, el("span", {}, label), el("input", {
      type: "number", step: "any", placeholder: String(bound), "data-column": name, "data-relation": relation,
      value: parsed(of(name, relation) ?? "")?.values[0] ?? "", onchange: (event) => replace(name, relation, event.target.value),
    }));
    return [el("div", { class: "filter-range" }, side(">=", "from", least), side("<=", "to", most))];
  }

  async function fill() {
    const reply = await app.api.get("api/values");
    version = reply.version;
    sections.replaceChildren(...reply.columns.map((column) => el("fieldset", { class: "filter-section" },
      el("legend", {}, column.name), ...(column.kind === "number" ? range(column) : choices(column)).filter(Boolean))));
  }

  /** What is ticked follows the address, by which filters may come and go. */
  function tick() {
    classes.tick();
    for (const input of sections.querySelectorAll("input")) {
      const { column, value, relation } = input.dataset;
      if (relation) input.value = parsed(of(column, relation) ?? "")?.values[0] ?? "";
      else input.checked = chosen(column).includes(value);
    }
  }

  function place() {
    const at = button.getBoundingClientRect();
    popover.style.top = `${at.bottom + 6}px`;
    popover.style.maxHeight = `${innerHeight - at.bottom - 18}px`;
    popover.style.left = `${Math.max(8, Math.min(at.right - popover.offsetWidth, innerWidth - popover.offsetWidth - 8))}px`;
  }

  async function shown() {
    place();
    popover.focus();
    try {
      if (version !== app.info().version) await fill();
      await classes.fill();
      tick();
      place();
    } catch (error) {
      app.notices.problem(error);
    }
  }

  popover.addEventListener("toggle", (event) => event.newState === "open" && shown());
  return {
    toggle: () => popover.togglePopover(),
    /** What is in use. @param {string[]} where */
    render(where) {
      list.hidden = !where.length;
      list.replaceChildren(...where.map((filter) => el("li", {}, el("span", {}, filter),
        iconButton("close", `Remove ${filter}`, () => set(app.state().where.filter((other) => other !== filter))))));
      if (popover.matches(":popover-open")) tick();
    },
  };
}
