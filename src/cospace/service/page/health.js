// The Health view: how good the space is in one sentence, then what that rests on, which pairs agree least, how fast it is.

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
const LEVELS = { good: "good", fair: "look", poor: "bad", chance: "bad", collapsed: "bad", unmeasured: "look" };
const mark = (word, says = word) => word && el("p", { class: `health-word ${word}` }, icon(MARKS[word] ?? "alert"), says);
/** A number and its per cent sign stay on one line. @param {string} text */
const unbroken = (text) => text.replaceAll(/(\d) %/g, "$1\u00a0%");
const figures = (text) => el("span", { class: "health-figures" }, text);

/** How good it is, in one sentence, and the one thing to do about it. */
function opening({ level, sentence, deed, command, evidence }) {
  const word = LEVELS[level] ?? "look";
  return el("header", { class: `health-opening ${word}` }, el("p", { class: "hint" }, "How good is it?"),
    el("h2", {}, icon(MARKS[word]), el("span", {}, unbroken(sentence))),
    el("p", { class: "health-deed" }, el("span", {}, unbroken(deed)), command && el("code", {}, command)),
    evidence && el("p", { class: "hint" }, unbroken(evidence)));
}

/** One direction's recall as bars with their intervals, and the line of guessing. */
function recalls({ title, queries, asked, recalls: rows, word, says }) {
  return el("figure", { class: "health-card health-direction" },
    el("figcaption", {}, el("span", {}, title, " ", el("small", {}, count(queries, asked))), mark(word, says)),
    ...rows.map(({ k, value, low, high, chance, shown, chance_shown: guessing }) => {
      const [fill, span, line] = ["health-fill", "health-span", "health-chance"].map((name) => el("i", { class: name }));
      fill.style.width = along(value);
      span.style.left = along(low);
      span.style.width = along(high - low);
      line.style.left = along(chance);
      return el("div", { class: "health-recall" }, el("span", {}, k === 1 ? "Right one first" : `In the first ${k}`),
        el("span", { class: "health-track", "aria-hidden": "true" }, fill, span, line), el("b", {}, figures(`${shown} %`)),
        el("small", {}, figures(`${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`), " · ", figures(`guessing ${guessing} %`)));
    }));
}

/** A preview that opens its item. @param {import("./app.js").App} app */
function opener(app, item) {
  const preview = app.modalities.hasPreview(item) &&
    el("img", { src: app.modalities.previewOf(item, 256), alt: "", loading: "lazy", width: item.width, height: item.height, onerror: () => { preview.hidden = true; } });
  const label = `Open the ${app.modalities.of(item.modality).noun} of: ${item.text}`;
  return el("button", { type: "button", class: "health-preview", "aria-label": label, onclick: () => app.openItem(item.number) }, preview);
}

/** One figure: number, a word with a mark where it has one, a sentence, and the item that it is about. */
function card(app, { title, shown, word, sentence, item }) {
  return el("article", { class: "health-card" }, el("h4", {}, title),
    el("div", { class: "health-row" }, el("div", {}, el("p", { class: "health-value" }, figures(shown)), mark(word)), item && opener(app, item)),
    el("p", {}, unbroken(sentence)));
}

