// How well results match, in words: what the service counts by its calibration, and where the list ends.

/** @typedef {"strong"|"likely"|"maybe"|"weak"} Match */

/** As a tile and the inspector say it. */
export const WORDS = { strong: "strong match", likely: "likely match", maybe: "may fit", weak: "less sure" };
/** So many of the closest are shown where none is sure enough to be shown for itself. */
const CLOSEST = 60;

/**
 * The word for the result at a place; nothing where the source is no ranking.
 *
 * @param {{strong?: number, likely?: number, maybe?: number}} source
 * @param {number} place
 * @returns {Match|""}
 */
export function matchAt({ strong, likely = 0, maybe = 0 }, place) {
  if (strong === undefined) return "";
  return place < strong ? "strong" : place < likely ? "likely" : place < maybe ? "maybe" : "weak";
}

/** How many of a ranking are shown before anybody asks for the rest. @param {import("./api.js").Ranked} ranked */
export const shownOf = ({ maybe, n }) => (maybe ? Math.min(maybe, n) : Math.min(CLOSEST, n));

/**
 * "About 6 in 10 results that score like this were right": nothing below a tenth, where no number would help.
 *
 * @param {number} percent
 */
export function meaning(percent) {
  if (percent < 10 || percent > 100) return "";
  const tenths = Math.min(9, Math.round(percent / 10));
  const share = percent >= 95 ? "Nearly all" : `About ${tenths} in 10`;
  return `${share} results that score like this were right, in a test on unseen captions.`;
}

/**
 * A text in pieces: words that were looked for are marked.
 *
 * @param {string} text
 * @param {Set<string>} words in small letters
 * @returns {(string|HTMLElement)[]}
 */
export function marked(text, words) {
  if (!words.size) return [text];
  return text.split(/([\p{L}\p{N}]+)/u).filter(Boolean).map((piece) => {
    if (!words.has(piece.toLowerCase())) return piece;
    const mark = document.createElement("mark");
    mark.textContent = piece;
    return mark;
  });
}
