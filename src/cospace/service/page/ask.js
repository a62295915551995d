// The Ask view: what is known of one item, what the model says about it, and on which grounds.

import { serverPart } from "./address.js";
import { media } from "./api.js";
import { el, icon } from "./dom.js";
import { miniTiles } from "./mini_tiles.js";
import { capital, withArticle } from "./modalities.js";
import { uploadUrl } from "./uploads.js";

const EXAMPLES = 12;
const CLOSEST = 5;
const EVIDENCE = 4;
const SURE = 0.3;
/** Below this score a model doubts its own caption. */
const DOUBTED = 0.2;
/** Small pictures are enlarged so many times at most; those of so many pixels at most keep their edges. */
const [ENLARGED, SMALL] = [4, 128];
const percent = (share) => `${Math.round(100 * share)} %`;

/** The item as the service takes it. */
function reference(subject) {
  const { weight, ...item } = /** @type {any} */ (serverPart(subject));
  return item;
}

/** Answers as bars, best first: never a sentence without its basis. @param {[string, number][]} answers */
const bars = (answers) => el("ol", { class: "bars" }, ...answers.map(([answer, share]) => {
  const bar = el("i", {});
  bar.style.width = `${100 * share}%`;
  return el("li", {}, el("span", { class: "bar-name" }, answer), el("span", { class: "bar-track", "aria-hidden": "true" }, bar), el("span", { class: "bar-value" }, percent(share)));
}));

