// One result: a preview (or words) on its mean colour, with a strip of caption and score under the pointer or focus.

import { colour, el } from "./dom.js";
import { capital } from "./modalities.js";

/**
 * @typedef {object} Tile
 * @property {HTMLElement} cell the focusable element
 * @property {HTMLImageElement} preview
 * @property {HTMLElement} words
 * @property {HTMLElement} caption
 * @property {HTMLElement} score
 * @property {HTMLElement} kind
 * @property {number} index place among the results
 * @property {number} number of the item; -1 while the tile is spare
 * @property {string} source the preview that is shown or on its way
 */

/** @returns {Tile} */
export function createTile() {
  const preview = el("img", { alt: "", draggable: "false" });
  const words = el("span", { class: "words" });
  const caption = el("span", { class: "caption", "aria-hidden": "true" });
  const score = el("span", { class: "score" });
  const kind = el("span", { class: "kind" });
  const cell = el("div", { class: "cell", role: "gridcell", tabindex: "-1" },
    preview, words, kind, el("span", { class: "strip" }, caption, score));
  return { cell, preview, words, caption, score, kind, index: -1, number: -1, source: "" };
}

/** What a tile without a percentage says: its rank, and how rare such a rank is. */
export function rankText(index, total) {
  const share = (100 * (index + 1)) / Math.max(1, total);
  const rare = share < 0.1 ? "top 0.1 %" : `top ${share < 10 ? share.toFixed(1) : Math.ceil(share)} %`;
  return `#${index + 1} · ${rare}`;
}

/** Make a tile stand for another item; its preview and words come later, from `fillTile`. */
export function assignTile(tile, index, source) {
  tile.index = index;
  tile.number = source.numbers[index];
  const percent = source.percents?.[index] ?? 255;
  tile.score.textContent = percent < 255 ? `${percent} %` : source.total ? rankText(index, source.total) : "";
  tile.score.className = `score ${percent === 255 ? "" : percent >= 70 ? "good" : percent >= 30 ? "possible" : "weak"}`;
  tile.caption.textContent = "";
  tile.words.textContent = tile.kind.textContent = "";
  tile.preview.alt = "";
  tile.cell.className = "cell";
  tile.cell.style.backgroundColor = source.rgb ? colour(source.rgb[index]) : "";
  tile.cell.dataset.place = String(index);
  dropPreview(tile);
}

/** Forget a preview that is not wanted any more. */
export function dropPreview(tile) {
  if (tile.source) tile.preview.removeAttribute("src");
  tile.source = "";
}

/** The preview size that is sharp at so many CSS pixels. */
export const sizeFor = (pixels) => (pixels * Math.min(2, devicePixelRatio) > 330 ? 512 : 256);

/**
 * @param {Tile} tile
 * @param {import("./api.js").Item} item
 * @param {{pixels: number, urgent: boolean}} wish longer side on screen; whether it is in view
 * @param {ReturnType<typeof import("./modalities.js").createModalities>} modalities
 * @returns {Promise<void>} resolves when there is something to see
 */
export async function fillTile(tile, item, { pixels, urgent }, modalities) {
  const name = item.text || item.path || item.id;
  tile.caption.textContent = name;
  const { is_text: isText, noun } = modalities.of(item.modality);
  if (!isText && modalities.several()) tile.kind.textContent = capital(noun);
  if (!modalities.hasPreview(item)) {
    tile.cell.classList.add("text");
    tile.words.textContent = name;
    return;
  }
  tile.preview.alt = name;
  tile.cell.style.backgroundColor = colour(item.rgb);
  const source = modalities.previewOf(item, sizeFor(pixels));
  if (tile.source === source) return;
  tile.source = source;
  tile.preview.fetchPriority = urgent ? "high" : "low";
  tile.preview.src = source;
  try {
    await tile.preview.decode();
    if (tile.source === source) tile.cell.classList.add("shown");
  } catch {
    if (tile.source !== source) return; // the tile went on to another item
    tile.cell.classList.add("broken");
    tile.words.textContent = item.path || item.id;
  }
}
