// The map's buttons, its legend and the sentences at its foot.

import { count, el, number } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const DRAWINGS = {
  hand: "M12 3v18M3 12h18M12 3l-3 3M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3",
  lasso: "M12 4c5 0 9 2.400 9 5.500S17 15 12 15s-9-2.400-9-5.500S7 4 12 4zM7.500 14.500c-2 1.500-2 3.500 0 4s2.500 2 1 3",
  rectangle: "M4 6h2M9 6h6M18 6h2v2M20 11v2M20 16v2h-2M15 18H9M6 18H4v-2M4 13v-2M4 8V6",
  visible: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M12 9a3 3 0 1 1 0 6 3 3 0 0 1 0-6z",
  clear: "M5 5l14 14M19 5L5 19",
  fit: "M9 4H4v5M15 4h5v5M20 15v5h-5M4 15v5h5",
  in: "M12 5v14M5 12h14",
  out: "M5 12h14",
};

function drawing(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", DRAWINGS[name]);
  svg.append(path);
  return svg;
}

const button = (name, label, onclick) =>
  el("button", { type: "button", class: "icon-button", "aria-label": label, onclick }, drawing(name));

const MODES = { pan: ["hand", "Move the map"], lasso: ["lasso", "Draw around points (l)"], rectangle: ["rectangle", "Draw a rectangle"] };
const BY = { class: "labels", cluster: "groups", score: "match with the search" };
const CAUTION = "Things close together are alike. Ignore how far apart groups are.";

/** How the map was made, and how far it can be trusted, for those who ask. @param {import("./map_data.js").Points} points */
const about = ({ agreement }) => `${CAUTION} A flat map cannot keep all distances: far groups and the sizes of groups say little. Of the 15 nearest of an item, `
  + `${Math.round(100 * agreement)} % on average are among its 15 nearest on the map. Groups are places on the map; each is called by words that at least 30 % of its texts hold, or has no name.`;

/**
 * @param {HTMLElement} stage
 * @param {{setMode: (mode: string) => void, zoom: (factor: number) => void, fit: () => void, selectVisible: () => void,
 *     clear: () => void, setBy: (by: string) => void, toggle: (key: number) => void, solo: (key: number) => void,
 *     setPreviews: (on: boolean) => void, setKind: (code: number, on: boolean) => void, resized: () => void}} does
 */
export function createControls(stage, does) {
  const modes = Object.entries(MODES).map(([mode, [name, label]]) => [mode, button(name, label, () => does.setMode(mode))]);
  const clear = button("clear", "Clear the selection (Esc)", does.clear);
  const by = el("select", { "aria-label": "Colour by", onchange: () => does.setBy(by.value) });
  const previews = el("input", { type: "checkbox", checked: true, onchange: () => does.setPreviews(previews.checked) });
  const kinds = el("div", { class: "map-kinds" });
  const legend = el("ul", { class: "map-legend", "aria-label": "Legend" });
  const [amount, aboutText] = [el("span", { class: "map-amount" }), el("p", {})];
  const [least, most, bar] = [el("span"), el("span"), el("canvas", { width: 96, height: 1, "aria-hidden": "true" })];
  const foot = el("div", { class: "map-foot" }, el("p", {}, amount, el("span", { class: "map-dot" }, " · "), el("span", { class: "map-caution" }, CAUTION)),
    el("details", { class: "map-about", ontoggle: () => does.resized() }, el("summary", {}, "About this map"), aboutText));
  const ramp = el("p", { class: "map-ramp", hidden: true }, least, bar, most);
  const key = el("details", { class: "map-key", ontoggle: () => does.resized() },
    el("summary", {}, "Legend"),
    el("div", { class: "map-choices" }, el("label", {}, "Colours ", by), kinds, el("label", { class: "map-switch" }, previews, "Small pictures")),
    legend, ramp);
  stage.append(
    el("div", { class: "map-tools", role: "toolbar", "aria-label": "Selecting" }, ...modes.map(([, node]) => node),
      button("visible", "Select what is visible", does.selectVisible), clear),
    key,
    el("div", { class: "map-zoom", role: "group", "aria-label": "Zoom" },
      button("in", "Zoom in (+)", () => does.zoom(2)), button("out", "Zoom out (-)", () => does.zoom(0.5)), button("fit", "Fit (0)", does.fit)),
    foot);

  return {
    mode(mode) {
      for (const [name, node] of modes) node.setAttribute("aria-pressed", String(name === mode));
    },
    selected: (any) => { clear.hidden = !any; },
    /** Pixels that the words at the foot take, above what covers the map there; the zoom's buttons stand above both. */
    footHeight(covered) {
      stage.style.setProperty("--map-covered", `${covered}px`);
      stage.style.setProperty("--map-foot", `${foot.offsetHeight + covered}px`);
      return foot.offsetHeight + covered;
    },
    /** Pixels at the right that an open legend takes of a map that has them to spare. */
    sideWidth: () => (key.open && stage.clientWidth > 2.5 * key.offsetWidth ? key.offsetWidth : 0),
    /** What can be coloured by. @param {string[]} names @param {string} chosen @param {string} kindNames */
    choices(names, chosen, kindNames) {
      by.replaceChildren(...names.map((name) => el("option", { value: name, selected: name === chosen }, BY[name] ?? kindNames)));
    },
    /** What is on the map, where that is of several kinds. @param {string[]} names @param {Set<number>} off */
    kinds(names, off) {
      kinds.replaceChildren(...(names.length < 2 ? [] : names.map((name, code) => {
        const box = el("input", { type: "checkbox", checked: !off.has(code), onchange: () => does.setKind(code, box.checked) });
        return el("label", { class: "map-switch" }, box, name);
      })));
    },
    /** @param {import("./map_colours.js").Entry[]} entries @param {Set<number>} hidden */
    legend(entries, hidden) {
      const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.key : null;
      legend.replaceChildren(...entries.map(({ key, label, colour, count: rows }) => {
        const swatch = el("i");
        swatch.style.background = colour;
        return el("li", {}, el("button", {
          type: "button", class: "map-entry", "data-key": key, "aria-pressed": String(!hidden.has(key)),
          title: "Click hides, double click shows it alone", onclick: () => does.toggle(key), ondblclick: () => does.solo(key),
        }, swatch, el("span", {}, label), el("small", {}, number(rows))));
      }));
      if (focused !== null) legend.querySelector(`[data-key="${focused}"]`)?.focus();
    },
    /** @param {((share: number) => string)|null} colour of a score; null where points are not coloured by it */
    ramp(colour, low = "", high = "") {
      ramp.hidden = !colour;
      if (!colour) return;
      [least.textContent, most.textContent] = [low, high];
      const context = bar.getContext("2d");
      for (let x = 0; x < 96; x++) {
        context.fillStyle = colour(x / 95);
        context.fillRect(x, 0, 1, 1);
      }
    },
    /** @param {import("./map_data.js").Points} points @param {number} chosen @param {number} there items that are not hidden */
    foot(points, chosen, there) {
      const drawn = points.n < points.total ? `${number(there)} of ${number(points.total)} items, drawn at random` : count(there, "item");
      amount.textContent = chosen ? `${number(chosen)} selected of ${drawn}` : drawn;
      aboutText.textContent = about(points);
    },
  };
}
