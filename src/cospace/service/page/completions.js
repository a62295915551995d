// The list under the field: words of the captions that go on from what is typed, or what was searched for last.
// A combobox as the ARIA Authoring Practices describe it: the focus stays in the field, keys move through the list.

import { el, icon, number } from "./dom.js";

const MOST = 8;

/**
 * @param {any} app
 * @param {HTMLInputElement} input
 * @param {HTMLElement} form which the list hangs below
 * @param {(text: string) => void} choose
 */
export function createCompletions(app, input, form, choose) {
  const list = el("ul", { id: "completions", role: "listbox", "aria-label": "Suggestions" });
  const forget = el("button", { type: "button", class: "text-button", tabindex: "-1", onclick() { app.recent.forget(); close(); } }, "Forget these");
  const box = el("div", { class: "completions", hidden: true }, list, forget);
  form.append(box);
  for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"], ["aria-controls", "completions"]]) {
    input.setAttribute(name, value);
  }
  let active = -1;
  let controller = new AbortController();

  const options = () => [...list.children];
  const isOpen = () => !box.hidden;

  function mark(at) {
    active = at;
    options().forEach((option, place) => option.setAttribute("aria-selected", String(place === at)));
    if (at < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", options()[at].id);
      options()[at].scrollIntoView({ block: "nearest" });
    }
  }

  function close() {
    controller.abort();
    box.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  }

  /** @param {{text: string, count?: number}[]} entries */
  function open(entries, remembered = false) {
    if (!entries.length || document.activeElement !== input) return close();
    list.replaceChildren(...entries.map(({ text, count }, at) => el("li", {
      role: "option", id: `completion-${at}`, "aria-selected": "false", "data-text": text,
      onclick() { close(); choose(text); },
    }, icon(remembered ? "clock" : "search"), el("span", {}, text), count !== undefined && el("span", { class: "completion-count" }, number(count)))));
    forget.hidden = !remembered;
    box.hidden = false;
    input.setAttribute("aria-expanded", "true");
    return mark(-1);
  }

  box.addEventListener("pointerdown", (event) => event.preventDefault()); // the focus stays in the field
  input.addEventListener("blur", close);

  return {
    close,
    isOpen,
    /** What was searched for last, while the field is empty. @returns {boolean} whether there is anything */
    recent() {
      open(app.recent.all().map((text) => ({ text })), true);
      return isOpen();
    },
    /** Ask for what goes on from the words; an answer that comes too late is not shown. @param {string} typed */
    async suggest(typed) {
      controller.abort();
      controller = new AbortController();
      const { signal } = controller;
      if (!typed.trim() || /["“-]\S*$/u.test(typed)) return close();
      try {
        const found = await app.api.get(`api/complete?q=${encodeURIComponent(typed.slice(-200))}&k=${MOST}`, { signal });
        const own = typed.trim().toLowerCase();
        if (!signal.aborted) open(found.completions.filter(({ text }) => text.toLowerCase() !== own));
      } catch {
        if (!signal.aborted) close(); // words can be typed in full
      }
    },
    /** Keys that the list takes while it is open. @param {KeyboardEvent} event @returns {boolean} whether it did */
    key(event) {
      if (!isOpen()) return false;
      const all = options();
      const to = { ArrowDown: active + 1, ArrowUp: active < 0 ? all.length - 1 : active - 1 }[event.key];
      if (to !== undefined) mark(to >= all.length || to < 0 ? -1 : to);
      else if (event.key === "Escape") close();
      else if (event.key === "Enter" && active >= 0) all[active].click();
      else return false;
      event.preventDefault();
      return true;
    },
  };
}
