// Messages: banners with something to do, short toasts, and what screen readers say.

import { byId, el, icon, sentence } from "./dom.js";

const TOAST_MS = 5000;
/** What may go better another time: the others fail for what was asked, and fail again. */
const PASSING = [408, 429, 500, 502, 503, 504];
const ICONS = { error: "alert", lost: "alert", tip: "spark", wait: "clock" };

/**
 * @typedef {{label: string, run: () => void}} Action
 */

function buttons(actions, done) {
  return actions.map(({ label, run }) =>
    el("button", { type: "button", class: "text-button", onclick() { done(); run(); } }, label));
}

export function createNotices() {
  const area = byId("notices");
  /** @type {Map<string, HTMLElement>} */
  const shown = new Map();

  /** @param {string} key one banner of a kind at a time */
  function clear(key) {
    shown.get(key)?.remove();
    shown.delete(key);
  }

  /**
   * @param {string} key
   * @param {"error"|"lost"|"tip"|"wait"} kind
   * @param {string} text
   * @param {Action[]} [actions]
   * @param {string} [command] to be typed, after the text
   */
  function set(key, kind, text, actions = [], command = "") {
    const old = shown.get(key);
    if (old?.dataset.text === text) return;
    const role = kind === "error" || kind === "lost" ? "alert" : "status";
    const node = el("div", { class: `notice ${kind}`, role, "data-text": text },
      icon(ICONS[kind]), el("p", {}, text, command && el("code", {}, command)), ...buttons(actions, () => clear(key)));
    if (kind === "error" || kind === "tip") {
      node.append(el("button", { type: "button", class: "icon-button small", "aria-label": "Dismiss", onclick: () => clear(key) },
        icon("close")));
    }
    if (old) old.replaceWith(node);
    else area.append(node);
    shown.set(key, node);
  }

  /** A toast; it stays while it has the focus or the pointer. @param {string} text @param {Action} [action] */
  function toast(text, action) {
    const node = el("div", { class: "toast", role: "status" }, el("p", {}, text),
      ...buttons(action ? [action] : [], () => node.remove()));
    byId("toasts").replaceChildren(node);
    const leave = () => (node.matches(":hover, :focus-within") ? setTimeout(leave, 1000) : node.remove());
    setTimeout(leave, TOAST_MS);
  }

  return {
    set,
    clear,
    toast,
    /** @param {string} text */
    say(text) {
      byId("live").textContent = text;
    },
    /**
     * What went wrong, why, and, where that may help, the button that tries again.
     * @param {any} error @param {() => void} [retry] @param {string} [about] the name of the file, say
     */
    problem(error, retry, about = "") {
      if (error.name === "AbortError" || error.status === 0) return; // not wanted any more; shown by the connection's banner
      const title = error.title && error.title !== error.message ? [error.title] : [];
      const why = [about, ...title, error.message].filter(Boolean).map((part) => part.replace(/\.$/, ""));
      const said = about ? `${about}: ${why.slice(1).join(": ")}.` : `${why.map(sentence).join(". ")}.`;
      const again = retry && (error.status === undefined || PASSING.includes(error.status));
      set("problem", "error", said, again ? [{ label: "Retry", run: retry }] : []);
    },
  };
}