/** Run something that asks the service; its place says that it is working, and what went wrong. */
async function into(place, work) {
  place.setAttribute("aria-busy", "true");
  try {
    place.replaceChildren(...(await work()));
  } catch (error) {
    place.replaceChildren(el("p", { class: "refused" }, icon("alert"), error.message));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

/** @param {import("./app.js").App & Record<string, any>} app */
function chooseItem(app) {
  const tiles = el("div", { class: "examples-to-ask" });
  const one = app.modalities.several() ? "item" : app.modalities.main().noun;
  const choose = (item) => app.update({ subject: { kind: "item", value: item.id, weight: 1 } }, true);
  app.items.all(app.info().representatives ?? []).then((items) => {
    const every = Math.max(1, Math.ceil(items.length / EXAMPLES)); // of all modalities: they come one after another
    tiles.replaceChildren(miniTiles(app, items.filter((_, at) => at % every === 0), choose));
  }, () => {});
  return el("div", { class: "ask-start" },
    el("h2", {}, `Ask about one ${one}`),
    el("p", {}, `Drop or paste ${withArticle(app.modalities.uploadNoun())} here, open one from the results and press Ask, or start with one of these.`),
    el("button", { type: "button", class: "primary", onclick: () => app.chooseFile() }, icon("upload"), `Choose ${withArticle(app.modalities.uploadNoun())}`), tiles);
}

/** What people wrote about items like this one. */
function closestCaptions(app, subject) {
  const place = el("div", { class: "answer-place" });
  into(place, async () => {
    const { results } = await app.api.post("api/search", { parts: [serverPart({ ...subject, weight: 1 })], find: app.modalities.textName(), k: CLOSEST });
    if (!results.length) return [el("p", { class: "hint" }, "No texts are indexed.")];
    return [el("ol", { class: "captions" }, ...results.map((result) => el("li", {},
      el("span", { class: "caption-text" }, result.text))))];
  });
  return el("section", { class: "card" }, el("h2", {}, "Closest captions in your data"), place);
}

/** What the decoder writes, kept apart from what people wrote. Its own score is no probability: only a low one is said, in words. */
function generatedCaption(app, subject) {
  const place = el("div", { class: "answer-place" });
  into(place, async () => {
    const { caption, itm_score: score = null } = await app.api.post("api/caption", { item: reference(subject) });
    const judged = score !== null && score < DOUBTED ? "It doubts this caption itself." : "It may be wrong.";
    return [el("p", { class: "generated" }, caption), el("p", { class: "hint" }, `Written by the model. ${judged}`)];
  });
  return el("section", { class: "card" }, el("h2", {}, "Generated caption"), place);
}

/** Four files that match the item and the answer together. */
async function evidence(app, subject, answer) {
  const parts = [serverPart({ ...subject, weight: 1 }), { text: answer, weight: 1 }];
  const { name, plural } = app.modalities.main();
  const { results } = await app.api.post("api/search", { parts, find: name, k: EVIDENCE + 1 });
  const others = results.filter((result) => subject.kind !== "item" || result.id !== subject.value).slice(0, EVIDENCE);
  if (!others.length) return [];
  return [el("h3", {}, `${capital(plural)} that go with this answer`), miniTiles(app, others, app.openResult)];
}

function answered(app, subject, answers) {
  const [best, share] = answers[0];
  const more = el("div", { class: "answer-evidence" });
  evidence(app, subject, best).then((nodes) => more.replaceChildren(...nodes), () => {});
  app.say(share < SURE ? `Not sure; perhaps ${best}` : `${best}, ${percent(share)}`);
  return [share < SURE && el("p", { class: "unsure" }, "Not sure. These come closest:"), bars(answers), more].filter(Boolean);
}

/** One field, one button, and a place for the answer; `examples` are put in when they come. */
function asking({ title, label, placeholder, button, examples, ask, hint }) {
  const place = el("div", { class: "answer-place", "aria-live": "polite" });
  const input = el("input", { type: "text", "aria-label": label, placeholder, required: true, autocomplete: "off", enterkeyhint: "send" });
  const send = () => input.value.trim() && into(place, () => ask(input.value.trim()));
  const form = el("form", { class: "ask-form", onsubmit(event) { event.preventDefault(); send(); } }, input, el("button", { class: "primary" }, button));
  const offered = el("div", { class: "ask-examples" });
  examples?.then((texts) => offered.append(...texts.map((text) =>
    el("button", { type: "button", class: "example", onclick() { input.value = text; send(); } }, text))), () => {});
  return el("section", { class: "card" }, el("h2", {}, title), form, offered, hint && el("p", { class: "hint" }, hint), place);
}

/** An answer, or that the model was not taught such questions: outside them its answers mean nothing. */
async function answer(app, subject, question) {
  try {
    const { answer, confidence, top } = await app.api.post("api/ask", { item: reference(subject), question });
    return answered(app, subject, top?.length ? top.map((one) => [one.answer, one.confidence]) : [[answer, confidence]]);
  } catch (error) {
    if (error.status !== 422 || error.field !== "question") throw error;
    return [el("p", { class: "refused" }, icon("alert"), "I was not taught such questions.")];
  }
}

/** A free question where the run's decoder knows such items; a choice among given answers everywhere. */
function questions(app, subject, described) {
  const choose = asking({
    title: "Which of these is it?", label: "Possible answers", placeholder: "cat, dog, bus", button: "Compare",
    hint: "Write answers to choose from, with commas between.",
    async ask(written) {
      const classes = [...new Set(written.split(",").map((word) => word.trim()).filter(Boolean))];
      if (classes.length < 2) return [el("p", { class: "refused" }, "Give at least two answers, with a comma between.")];
      const { results } = await app.api.post("api/classify", { item: reference(subject), classes });
      const ranked = results.map((result) => [result.class, result.probability]).sort((a, b) => b[1] - a[1]);
      return answered(app, subject, ranked);
    },
  });
  if (!described || !app.info().can?.ask) return [choose];
  return [asking({
    title: "Ask a question", label: "Question", placeholder: "What would you like to know?", button: "Ask",
    examples: app.api.post("api/questions", { item: reference(subject) }).then(({ questions }) => questions),
    ask: (question) => answer(app, subject, question),
  }), choose];
}

/** What is asked about: its modality, its name, and where its preview lies. */
async function identify(app, subject) {
  if (subject.kind === "item") {
    const item = await app.items.withId(subject.value);
    const preview = app.modalities.hasPreview(item) && app.modalities.previewOf(item, 1280);
    const isFile = /\.\w+$/.test(item.path); // what was drawn on the fly has no file to be called by
    return {
      modality: item.modality, hash: item.hash, alt: item.text || item.path || item.id, preview,
      name: isFile ? item.path : item.text || item.id, sides: [item.width, item.height],
    };
  }
  const { modality, preview } = await app.uploads.one(subject.value);
  return { modality, hash: "", alt: app.nameOf(subject), name: "", preview: preview && uploadUrl(subject.value) };
}

/** The preview, and a player where the modality of an indexed item brings one. */
function figure(app, subject, shown) {
  const name = el("p", { class: "ask-name" }, shown.name);
  const image = shown.preview && el("img", { class: "ask-preview", src: shown.preview, alt: shown.alt });
  image?.addEventListener?.("error", () => {
    name.textContent = "The file could not be read.";
    image.remove();
  });
  if (image && shown.sides) {
    const [width, height] = shown.sides;
    image.style.maxWidth = `min(100%, ${ENLARGED * width}px)`;
    if (Math.max(width, height) <= SMALL) image.classList.add("small");
  }
  const place = el("div", { class: "player" });
  if (shown.hash) {
    app.modalities.module(app.modalities.of(shown.modality)).then((module) =>
      module?.player && place.append(module.player(media(shown.hash), shown.alt)));
  }
  const other = el("button", { type: "button", class: "text-button", onclick: () => app.update({ subject: null }, true) }, "Choose another");
  return el("figure", { class: "ask-figure" }, image, place, el("figcaption", {}, name, other));
}

/** @param {import("./app.js").App & Record<string, any>} app */
async function about(app, subject) {
  const shown = await identify(app, subject).catch((error) => {
    const expired = subject.kind !== "item" && error.status === 404;
    return { modality: "", hash: "", alt: "", preview: "", name: expired ? `This ${app.modalities.uploadNoun()} has expired: choose it again.` : error.message };
  });
  const described = Boolean(shown.modality) && shown.modality === app.info().describes;
  return el("div", { class: "ask" }, figure(app, subject, shown),
    el("div", { class: "ask-answers" }, closestCaptions(app, subject), described && app.info().can?.caption && generatedCaption(app, subject), ...questions(app, subject, described)));
}

/** @param {HTMLElement} root @param {import("./app.js").App & Record<string, any>} app @returns {import("./app.js").View} */
export function mount(root, app) {
  let drawn = "nothing";
  app.openResult = ({ id }) => app.update({ view: "search", item: id }, true);
  async function draw() {
    const { subject } = app.state();
    const key = JSON.stringify(subject);
    if (key === drawn) return;
    drawn = key;
    const content = subject ? await about(app, subject) : chooseItem(app);
    if (drawn === key) root.replaceChildren(content);
  }
  app.onInfo(() => { drawn = "old"; });
  return { shown: draw, changed: draw };
}
