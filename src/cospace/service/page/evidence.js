// Why an item is where it is: its percent in words, the share of every part of the query, and the raw numbers.

import { el, number } from "./dom.js";

const FLOOR = "Measured on pairs that were held out. Matches that nobody paired count as misses, so this is the least it could be.";

/** @param {number} percent */
const band = (percent) => (percent >= 70 ? "good" : percent >= 30 ? "possible" : "weak");

/** A bar from the middle: to the right what speaks for the item, to the left what speaks against it. */
function shareBar(part, share, largest, nameOf) {
  const bar = el("i", { class: share < 0 ? "share-bar against" : "share-bar" });
  bar.style.width = `${(50 * Math.abs(share)) / (largest || 1)}%`;
  const name = `${part.weight < 0 ? "− " : ""}${nameOf(part)}`;
  return el("li", {}, el("span", { class: "share-name" }, name), el("span", { class: "share-track", "aria-hidden": "true" }, bar),
    el("span", { class: "share-value" }, `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(2)}`));
}

/**
 * @param {import("./address.js").Part[]} parts
 * @param {{score: number, z: number, share_above: number, parts: {score: number, share: number}[]}} explanation
 *     `share_above` of a sample of the index scores higher
 * @param {number} place among the results, from 0; -1 where it is not among them
 * @param {import("./api.js").Ranked|null} ranked
 * @param {(part: import("./address.js").Part) => string} nameOf
 */
export function explained(parts, explanation, place, ranked, nameOf) {
  const percent = ranked?.percents?.[place] ?? 255;
  const rank = place >= 0 ? `Rank ${number(place + 1)}` : `Top ${Math.max(0.1, 100 * explanation.share_above).toFixed(1)} %`;
  const head = percent < 255
    ? el("p", { class: `verdict ${band(percent)}`, title: FLOOR }, el("strong", {}, `${percent} %`), ` ${band(percent)} match`)
    : el("p", { class: "verdict" }, el("strong", {}, rank), ranked?.total ? ` of ${number(ranked.total)}` : "");
  const largest = Math.max(...explanation.parts.map(({ share }) => Math.abs(share)));
  const shares = parts.length > 1 && explanation.parts.length === parts.length &&
    el("ul", { class: "shares", "aria-label": "Share of each part" }, ...parts.map((part, at) => shareBar(part, explanation.parts[at].share, largest, nameOf)));
  const raw = [[parts.length > 1 ? "Score" : "Cosine", explanation.score.toFixed(3)], ["z", explanation.z.toFixed(1)], place >= 0 && ["Rank", number(place + 1)]].filter(Boolean);
  return [head, shares, el("dl", { class: "raw" }, ...raw.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))))]
    .filter(Boolean);
}
