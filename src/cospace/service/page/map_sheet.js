// On a phone the map fills the screen, and the list lies over its foot as a sheet that is pulled up.

import { byId, el } from "./dom.js";

/** Shares of the height that the sheet takes; the first leaves a line of it. */
const STOPS = [0, 0.4, 0.92];
const LINE = 92;
const STILL = 6;

/** @param {() => void} moved called when the sheet covers more or less of the map */
export function createSheet(moved) {
  const results = byId("results");
  const narrow = matchMedia("(max-width: 639px)");
  let stop = 1;

  const heights = () => STOPS.map((share) => Math.max(LINE, Math.round(share * byId("main").clientHeight)));
  function place(height, slide = true) {
    results.classList.toggle("sliding", slide);
    results.style.setProperty("--sheet", `${height}px`);
  }
  function go(to) {
    stop = Math.min(STOPS.length - 1, Math.max(0, to));
    place(heights()[stop]);
    describe();
    moved();
  }
  function describe() {
    handle.setAttribute("aria-expanded", String(stop > 0));
    handle.setAttribute("aria-label", stop === 2 ? "Show the map" : "Show more of the list");
  }

  const handle = el("button", { type: "button", class: "sheet-handle", "aria-controls": "scroller" });
  results.prepend(handle);
  /** @type {{y: number, height: number, moved: boolean}|null} */
  let drag = null;
  let dragged = false;
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    drag = { y: event.clientY, height: results.offsetHeight, moved: false };
  });
  handle.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.moved ||= Math.abs(event.clientY - drag.y) > STILL;
    const all = heights();
    if (drag.moved) place(Math.min(all[2], Math.max(all[0], drag.height + drag.y - event.clientY)), false);
  });
  handle.addEventListener("lostpointercapture", () => {
    dragged = Boolean(drag?.moved);
    drag = null;
    if (!dragged) return;
    const height = results.offsetHeight;
    const away = heights().map((each) => Math.abs(each - height));
    go(away.indexOf(Math.min(...away)));
  });
  handle.addEventListener("click", () => {
    if (!dragged) go(stop === 2 ? 0 : stop + 1);
    dragged = false;
  });
  narrow.addEventListener("change", () => go(stop));
  describe();

  return {
    /** Pixels of the map that the sheet covers; a sheet that is pulled up all the way covers what it does half way. */
    covered: () => (narrow.matches ? heights()[Math.min(1, stop)] : 0),
    /** The height of the screen has changed. */
    renew: () => place(heights()[stop], false),
  };
}
