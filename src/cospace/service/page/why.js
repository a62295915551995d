// "Why was this found?": over an item that is shown, the parts of it that the search's score rests on.

import { searchingParts, serverPart } from "./address.js";
import { applyStyle, el } from "./dom.js";

/** How dark the parts get that do not matter. */
const DARK = 0.6;
/** Below 1: what matters half as much as the most important part is more than half bright. */
const WIDE = 0.6;
/** By how much the score must fall without a part before that part is said to matter. */
const MATTERS = 0.02;

/**
 * @typedef {object} Heat the reply of /api/heat
 * @property {"boxes"|"letters"|"seconds"} kind
 * @property {number} columns of a grid of boxes
 * @property {number[][]} spans
 * @property {number[]} heat from -1 to 1, of each part
 * @property {number} drop of the score without the part that matters most
 */

/** Where an image is drawn within its element, whose proportions may be others. @param {HTMLImageElement} image */
function drawnBox(image) {
  const { clientWidth: width, clientHeight: height, naturalWidth, naturalHeight } = image;
  const scale = Math.min(width / (naturalWidth || 1), height / (naturalHeight || 1));
  const [across, down] = [naturalWidth * scale, naturalHeight * scale];
  return { left: image.offsetLeft + (width - across) / 2, top: image.offsetTop + (height - down) / 2, width: across, height: down };
}

/** One pixel a part, which the browser enlarges smoothly: dark where a part does not matter. @param {Heat} heat */
function veil({ heat, columns }) {
  const rows = heat.length / columns;
  const canvas = el("canvas", { class: "why-veil", width: columns, height: rows, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  heat.forEach((value, at) => { pixels.data[4 * at + 3] = 255 * DARK * (1 - Math.max(0, value) ** WIDE); });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** @param {HTMLElement} container @param {Heat} heat */
function overImage(container, heat) {
  const image = container.querySelector("img");
  if (!image) return () => {};
  const canvas = veil(heat);
  const [[left, top]] = heat.spans;
  const [, , right, bottom] = heat.spans[heat.spans.length - 1];
  const place = () => {
    const box = drawnBox(image);
    const sides = { left: box.left + left * box.width, top: box.top + top * box.height, width: (right - left) * box.width, height: (bottom - top) * box.height };
    for (const [name, value] of Object.entries(sides)) canvas.style[name] = `${value}px`;
    const cut = [box.top - sides.top, sides.left + sides.width - box.left - box.width, sides.top + sides.height - box.top - box.height, box.left - sides.left];
    canvas.style.clipPath = `inset(${cut.map((side) => `${Math.max(0, side)}px`).join(" ")})`; // of a padded picture the square reaches beyond it
  };
  const observer = new ResizeObserver(place);
  observer.observe(image);
  container.append(canvas);
  place();
  return () => {
    observer.disconnect();
    canvas.remove();
  };
}

/** The words with a ground as strong as each matters. @param {HTMLElement} container @param {Heat} heat @param {string} text */
function overWords(container, heat, text) {
  const before = [...container.childNodes];
  const parts = [];
  let at = 0;
  heat.spans.forEach(([start, end], place) => {
    const word = el("mark", { class: "why-word" }, text.slice(start, end));
    word.style.setProperty("--share", `${Math.round(100 * Math.max(0, heat.heat[place]))}%`);
    parts.push(text.slice(at, start), word);
    at = end;
  });
  container.replaceChildren(...parts, text.slice(at));
  return () => container.replaceChildren(...before);
}

/** A bar along the sound. @param {HTMLElement} container @param {Heat} heat */
function overSound(container, heat) {
  const bars = el("div", { class: "why-bars", "aria-hidden": "true" }, ...heat.heat.map((value) => {
    const bar = el("i", {});
    bar.style.height = `${Math.max(4, 100 * Math.max(0, value))}%`;
    return bar;
  }));
  container.append(bars);
  return () => bars.remove();
}

const seconds = (value) => `${value.toFixed(1)} s`;

/** In a sentence, for everybody. @param {Heat} heat @param {string} text */
function sentence(heat, text) {
  if (heat.drop < MATTERS) return "No single part decides: the match rests on all of it.";
  const span = heat.spans[heat.heat.indexOf(Math.max(...heat.heat))];
  if (heat.kind === "letters") return `The search rests most on “${text.slice(span[0], span[1])}”.`;
  if (heat.kind === "seconds") return `The search rests most on what is heard from ${seconds(span[0])} to ${seconds(span[1])}.`;
  return "Bright: what the search rests on. Without it the match would be weaker.";
}

/** @type {WeakMap<HTMLElement, () => void>} */
const shown = new WeakMap();

/**
 * Show over an item what the search's score rests on; called once more, take it away again.
 *
 * @param {import("./app.js").App & Record<string, any>} app
 * @param {HTMLElement} container what shows the item: around its `img`, or with its words
 * @param {import("./api.js").Item} item
 * @returns {Promise<boolean>} whether it is shown now
 */
export async function showWhy(app, container, item) {
  const hide = shown.get(container);
  if (hide) {
    shown.delete(container);
    hide();
    return false;
  }
  const parts = searchingParts(app.state()).map(serverPart);
  if (!parts.length) return false;
  container.setAttribute("aria-busy", "true");
  try {
    const [heat] = await Promise.all([
      app.api.post("api/heat", { parts, number: item.number, version: app.info().version }), applyStyle("why.css")]);
    container.classList.add("why");
    const over = { boxes: overImage, letters: overWords, seconds: overSound }[/** @type {Heat} */ (heat).kind];
    const away = heat.drop < MATTERS ? () => {} : over(container, heat, item.text);
    const words = el("p", { class: "why-sentence", role: "status" }, sentence(heat, item.text));
    container.after(words);
    shown.set(container, () => {
      away();
      words.remove();
      container.classList.remove("why");
    });
    return true;
  } catch (error) {
    app.toast(error.message);
    return false;
  } finally {
    container.removeAttribute("aria-busy");
  }
}
