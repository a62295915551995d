// Teaching by pointing: results that were marked right or wrong, which move the query, and the class they make.

import { conditionOf } from "./class_boxes.js";
import { SIDES, describe, searchingParts, serverPart } from "./address.js";
import { applyStyle, count, el, icon, iconButton } from "./dom.js";

const MOST = 200;

/** @typedef {"right"|"wrong"} Side */

/** "2 right, 1 wrong" */
const inWords = (state) => SIDES.filter((side) => state[side].length).map((side) => `${state[side].length} ${side}`).join(", ");

/** The marks with one more, or without it where it is there. @param {Side} side */
function changed(state, id, side) {
  const without = Object.fromEntries(SIDES.map((each) => [each, state[each].filter((other) => other !== id)]));
  return state[side].includes(id) ? without : { ...without, [side]: [...without[side], id] };
}

/** Mark a result, or take its mark back: the search moves at once. @param {any} app @param {number} item @param {Side} side */
export async function mark(app, item, side) {
  if (!app.query()) return app.toast("Search first: its results can be marked right or wrong.");
  const { id } = await app.items.one(item);
  const marks = changed(app.state(), id, side);
  if (marks[side].length > MOST) return app.toast(`${MOST} results are marked ${side}; more are not taken.`);
  app.update(marks, true);
  app.say(inWords(app.state()) || "No marks");
  if (side === "wrong" && marks.wrong.includes(id)) {
    app.toast("Marked as wrong; it is not found any more.", {
      label: "Undo", run: () => app.state().wrong.includes(id) && app.update(changed(app.state(), id, side), true),
    });
  }
}

/** The chip with how many are marked, and what can be made of them. @param {any} app @param {HTMLElement} place */
export async function drawMarks(app, place) {
  await applyStyle("marks.css");
  const words = inWords(app.state());
  if (place.dataset.words === words) return;
  place.dataset.words = words;
  place.replaceChildren(...words ? [
    el("span", { class: "chip" }, icon("check"), el("span", { class: "chip-name" }, words), el("button", {
      type: "button", class: "chip-remove", "aria-label": "Take all marks back", onclick: () => app.update({ right: [], wrong: [] }, true),
    }, icon("close"))),
    el("button", { type: "button", class: "text-button", onclick: () => openSave(app) }, "Save as a class…"),
  ] : []);
}

const asked = (app) => {
  const { right, wrong, find } = app.state();
  return { parts: searchingParts(app.state()).map(serverPart), right, wrong, ...find ? { find } : {} };
};

/** Keep what the query and the marks mean together, under a name. @param {any} app */
function openSave(app) {
  const name = el("input", { type: "text", id: "class-name", required: true, maxlength: "100", autocomplete: "off", value: describe(searchingParts(app.state()), app.nameOf).slice(0, 100) });
  const problem = el("p", { class: "save-problem", role: "alert" });
  const form = el("form", { class: "save-form" }, el("label", { for: "class-name" }, "Name"), name, problem,
    el("p", { class: "hint" }, "A filter of this name keeps what is like the results marked right. It is kept in the index folder; one of the same name is replaced."),
    el("button", { class: "primary" }, "Save"));
  const dialog = el("dialog", { class: "sheet save-class", "aria-labelledby": "save-title" },
    el("div", { class: "sheet-head" }, el("h2", { id: "save-title" }, "Save as a class"), iconButton("close", "Close", () => dialog.close())), form);

  async function save(event) {
    event.preventDefault();
    problem.textContent = "";
    try {
      saved(app, await app.api.post("api/classes", { name: name.value.trim(), ...asked(app) }));
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      name.focus();
    }
  }

  form.addEventListener("submit", save);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  name.select();
}

function saved(app, made) {
  const { noun, plural } = app.modalities.of(made.modality);
  const filter = conditionOf(made.name);
  app.classesKnown(1);
  app.toast(`Saved. The filter ${filter} keeps ${count(made.count, noun, plural)}.`, {
    label: "Use it",
    run: () => app.update({ where: [...app.state().where.filter((other) => other !== filter), filter] }, true),
  });
}
