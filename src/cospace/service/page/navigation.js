// The state, its address, and the way back: every entry of the history remembers which tile was in view.

import { readAddress, writeAddress } from "./address.js";

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
    /** @param {Partial<State>} patch */
    update(patch, push = false) {
      const next = { ...state, ...patch };
      const address = writeAddress(next);
      if (push && address !== writeAddress(state)) {
        // Words that have become a chip shall not come back as words.
        const committed = state.draft && !next.draft;
        history.replaceState({ place: place() }, "", writeAddress(committed ? { ...state, draft: "" } : state));
        history.pushState(null, "", address);
      } else {
        history.replaceState(history.state, "", address);
      }
      show(next);
    },
    /** Draw what the address says, as left before a reload, and follow Back and Forward. */
    begin() {
      started = true;
      addEventListener("popstate", (event) => show(readAddress(location.hash), event.state?.place ?? null));
      show(state, history.state?.place ?? null);
    },
  };
}
