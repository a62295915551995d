// What is under the pointer: a ring at once, after a moment a card, and lines to its true neighbours.

import { el } from "./dom.js";

const DWELL_MS = 125;
const NEIGHBOURS = 8;
const ASIDE = 22;
/** The longer side of the card's preview in pixels, and how much larger than it is stored it is shown at most. */
const [LARGE, ENLARGED] = [300, 3.5];

/**
 * @param {import("./app.js").App} app
 * @param {HTMLElement} stage
 * @param {{points: () => import("./map_data.js").Points, camera: import("./map_camera.js").Camera, redraw: () => void}} map
 */
export function createCard(app, stage, { points, camera, redraw }) {
  const preview = el("img", { alt: "" });
  const [words, facts] = [el("p", { class: "map-card-words" }), el("p", { class: "map-card-facts" })];
  const card = el("div", { class: "map-card", hidden: true }, preview, words, facts);
  stage.append(card);
  let [row, timer] = [-1, 0];
  let controller = new AbortController();
  /** @type {number[]} */
  let neighbours = [];

  /** Beside the point, never over it. */
  function place() {
    if (card.hidden || row < 0) return;
    const [x, y] = [camera.toX(points().x[row]), camera.toY(points().y[row])];
    const { offsetWidth: width, offsetHeight: height } = card;
    const aside = ASIDE + (points().sprite[row] >= 0 ? 36 : 0);
    const left = x + aside + width < camera.width ? x + aside : x - aside - width;
    const fits = left >= 4;
    const top = fits ? y - height / 2 : y + aside + height < camera.height ? y + aside : y - aside - height;
    const [atX, atY] = [fits ? left : x - width / 2, top].map(
      (value, axis) => Math.round(Math.min(Math.max(4, value), (axis ? camera.height - height : camera.width - width) - 4)));
    card.style.transform = `translate(${atX}px, ${atY}px)`;
  }

  async function fill(mine) {
    const number = points().numbers[mine];
    const options = { signal: controller.signal };
    const near = app.api.near(number, points().version, NEIGHBOURS, null, options).catch(() => ({ numbers: [] }));
    const item = await app.items.one(number).catch(() => null);
    if (mine !== row || !item) return;
    preview.hidden = !app.modalities.hasPreview(item);
    if (!preview.hidden) {
      const scale = Math.min(LARGE / Math.max(item.width, item.height, 1), ENLARGED);
      preview.src = app.modalities.previewOf(item, 512);
      preview.width = Math.round(item.width * scale);
      preview.height = Math.round(item.height * scale);
    }
    words.textContent = item.text || item.path;
    const region = points().clusters[points().cluster[mine]]?.label;
    facts.textContent = [app.modalities.of(item.modality).noun, item.extras?.label, region && `in “${region}”`].filter(Boolean).join(" · ");
    card.hidden = false;
    place();
    const { numbers } = await near;
    if (mine !== row) return;
    neighbours = numbers.map(points().rowOf).filter((other) => other >= 0 && other !== mine);
    redraw();
  }

  const hide = () => {
    clearTimeout(timer);
    controller.abort();
    controller = new AbortController();
    [row, neighbours, card.hidden] = [-1, [], true];
  };
  return {
    place,
    row: () => row,
    neighbours: () => neighbours,
    /** @param {number} next row under the pointer, -1 for none */
    show(next) {
      if (next === row) return;
      hide();
      row = next;
      if (row >= 0) timer = setTimeout(fill, DWELL_MS, row);
      redraw();
    },
  };
}
