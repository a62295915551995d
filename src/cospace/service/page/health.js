// The Health view: what the run measured, how the vectors lie, which pairs agree least, how fast the page is.

import { count, el, icon, number } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const FIRST_ROW = "cospace:first-row";
const [SIZE, PAD] = [220, 34];
const MARKS = { good: "check", look: "alert", bad: "flag" };

/** @param {string} tag @param {Record<string, any>} attributes @param {...(Node|string)} children */
function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const along = (share) => `${100 * share}%`;
const section = (title, ...children) => el("section", { class: "health-part" }, el("h3", {}, title), ...children);

/** One direction's R@k as bars with their intervals and the line of chance. */
function recalls({ title, queries, recalls: rows }) {
  return el("figure", { class: "health-card wide" }, el("figcaption", {}, title, el("small", {}, count(queries, "query", "queries"))),
    ...rows.map(({ k, value, low, high, chance, shown }) => {
      const [fill, span, line] = ["health-fill", "health-span", "health-chance"].map((name) => el("i", { class: name }));
      fill.style.width = along(value);
      span.style.left = along(low);
      span.style.width = along(high - low);
      line.style.left = along(chance);
      return el("div", { class: "health-recall" }, el("span", {}, `R@${k}`), el("span", { class: "health-track", "aria-hidden": "true" }, fill, span, line),
        el("b", {}, shown), el("small", {}, `[${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}] · chance ${(100 * chance).toFixed(1)}`));
    }));
}

/** One figure: number, a word with a mark, a sentence. */
function card({ title, shown, word, sentence }) {
  return el("article", { class: `health-card ${word}` }, el("h4", {}, title), el("p", { class: "health-value" }, shown),
    el("p", { class: "health-word" }, icon(MARKS[word] ?? "alert"), word), el("p", {}, sentence));
}

/** Predicted against observed; the larger a dot, the more pairs it stands for. */
function calibration({ bins, shown, source }) {
  const [from, to] = [PAD, SIZE - 10];
  const x = (share) => from + share * (to - from);
  const y = (share) => to - PAD + 10 - share * (to - from);
  const most = Math.max(...bins.map(({ count }) => count));
  const ticks = [0, 0.5, 1].flatMap((share) => [
    svg("path", { class: "grid", d: `M${x(0)} ${y(share)}H${x(1)}` }),
    svg("text", { x: x(0) - 6, y: y(share) + 4, "text-anchor": "end" }, `${share * 100}`),
    svg("text", { x: x(share), y: y(0) + 16, "text-anchor": "middle" }, `${share * 100}`),
  ]);
  const path = bins.map(({ predicted, observed }, at) => `${at ? "L" : "M"}${x(predicted)} ${y(observed)}`).join("");
  const dots = bins.map(({ predicted, observed, count }) =>
    svg("circle", { class: "dot", cx: x(predicted), cy: y(observed), r: 3 + 3 * Math.sqrt(count / most) }, svg("title", {}, `${percent(predicted)} predicted, ${percent(observed)} observed, ${count} pairs`)));
  const title = "Calibration: predicted against observed per cent";
  return el("figure", { class: "health-card plot" }, el("figcaption", {}, "Does 80 % mean 80 %?"),
    svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": title }, ...ticks,
      svg("path", { class: "ideal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }), svg("path", { class: "line", d: path }), ...dots,
      svg("text", { x: x(0.5), y: y(0) + 32, "text-anchor": "middle" }, "predicted, per cent")),
    el("p", {}, `Off by ${shown} on average; up: observed. Measured on ${source}.`));
}

/** A pair with its preview, and what somebody thinks of it. @param {import("./app.js").App} app */
function pair(app, { id, other, number: item, text, cosine, width, height, ...one }) {
  const status = el("span", { class: "health-status", role: "status" });
  const buttons = [["wrong", "Seems wrong"], ["fine", "Fine"]].map(([verdict, label]) => el("button", {
    type: "button", class: "health-verdict", "aria-pressed": "false", "aria-label": `${label}: ${text}`,
    async onclick(event) {
      const pressed = event.currentTarget;
      try {
        await app.api.post("api/feedback", { id, other, verdict });
        for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
        status.textContent = "noted";
      } catch (error) {
        status.textContent = `not noted: ${error.message}`;
      }
    },
  }, label));
  const preview = app.modalities.hasPreview(one) &&
    el("img", { src: app.modalities.previewOf(one, 256), alt: "", loading: "lazy", width, height, onerror: () => { preview.hidden = true; } });
  return el("li", { class: "health-pair" },
    el("button", { type: "button", class: "health-preview", "aria-label": `Open the ${app.modalities.of(one.modality).noun} of: ${text}`, onclick: () => app.openItem(item) }, preview),
    el("div", {}, el("p", { class: "health-text" }, text), el("p", { class: "hint" }, `cosine ${cosine.toFixed(2)}`),
      el("div", { class: "health-verdicts" }, ...buttons, status)));
}

/** Entries in order, with a heading before those of every two modalities where there are several. */
function grouped(entries, draw) {
  const abouts = [...new Set(entries.map(({ about }) => about ?? ""))];
  return abouts.flatMap((about) => {
    const own = draw(entries.filter((entry) => (entry.about ?? "") === about), about);
    return about ? [el("h4", { class: "health-about" }, about), own] : [own];
  });
}

/** What the page itself measured, and what the service did. */
function speed(service) {
  const times = performance.getEntriesByName(FIRST_ROW, "measure").map(({ duration }) => duration).sort((a, b) => a - b);
  const at = (share) => `${Math.round(times[Math.min(times.length - 1, Math.floor(share * times.length))])} ms`;
  const rows = [];
  if (times.length) rows.push(["From the end of typing to the first row, here", at(0.5), at(0.95), times.length]);
  if (service?.n) rows.push(["The service's answer", `${Math.round(service.p50)} ms`, `${Math.round(service.p95)} ms`, service.n]);
  if (!rows.length) return el("p", { class: "hint" }, "No search has been timed since the start.");
  return el("div", { class: "health-scroll", tabindex: 0, role: "group", "aria-label": "Speed" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["", "median", "95 % within", "searches"].map((head) => (head ? el("th", { scope: "col" }, head) : el("td"))))),
    el("tbody", {}, ...rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((cell) => el("td", {}, String(cell))))))));
}

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").App} app
 * @returns {Promise<import("./app.js").View>}
 */
