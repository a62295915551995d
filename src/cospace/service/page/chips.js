// The parts of the query as chips: sign, what it is, weight, and a way to remove it. All of it works by keyboard.

import { clampWeight } from "./address.js";
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
    const gone = (why) => { preview.remove(); name.textContent = why; node.classList.add("expired"); };
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

  function chip(part, at) {
    const node = el("li", { class: "chip" });
    const what = part.kind === "text"
      ? [el("button", { type: "button", class: "chip-name words", title: "Edit these words", onclick: () => edit(at) }, part.value)]
      : previewed(part, node);
    const label = part.kind === "text" ? part.value : shortName(part);
    const sign = el("button", { type: "button", class: "chip-sign", onclick: () => change(at, { weight: -app.state().parts[at].weight }, true) });
    const slider = el("input", {
      type: "range", min: "0.1", max: "2", step: "0.1", class: "chip-weight", "aria-label": `Weight of ${label}`,
      oninput: () => change(at, { weight: clampWeight(Math.sign(app.state().parts[at].weight) * Number(slider.value)) }, false),
    });
    const amount = el("output", { class: "chip-amount" });
    const cross = el("button", {
      type: "button", class: "chip-remove", "aria-label": `Remove ${label}`, onclick: () => remove(at),
    }, icon("close"));
    node.append(sign, ...what, slider, amount, cross);
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Delete") return;
      event.preventDefault();
      remove(at);
    });
    return node;
  }

  /** Signs and weights change in place: a slider must not be made anew under somebody's hand. */
  function adjust(node, part) {
    const plus = part.weight > 0;
    const sign = node.querySelector(".chip-sign");
    const slider = node.querySelector(".chip-weight");
    const size = Math.abs(part.weight).toFixed(1);
    node.classList.toggle("minus", !plus);
    if (sign.dataset.plus !== String(plus)) {
      sign.dataset.plus = String(plus);
      sign.replaceChildren(icon(plus ? "plus" : "minus"));
      sign.setAttribute("aria-label", plus ? "More of this; press for less" : "Less of this; press for more");
      sign.title = sign.getAttribute("aria-label");
    }
    if (slider.value !== size) slider.value = size;
    slider.setAttribute("aria-valuetext", `${plus ? "" : "minus "}${size}`);
    node.querySelector(".chip-amount").textContent = `×${size}`;
  }

  const clear = el("li", {}, el("button", { type: "button", class: "text-button", onclick: app.reset }, "Clear"));

  return {
    /** @param {import("./address.js").State} state */
    render({ parts }) {
      if (!sameParts(parts, drawn)) {
        list.replaceChildren(...parts.map(chip), clear);
        list.scrollLeft = list.scrollWidth;
      }
      drawn = parts;
      parts.forEach((part, at) => adjust(list.children[at], part));
      byId("chips-row").hidden = !parts.length;
    },
  };
}
