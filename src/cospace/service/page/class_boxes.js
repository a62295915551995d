// The classes that people saved from marked results, as check boxes among the filters; each can be deleted.

import { applyStyle, el, iconButton, number } from "./dom.js";

/** As a condition of a search. */
export const conditionOf = (name) => `class:${name}`;

/** @param {any} app */
export function createClassBoxes(app) {
  const node = el("fieldset", { class: "filter-section", hidden: true });
  const used = (name) => app.state().where.includes(conditionOf(name));
  const others = (name) => app.state().where.filter((filter) => filter !== conditionOf(name));

  async function remove(name) {
    try {
      await app.api.remove(`api/classes/${encodeURIComponent(name)}`);
      if (used(name)) app.update({ where: others(name) }, true);
      app.toast(`The class “${name}” is deleted.`);
    } catch (error) {
      app.toast(error.message);
    }
    await boxes.fill();
    node.closest("[popover]")?.focus();
  }

  function row({ name, count }) {
    const input = el("input", {
      type: "checkbox", "data-class": name, checked: used(name),
      onchange: () => app.update({ where: [...others(name), ...input.checked ? [conditionOf(name)] : []] }, true),
    });
    const label = el("label", { class: "filter-value" }, input, el("span", {}, name), el("span", { class: "filter-count" }, number(count)));
    const sure = () => {
      const go = el("button", { type: "button", class: "text-button", onclick: () => remove(name) }, "Delete");
      const keep = el("button", { type: "button", class: "text-button", onclick: () => { whole.replaceChildren(label, bin); bin.focus(); } }, "Keep");
      whole.replaceChildren(el("span", {}, `Delete “${name}”?`), go, keep);
      keep.focus();
    };
    const bin = iconButton("bin", `Delete the class ${name}`, sure);
    const whole = el("div", { class: "class-row" }, label, bin);
    return whole;
  }

  const boxes = {
    node,
    /** Ask which there are now: other people save some too. */
    async fill() {
      await applyStyle("marks.css");
      const { classes } = await app.api.get("api/classes").catch(() => ({ classes: [] })); // an older service has none
      app.classesKnown(classes.length);
      node.hidden = !classes.length;
      node.replaceChildren(...classes.length ? [el("legend", {}, "Your classes"), ...classes.map(row)] : []);
    },
    /** What is ticked follows the address. */
    tick() {
      for (const input of node.querySelectorAll("input")) input.checked = used(input.dataset.class);
    },
  };
  return boxes;
}