export async function mount(root, app) {
  const body = el("div", { class: "health" });
  root.replaceChildren(body);

  async function load() {
    if (!body.childElementCount) body.append(el("p", { class: "hint" }, "Measuring the space…"));
    const { facts = [], held_out: heldOut, cards = [], pairs = [], sampled, calibration: bins, service } = await app.api.get("api/health");
    body.replaceChildren(...[
      el("h2", {}, "Health of the space"),
      el("dl", { class: "health-facts" }, ...facts.map(({ name, value }) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      heldOut ? section("On pairs that training did not see", el("div", { class: "health-grid" }, ...heldOut.directions.map(recalls)),
        el("p", { class: "hint" }, `Per cent of queries with the right one among the first k. ${heldOut.intervals}; n = ${heldOut.counts.map(({ count, plural }) => `${number(count)} ${plural}`).join(", ")}; the line is chance.`))
        : section("On pairs that training did not see", el("p", { class: "hint" }, "This index knows no run. Index again with the run's folder, and its figures are shown here.")),
      section("In this index", sampled && el("p", { class: "hint" }, `Measured on ${sampled}.`),
        ...grouped(cards, (some, about) => el("div", { class: "health-grid" }, ...some.map(card), !about && bins && calibration(bins)))),
      pairs.length && section("Pairs that agree least", el("p", { class: "hint" }, "Wrong pairs are among these, and hard ones. What you say is kept beside the index."),
        ...grouped(pairs, (some) => el("ul", { class: "health-pairs" }, ...some.map((one) => pair(app, one))))),
      section("Speed", speed(service)),
    ].filter(Boolean));
  }

  await load();
  let fresh = true;
  app.onInfo(load);
  return {
    shown() {
      if (!fresh) load().catch(() => app.toast("The health could not be renewed."));
      fresh = false;
    },
  };
}
