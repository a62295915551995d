// The query field: words search as they are typed, Enter keeps them, and they become a chip only where that is asked for.

import { MINUS, findNegation, readDraft } from "./address.js";
import { byId, el, icon, iconButton } from "./dom.js";
import { createCompletions } from "./completions.js";
import { createRecent } from "./recent.js";
import { createSources, listenForFiles } from "./sources.js";

const DEBOUNCE_MS = 120;
/** After such a pause a word counts as written out. */
const WRITTEN_MS = 1500;

/** "Show less of it?": words that the search cannot read, while they are typed or in a chip. */
function suggestMinus(app, state) {
  const texts = [state.draft, ...state.parts.filter((part) => part.kind === "text" && part.weight > 0).map((part) => part.value)];
  const found = texts.map(findNegation);
  const at = found.findIndex(Boolean);
  if (at < 0) return app.notices.clear("negation");
  const { rest, without, word } = /** @type {any} */ (found[at]);
  const minus = { kind: "text", value: without, weight: MINUS };
  const others = state.parts.filter((part) => part.value !== texts[at]);
  const patch = at === 0 ? { draft: rest, parts: [...others, minus] } : { parts: [...others, ...readDraft(rest), minus] };
  return app.notices.set("negation", "tip", `This search cannot read “${word}”.`, [{
    label: `Show less “${without}”`,
    run: () => app.update(patch, true),
  }]);
}

/** @param {import("./app.js").App & Record<string, any>} app */
export function createField(app) {
  const input = el("input", {
    type: "search", id: "words", enterkeyhint: "search", "aria-label": "Search", spellcheck: "false", autocapitalize: "off",
    placeholder: "Search",
  });
  const form = byId("query");
  const sources = createSources(app);
  const clear = iconButton("close", "Clear the words", () => { input.value = ""; typed(); input.focus(); });
  const combine = iconButton("plus", "Combine with another", () => { commit(1); input.focus(); });
  form.append(icon("search"), input, el("div", { class: "sources" }, clear, combine, ...sources.nodes));
  app.recent = createRecent(app);
  const completions = createCompletions(app, input, form, (text) => app.searchFor(text, true));
  let timer = 0;
  let writing = 0; // runs while the last word may go on
  let typing = false; // there are words that the state does not know of yet

  const soon = () => { timer = setTimeout(typed, DEBOUNCE_MS); };
  const front = () => app.state().view !== "map" && { view: "search" };
  function settle() {
    clearTimeout(timer);
    typing = false;
  }
  function typed() {
    settle();
    if (input.value !== app.state().draft) app.update({ draft: input.value, ...front() }, "typing");
  }
  function written() {
    clearTimeout(writing);
    writing = 0;
    app.search.reword();
  }
  /** The word that may still go on: that no caption has it is not said yet. */
  app.unfinished = () => (writing ? input.value.toLowerCase().split(/\s+/).at(-1) ?? "" : "");
  const showTools = () => { clear.hidden = !input.value; combine.hidden = !input.value.trim(); };

  /** Enter: the words stay, those with a minus become chips, and the next letter is another search. */
  function enter() {
    const minus = readDraft(input.value).filter((part) => part.weight < 0);
    app.recent.add(input.value);
    completions.close();
    written();
    if (minus.length) {
      settle();
      input.value = readDraft(input.value).find((part) => part.weight > 0)?.value ?? "";
      app.update({ parts: [...app.state().parts, ...minus], draft: input.value, ...front() }, true);
    } else {
      typed();
      app.settle();
    }
    if (matchMedia("(pointer: coarse)").matches) input.blur(); // closes the keyboard of a phone
  }

  /** The words become chips. @param {1|-1} sign */
  function commit(sign) {
    settle();
    completions.close();
    const fresh = readDraft(input.value, sign);
    if (!fresh.length) return;
    app.recent.add(input.value);
    input.value = "";
    app.update({ parts: [...app.state().parts, ...fresh], draft: "", ...front() }, true);
  }

  /** Backspace in the empty field takes the last words back for editing. */
  function editLast() {
    const last = app.state().parts.at(-1);
    if (!last) return;
    const draft = last.kind !== "text" ? "" : last.weight < 0 ? ` -"${last.value}"` : last.value;
    app.update({ parts: app.state().parts.slice(0, -1), draft }, true);
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", (event) => {
    clearTimeout(timer);
    typing = true;
    clearTimeout(writing);
    writing = setTimeout(written, WRITTEN_MS);
    showTools();
    if (!event.isComposing) soon();
    if (input.value.trim()) completions.suggest(input.value);
    else completions.recent();
  });
  input.addEventListener("compositionend", soon);
  input.addEventListener("click", () => input.value || completions.recent());
  input.addEventListener("keydown", (event) => {
    if (event.isComposing || completions.key(event)) return;
    if (event.key === "Enter") {
      event.preventDefault();
      if (event.shiftKey) commit(-1);
      else enter();
    } else if (event.key === "Backspace" && !input.value) {
      event.preventDefault();
      editLast();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      if (!input.value && completions.recent()) return;
      typed();
      app.grid.focus();
    }
  });
  listenForFiles(app);
  app.focusField = () => { input.focus(); input.select(); };
  /** Another text in place of the words in the field. @param {string} text @param {boolean} [stay] in the field */
  app.searchFor = (text, stay = false) => {
    settle();
    written();
    input.value = text;
    app.recent.add(text);
    app.update({ draft: text, item: null, ...front() }, true);
    if (!stay || matchMedia("(pointer: coarse)").matches) input.blur();
  };

  return {
    /** Words that are being typed stay, whatever is drawn meanwhile; Back and Forward replace them. */
    render(state, before) {
      const own = document.activeElement === input && input.value.trim() === state.draft.trim();
      const newer = typing && state.draft === before.draft;
      if (!own && !newer && input.value !== state.draft) input.value = state.draft;
      input.placeholder = state.parts.length && ["search", "map"].includes(state.view) ? "Add words" : innerWidth < 480 ? "Search" : `Search your ${app.modalities.plurals()}`;
      showTools();
      sources.offer();
      suggestMinus(app, state);
    },
  };
}
