// A strip beside thousands of results: where they turn from likely to less sure, and a way to jump anywhere.

import { byId, el, number } from "./dom.js";
import { WORDS, matchAt } from "./matches.js";

/** @param {import("./app.js").App & Record<string, any>} app */
export function createScrubber(app) {
  const strip = byId("scrubber");
  const thumb = el("div", { class: "scrub-thumb" });
  const bubble = el("div", { class: "scrub-bubble", hidden: true, "aria-hidden": "true" });
  const marks = el("div", { class: "scrub-marks", "aria-hidden": "true" });
  const slider = el("div", {
    class: "scrub-track", role: "slider", tabindex: "0", "aria-label": "Place in the results", "aria-orientation": "vertical",
    "aria-valuemin": "1",
  }, marks, thumb, bubble);
  strip.append(slider);
  let total = 0;

  /** How far down a result is: by height, as scrolling is. */
  const share = (index) => {
    const layout = app.grid.layout();
    return layout.rows ? layout.tops[app.grid.rowOf(index)] / Math.max(1, layout.tops[layout.rows]) : 0;
  };
  const text = (index) => {
    const match = matchAt(app.grid.source(), index);
    return match ? `${number(index + 1)} · ${WORDS[match]}` : number(index + 1);
  };

  function update(index) {
    if (strip.hidden) return;
    thumb.style.top = `${100 * share(index)}%`;
    bubble.style.top = thumb.style.top;
    bubble.textContent = text(index);
    slider.setAttribute("aria-valuenow", String(index + 1));
    slider.setAttribute("aria-valuetext", `Result ${text(index)}`);
  }

  /** @param {number} clientY */
  function jumpTo(clientY) {
    const box = slider.getBoundingClientRect();
    const part = Math.max(0, Math.min(1, (clientY - box.top) / box.height));
    app.grid.jump(Math.round(part * (total - 1)));
  }

  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    bubble.hidden = false;
    jumpTo(event.clientY);
  });
  slider.addEventListener("pointermove", (event) => slider.hasPointerCapture(event.pointerId) && jumpTo(event.clientY));
  slider.addEventListener("lostpointercapture", () => { bubble.hidden = true; });
  slider.addEventListener("keydown", (event) => {
    const here = app.grid.firstVisible().index;
    const page = Math.max(1, Math.round(total / 20));
    const to = {
      ArrowDown: here + Math.ceil(page / 5), ArrowUp: here - Math.ceil(page / 5), PageDown: here + page, PageUp: here - page,
      Home: 0, End: total - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    app.grid.jump(to);
  });
  return {
    update,
    /** @param {import("./grid.js").Source|null} source */
    show(source) {
      total = source?.numbers.length ?? 0;
      strip.hidden = byId("scroller").scrollHeight < 1.2 * byId("scroller").clientHeight;
      if (strip.hidden) return;
      slider.setAttribute("aria-valuemax", String(total));
      const at = [["good", source?.likely ?? -1], ["weak", source?.maybe ?? -1]];
      marks.replaceChildren(...at.filter(([, index]) => Number(index) > 0 && Number(index) < total).map(([name, index]) => {
        const mark = el("i", { class: `scrub-mark ${name}` });
        mark.style.top = `${100 * share(Number(index))}%`;
        return mark;
      }));
      update(app.grid.firstVisible().index);
    },
  };
}
