// The state, its address, and the way back: every entry of the history remembers which tile was in view.

import { readAddress, withoutOldMarks, writeAddress } from "./address.js";

/**
 * @typedef {import("./address.js").State} State
 * @param {object} page
 * @param {() => {index: number, offset: number}} page.place what is in view now
 * @param {(state: State, before: State, place: {index: number, offset: number}|null) => void} page.changed draws;
 *     `place` is where a visited entry was left, null when the state changed in any other way
 */
export function createNavigation({ place, changed }) {
  let state = readAddress(location.hash);
  let started = false;
  let typing = false; // the newest entry is of words that are still being typed

  const savePlace = () => history.replaceState({ place: place() }, "");

  /** What people do before the page has started is kept for then. @param {State} next */
  function show(next, left = null) {
    const before = state;
    state = next;
    if (started) changed(state, before, left);
  }

  return {
    state: () => state,
    savePlace,
    /**
     * @param {Partial<State>} patch
     * @param {boolean|"typing"} [push] whether Back leads here from what comes; of words being typed the first letter
     *     makes an entry, which the others change
     */
    update(patch, push = false) {
      const next = withoutOldMarks(state, { ...state, ...patch });
      const address = writeAddress(next);
      const entry = push === "typing" ? !typing : push;
      if (push) typing = push === "typing";
      if (entry && address !== writeAddress(state)) {
        savePlace();
        history.pushState(null, "", address);
      } else {
        history.replaceState(history.state, "", address);
      }
      show(next);
    },
    /** The words are typed: the next letter is another search. */
    settle() {
      typing = false;
    },
    /** Draw what the address says, as left before a reload, and follow Back and Forward. */
    begin() {
      started = true;
      addEventListener("popstate", (event) => {
        typing = false;
        show(readAddress(location.hash), event.state?.place ?? null);
      });
      show(state, history.state?.place ?? null);
    },
  };
}
