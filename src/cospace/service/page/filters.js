// The button to what narrows the results, with how many conditions there are.

import { el, icon } from "./dom.js";

/** @param {import("./app.js").App & Record<string, any>} app */
export function createFilters(app) {
  const badge = el("span", { class: "badge", hidden: true });
  const button = el("button", { type: "button", class: "text-button filters-button", "aria-haspopup": "dialog", onclick: open },
    icon("filter"), el("span", {}, "Filters"), badge);
  /** @type {{toggle: () => void, render: (where: string[]) => void}|null} */
  let panel = null;

  let classes = 0; // saved ones, which filter where the items have no columns too
  let asked = false;
  const showButton = () => { button.hidden = !Object.keys(app.info().columns ?? {}).length && !app.state().where.length && !classes; };
  app.classesKnown = (count) => { classes = count; showButton(); };

  async function open() {
    const { createFilterPanel } = await import("./filter_panel.js");
    panel ??= createFilterPanel(app, button);
    panel.render(app.state().where);
    panel.toggle();
  }

  return {
    button,
    /** @param {import("./address.js").State} state */
    render({ where }) {
      showButton();
      if (button.hidden && !asked) app.api.get("api/classes").then((reply) => app.classesKnown(reply.classes.length), () => {});
      asked = true;
      badge.hidden = !where.length;
      badge.textContent = String(where.length);
      panel?.render(where);
    },
  };
}
