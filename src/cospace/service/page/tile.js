// One result: a preview on its mean colour, or words with the picture they belong to; its caption and how well it matches.

import { colour, el } from "./dom.js";
import { WORDS, marked, matchAt } from "./matches.js";
import { capital } from "./modalities.js";

/**
 * @typedef {object} Tile
 * @property {HTMLElement} cell the focusable element
 * @property {HTMLImageElement} preview
 * @property {HTMLElement} words
 * @property {HTMLElement} caption
 * @property {HTMLElement} match
 * @property {HTMLElement} kind
 * @property {HTMLElement} stack how many more show the same
 * @property {number} index place among the results
 * @property {number} number of the item; -1 while the tile is spare
 * @property {string} source the preview that is shown or on its way
 */

/** @returns {Tile} */
export function createTile() {
  const preview = el("img", { alt: "", draggable: "false" });
  const words = el("span", { class: "words" });
  const caption = el("span", { class: "caption", "aria-hidden": "true" });
  const match = el("span", { class: "match" });
  const kind = el("span", { class: "kind" });
  const stack = el("span", { class: "behind" });
  const cell = el("div", { class: "cell", role: "gridcell", tabindex: "-1" },
    preview, words, kind, stack, el("span", { class: "strip" }, match, caption));
  return { cell, preview, words, caption, match, kind, stack, index: -1, number: -1, source: "" };
}

/** Make a tile stand for another item; its preview and words come later, from `fillTile`. */
export function assignTile(tile, index, source) {
  tile.index = index;
  tile.number = source.numbers[index];
  const match = matchAt(source, index);
  tile.match.textContent = match && match !== "weak" ? WORDS[match] : "";
  tile.match.className = `match ${match}`;
  tile.caption.textContent = "";
  tile.words.textContent = tile.kind.textContent = "";
  tile.preview.alt = "";
  const behind = source.behind?.get(tile.number)?.length;
  tile.stack.textContent = behind ? `+${behind}` : "";
  tile.cell.className = behind ? "cell stack" : "cell";
  tile.cell.style.backgroundColor = source.rgb?.[index] ? colour(source.rgb[index]) : "";
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

/** Show a preview once it is there. @returns {Promise<boolean>} whether it could be shown, if it is still wanted */
async function showPreview(tile, source, urgent) {
  if (tile.source === source) return true;
  tile.source = source;
  tile.preview.fetchPriority = urgent ? "high" : "low";
  tile.preview.src = source;
  try {
    await tile.preview.decode();
    if (tile.source === source) tile.cell.classList.add("shown");
  } catch {
    return tile.source !== source; // the tile went on to another item
  }
  return true;
}

/** A text, with the words that were looked for in bold, and the picture that it belongs to at its left. */
async function fillText(tile, item, app) {
  tile.cell.classList.add("text");
  tile.words.replaceChildren(...marked(item.text || item.id, app.words()));
  const { number } = tile;
  const [owner] = await app.items.paired(item.number);
  if (tile.number !== number || !owner || !app.modalities.hasPreview(owner)) return;
  tile.cell.classList.add("pictured");
  await showPreview(tile, app.modalities.previewOf(owner, 256), false);
}

/**
 * @param {Tile} tile
 * @param {import("./api.js").Item} item
 * @param {{pixels: number, urgent: boolean}} wish longer side on screen; whether it is in view
 * @param {any} app
 * @returns {Promise<void>} resolves when there is something to see
 */
export async function fillTile(tile, item, { pixels, urgent }, app) {
  const { modalities } = app;
  const name = item.text || item.path || item.id;
  tile.caption.textContent = name;
  tile.cell.classList.toggle("right", app.state().right.includes(item.id));
  const { is_text: isText, noun } = modalities.of(item.modality);
  if (!isText && modalities.several()) tile.kind.textContent = capital(noun);
  if (!modalities.hasPreview(item)) {
    const filled = fillText(tile, item, app);
    filled.catch(() => {}); // without its picture a text can still be read
    return;
  }
  tile.preview.alt = name;
  tile.cell.style.backgroundColor = colour(item.rgb);
  if (await showPreview(tile, modalities.previewOf(item, sizeFor(pixels)), urgent)) return;
  tile.cell.classList.add("broken");
  tile.words.textContent = item.path || item.id;
}