/** What the page showed of held-out searches against what was true; the larger a dot, the more results it stands for. */
function calibration({ bins, sentence, word }) {
  const [from, to] = [PAD, SIZE - 10];
  const x = (share) => from + share * (to - from);
  const y = (share) => to - PAD + 10 - share * (to - from);
  const most = Math.max(...bins.map(({ count: results }) => results));
  const ticks = [0, 0.5, 1].flatMap((share) => [
    svg("path", { class: "grid", d: `M${x(0)} ${y(share)}H${x(1)}` }),
    svg("text", { x: x(0) - 6, y: y(share) + 4, "text-anchor": "end" }, `${share * 100}`),
    svg("text", { x: x(share), y: y(0) + 16, "text-anchor": "middle" }, `${share * 100}`),
  ]);
  const path = bins.filter(({ enough }) => enough).map(({ predicted, observed }, at) => `${at ? "L" : "M"}${x(predicted)} ${y(observed)}`).join("");
  const dots = bins.map(({ predicted, observed, count: results, enough }) =>
    svg("circle", { class: enough ? "dot" : "dot few", cx: x(predicted), cy: y(observed), r: 3 + 3 * Math.sqrt(results / most) }, svg("title", {}, `${percent(predicted)} shown, ${percent(observed)} true, ${count(results, "result")}`)));
  return el("figure", { class: "health-card plot" },
    svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": "Per cent that were shown against per cent that were true" }, ...ticks,
      svg("path", { class: "ideal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }), path && svg("path", { class: "line", d: path }), ...dots,
      svg("text", { x: x(0.5), y: y(0) + 32, "text-anchor": "middle" }, "shown, per cent")),
    el("figcaption", {}, mark(word), el("p", {}, unbroken(sentence)),
      el("p", { class: "hint" }, "Right: what was shown. Up: how often it was true. On the dashed line both are the same.",
        bins.some(({ enough }) => !enough) && " Grey: fewer than 20 results.")));
}

/** A pair with its preview, and what somebody thinks of it. @param {import("./app.js").App} app */
function pair(app, { id, other, number: item, text, cosine, width, height, ...one }) {
  const status = el("span", { class: "health-status", role: "status" });
  const buttons = [["wrong", "Wrong"], ["fine", "Fine"]].map(([verdict, label]) => el("button", {
    type: "button", class: "health-verdict", "aria-pressed": "false", "aria-label": `${label}: ${text}`,
    async onclick(event) {
      const pressed = event.currentTarget;
      try {
        await app.api.post("api/feedback", { id, other, verdict });
        for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
        status.textContent = "Marked.";
      } catch (error) {
        status.textContent = `Not marked: ${error.message}`;
      }
    },
  }, label));
  return el("li", { class: "health-pair" }, opener(app, { ...one, number: item, text, width, height }),
    el("div", {}, el("p", { class: "health-text" }, text), el("p", { class: "hint" }, figures(`similarity ${cosine.toFixed(2)}`)),
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
    if (!body.childElementCount) body.append(el("p", { class: "hint" }, "Measuring…"));
    const { verdict, facts = [], held_out: heldOut, cards = [], pairs = [], sampled, calibration: shown, service } = await app.api.get("api/health");
    const grid = (some) => el("div", { class: "health-grid" }, ...some.map((one) => card(app, one)));
    const [plain, special] = [false, true].map((special) => cards.filter((one) => Boolean(one.specialist) === special));
    body.replaceChildren(...[
      opening(verdict),
      heldOut && section("On pairs that training did not see", el("div", { class: "health-grid directions" }, ...heldOut.directions.map(recalls)),
        el("p", { class: "hint" }, `Bars: how often the right one was found. Brackets: ${heldOut.intervals}. Red line: guessing.`)),
      shown && section("Does 80 % mean 80 %?", calibration(shown)),
      plain.length && section("In this index", sampled && el("p", { class: "hint" }, `Measured on ${sampled}.`), ...grouped(plain, grid)),
      pairs.length && section("These captions fit least", el("p", { class: "hint" }, "Some may be wrong: mark them. What you mark is kept beside the index."),
        ...grouped(pairs, (some) => el("ul", { class: "health-pairs" }, ...some.map((one) => pair(app, one))))),
      el("details", { class: "health-part health-special" }, el("summary", {}, el("h3", {}, "For specialists")),
        el("div", { class: "health-part" }, ...grouped(special, grid), el("h4", {}, "Speed"), speed(service))),
      el("dl", { class: "health-facts" }, ...facts.map(({ name, value }) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    ].filter(Boolean));
  }

  await load();
  let fresh = true;
  app.onInfo(load);
  return {
    shown() {
      if (!fresh) load().catch(() => app.toast("The figures could not be renewed."));
      fresh = false;
    },
  };
}
