// The parts of the query as chips: what it is, a menu with its weight, and a way to remove it. All of it works by keyboard.

import { byId, el, icon } from "./dom.js";
import { capital } from "./modalities.js";
import { uploadUrl } from "./uploads.js";

const sameParts = (a, b) => a.length === b.length && a.every((part, at) => part.kind === b[at].kind && part.value === b[at].value);

/** @param {import("./app.js").App & Record<string, any>} app */
export function createChips(app) {
  const list = byId("chips");
  /** @type {import("./address.js").Part[]} */
  let drawn = [];

  const change = (at, part, push) => app.update({ parts: app.state().parts.map((old, place) => (place === at ? { ...old, ...part } : old)) }, push);

  function remove(at) {
    app.update({ parts: app.state().parts.filter((_, place) => place !== at) }, true);
    const next = list.children[Math.min(at, drawn.length - 1)];
    if (drawn.length) next.querySelector("button").focus();
    else app.focusField();
  }

  /** Take the words back into the field. */
  function edit(at) {
    const part = app.state().parts[at];
    app.update({ parts: app.state().parts.filter((_, place) => place !== at), draft: part.value }, true);
    app.focusField();
  }

  /** "your image" as the name of a chip: "Image". */
  const shortName = (part) => capital(app.nameOf(part).replace(/^(your|an?) /, ""));

  /** A preview of what is searched by, and its name. */
  function previewed(part, node) {
    const name = el("span", { class: "chip-name" }, shortName(part));
    const preview = el("img", { alt: "", class: "chip-preview", hidden: true });
    const show = (url) => {
      preview.hidden = !url;
      if (url) preview.src = url;
    };
    const gone = (why) => {
      preview.remove();
      name.textContent = why;
      node.classList.add("expired");
      node.querySelector(".chip-amount").textContent = ""; // nothing is weighed any more
    };
    if (part.kind === "item") {
      app.items.withId(part.value).then((item) => {
        name.textContent = item.text || item.path || item.id;
        show(app.modalities.hasPreview(item) && app.modalities.previewOf(item, 64));
      }, (error) => error.status === 404 && gone("no longer in the index"));
    } else {
      app.uploads.one(part.value).then((upload) => {
        name.textContent = shortName(part);
        show(upload.preview && uploadUrl(part.value));
      }, (error) => {
        if (error.status !== 404) return;
        gone(`${app.modalities.uploadNoun()} expired`);
        app.expired.add(part.value);
        app.search.rerun(false);
      });
    }
    return [preview, name];
  }

  const openMenu = async (at, label, anchor) => (await import("./chip_menu.js")).openChipMenu(anchor, {
    label,
    part: () => app.state().parts[at],
    change: (patch, push) => change(at, patch, push),
    weighted: app.state().parts.length > 1 || Boolean(app.state().draft.trim()),
    edit: app.state().parts[at].kind === "text" ? () => edit(at) : null,
  });

  function chip(part, at) {
    const node = el("li", { class: "chip" });
    const label = part.kind === "text" ? part.value : shortName(part);
    const inside = part.kind === "text" ? [el("span", { class: "chip-name" }, part.value)] : previewed(part, node);
    const menu = el("button", { type: "button", class: "chip-menu-button", "aria-haspopup": "dialog", "aria-expanded": "false" },
      el("span", { class: "chip-sign" }), ...inside, el("span", { class: "chip-amount" }));
    menu.addEventListener("click", () => !node.classList.contains("expired") && openMenu(at, label, menu));
    const cross = el("button", {
      type: "button", class: "chip-remove", "aria-label": `Remove ${label}`, onclick: () => remove(at),
    }, icon("close"));
    node.append(menu, cross);
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Delete") return;
      event.preventDefault();
      remove(at);
    });
    return node;
  }

  /** Signs and weights change in place: the menu must keep its chip. An even weight is not worth a word. */
  function adjust(node, part) {
    const plus = part.weight > 0;
    const size = Math.abs(part.weight).toFixed(1);
    const sign = node.querySelector(".chip-sign");
    node.classList.toggle("minus", !plus);
    if (sign.dataset.plus !== String(plus)) {
      sign.dataset.plus = String(plus);
      sign.replaceChildren(plus ? "" : icon("minus"), el("span", { class: "unseen" }, plus ? "" : "less of "));
    }
    const usual = plus ? "1.0" : "0.7";
    node.querySelector(".chip-amount").textContent = size === usual || node.classList.contains("expired") ? "" : `×${size}`;
  }

  const marks = el("li", { class: "marks", hidden: true });

  /** How many results were marked; the code for it comes when some are. */
  async function showMarks({ right, wrong }) {
    marks.hidden = !right.length && !wrong.length;
    if (!marks.hidden || marks.children.length) (await import("./marks.js")).drawMarks(app, marks);
  }

  const clear = el("li", {}, el("button", { type: "button", class: "text-button", onclick: app.reset }, "Clear"));

  return {
    /** @param {import("./address.js").State} state */
    render(state) {
      const { parts, view } = state;
      if (!sameParts(parts, drawn) || !marks.isConnected) {
        list.replaceChildren(...parts.map(chip), marks, clear);
        list.scrollLeft = list.scrollWidth;
      }
      drawn = parts;
      parts.forEach((part, at) => adjust(list.children[at], part));
      showMarks(state);
      clear.hidden = !parts.length;
      byId("chips-row").hidden = (!parts.length && marks.hidden) || (view !== "search" && view !== "map");
    },
  };
}
