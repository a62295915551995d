// Why an item is where it is: how well it matches in words, the share of every part of the query, and the figures.

import { el, number, sentence } from "./dom.js";
import { WORDS, matchAt, meaning } from "./matches.js";

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
 * @returns {{verdict: HTMLElement[], details: [string, string][]}} what is said at once, and figures for who wants them
 */
export function explained(parts, explanation, place, ranked, nameOf) {
  const percent = ranked?.percents?.[place] ?? 255;
  const match = ranked && place >= 0 ? matchAt(ranked, place) : "";
  const byCaption = place >= 0 && place < (ranked?.by_caption ?? 0);
  const says = byCaption ? "Its caption says so; by similarity alone this would be less sure." : meaning(percent);
  const verdict = match && el("p", { class: `verdict ${match}` }, el("strong", {}, sentence(WORDS[match])),
    says && !byCaption && el("span", { class: "verdict-percent" }, `${percent} %`));
  const largest = Math.max(...explanation.parts.map(({ share }) => Math.abs(share)));
  const shares = parts.length > 1 && explanation.parts.length === parts.length &&
    el("ul", { class: "shares", "aria-label": "Share of each part" }, ...parts.map((part, at) => shareBar(part, explanation.parts[at].share, largest, nameOf)));
  /** @type {[string, string][]} */
  const details = [
    [parts.length > 1 ? "Score" : "Similarity", explanation.score.toFixed(3)],
    ["Stands out by", `${explanation.z.toFixed(1)} deviations`],
    ["Place", place >= 0 ? `${number(place + 1)} of ${number(ranked?.total ?? 0)}` : `among the top ${Math.max(0.1, 100 * explanation.share_above).toFixed(1)} %`],
  ];
  return { verdict: [verdict, says && el("p", { class: "hint" }, says), shares].filter(Boolean), details };
}
