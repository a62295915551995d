// The Ask view: what is known of one picture, what the model says about it, and on which grounds.

import { serverPart } from "./address.js";
import { thumbnail } from "./api.js";
import { el, icon } from "./dom.js";
import { uploadUrl } from "./pictures.js";

const CLOSEST = 5;
const EVIDENCE = 4;
const SURE = 0.3;
const QUESTIONS = ["What is in the picture?", "How many are there?", "What colour is it?", "Where was it taken?"];
const percent = (share) => `${Math.round(100 * share)} %`;

/** The picture as the service takes it. */
function reference(subject) {
  const { weight, ...image } = /** @type {any} */ (serverPart(subject));
  return image;
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
function choosePicture(app) {
  const tiles = el("div", { class: "strip-of-tiles large" });
  const choose = (item) => app.update({ subject: { kind: "item", value: item.id, weight: 1 } }, true);
  app.items.all(app.info().representatives ?? []).then((items) =>
    tiles.replaceChildren(...items.slice(0, 12).map((item) =>
      el("button", { type: "button", class: "mini", title: item.text || item.path, onclick: () => choose(item) },
        el("img", { src: thumbnail(item.hash, 256), alt: item.text || item.path || item.id })))), () => {});
  return el("div", { class: "ask-start" },
    el("h2", {}, "Ask about one picture"),
    el("p", {}, "Drop or paste a picture here, open one from the results and press Ask, or start with one of these."),
    el("button", { type: "button", class: "primary", onclick: () => app.choosePicture() }, icon("picture"), "Choose a picture"), tiles);
}

/** What people wrote about pictures like this one. */
function closestCaptions(app, subject) {
  const place = el("div", { class: "answer-place" });
  into(place, async () => {
    const { results } = await app.api.post("/api/search", { parts: [serverPart({ ...subject, weight: 1 })], find: "text", k: CLOSEST });
    if (!results.length) return [el("p", { class: "hint" }, "No texts are indexed.")];
    return [el("ol", { class: "captions" }, ...results.map((result) => el("li", {},
      el("span", { class: "caption-text" }, result.text),
      el("span", { class: "caption-source" }, [result.percent === null ? `cosine ${result.score.toFixed(2)}` : `${result.percent} %`, result.path || result.id].join(" · ")))))];
  });
  return el("section", { class: "card" }, el("h3", {}, "Closest captions in your data"), place);
}

/** What the decoder writes, kept apart from what people wrote. */
function generatedCaption(app, subject) {
  const place = el("div", { class: "answer-place" });
  into(place, async () => {
    const { caption } = await app.api.post("/api/caption", { image: reference(subject) });
    return [el("p", { class: "generated" }, caption), el("p", { class: "hint" }, "Written by the model; it may be wrong.")];
  });
  return el("section", { class: "card" }, el("h3", {}, "Generated caption"), place);
}

/** Four pictures that match the picture and the answer together. */
async function evidence(app, subject, answer) {
  const parts = [serverPart({ ...subject, weight: 1 }), { text: answer, weight: 1 }];
  const { results } = await app.api.post("/api/search", { parts, find: "image", k: EVIDENCE + 1 });
  const others = results.filter((result) => subject.kind !== "item" || result.id !== subject.value).slice(0, EVIDENCE);
  if (!others.length) return [];
  return [el("h4", {}, "Pictures that go with this answer"), el("div", { class: "strip-of-tiles" }, ...others.map((result) =>
    el("button", { type: "button", class: "mini", title: result.text || result.path, onclick: () => app.openAside(result) },
      el("img", { src: thumbnail(result.hash, 256), alt: result.text || result.path || result.id }))))];
}

function answered(app, subject, answers) {
  const [best, share] = answers[0];
  const more = el("div", { class: "answer-evidence" });
  evidence(app, subject, best).then((nodes) => more.replaceChildren(...nodes), () => {});
  app.say(share < SURE ? `Not sure; perhaps ${best}` : `${best}, ${percent(share)}`);
  return [share < SURE && el("p", { class: "unsure" }, "Not sure. These come closest:"), bars(answers), more].filter(Boolean);
}

/** One field, one button, and a place for the answer. */
function asking({ title, label, placeholder, button, examples, ask, hint }) {
  const place = el("div", { class: "answer-place", "aria-live": "polite" });
  const input = el("input", { type: "text", "aria-label": label, placeholder, required: true, autocomplete: "off", enterkeyhint: "send" });
  const send = () => input.value.trim() && into(place, () => ask(input.value.trim()));
  const form = el("form", { class: "ask-form", onsubmit(event) { event.preventDefault(); send(); } }, input, el("button", { class: "primary" }, button));
  return el("section", { class: "card" }, el("h3", {}, title), form,
    examples && el("div", { class: "ask-examples" }, ...examples.map((text) =>
      el("button", { type: "button", class: "example", onclick() { input.value = text; send(); } }, text))),
    hint && el("p", { class: "hint" }, hint), place);
}

/** A free question where the run has a decoder; a choice among given answers everywhere. */
function questions(app, subject) {
  const choose = asking({
    title: "Which of these is it?", label: "Possible answers", placeholder: "cat, dog, bus", button: "Compare",
    hint: "Write answers to choose from, with commas between.",
    async ask(written) {
      const classes = [...new Set(written.split(",").map((word) => word.trim()).filter(Boolean))];
      if (classes.length < 2) return [el("p", { class: "refused" }, "Give at least two answers, with a comma between.")];
      const { results } = await app.api.post("/api/classify", { image: reference(subject), classes });
      const ranked = results.map((result) => [result.class, result.probability]).sort((a, b) => b[1] - a[1]);
      return answered(app, subject, ranked);
    },
  });
  if (!app.info().can?.ask) return [choose];
  return [asking({
    title: "Ask a question", label: "Question", placeholder: "What would you like to know?", button: "Ask", examples: QUESTIONS,
    async ask(question) {
      const { answer, confidence, top } = await app.api.post("/api/ask", { image: reference(subject), question });
      const answers = top?.length ? top.map((one) => [one.answer, one.confidence]) : [[answer, confidence]];
      return answered(app, subject, answers);
    },
  }), choose];
}

/** @param {import("./app.js").App & Record<string, any>} app */
function about(app, subject) {
  const image = el("img", { class: "ask-picture", alt: "The picture in question" });
  const name = el("p", { class: "ask-name" });
  image.addEventListener("error", () => {
    name.textContent = subject.kind === "item" ? "The file could not be read." : "This picture has expired: choose it again.";
    image.remove();
  });
  if (subject.kind === "item") {
    app.items.withId(subject.value).then((item) => {
      image.src = thumbnail(item.hash, 1280);
      image.alt = item.text || item.path || item.id;
      name.textContent = item.path || item.id;
    }, (error) => { name.textContent = error.message; });
  } else image.src = uploadUrl(subject.value);
  const other = el("button", { type: "button", class: "text-button", onclick: () => app.update({ subject: null }, true) }, "Another picture");
  return el("div", { class: "ask" },
    el("figure", { class: "ask-figure" }, image, el("figcaption", {}, name, other)),
    el("div", { class: "ask-answers" }, closestCaptions(app, subject), app.info().can?.caption && generatedCaption(app, subject), ...questions(app, subject)));
}

/** @param {HTMLElement} root @param {import("./app.js").App & Record<string, any>} app @returns {import("./app.js").View} */
export function mount(root, app) {
  let drawn = "nothing";
  app.openAside = ({ id }) => app.update({ view: "search", item: id }, true);
  function draw() {
    const { subject } = app.state();
    const key = JSON.stringify(subject);
    if (key === drawn) return;
    drawn = key;
    root.replaceChildren(subject ? about(app, subject) : choosePicture(app));
  }
  app.onInfo(() => { drawn = "old"; });
  return { shown: draw, changed: draw };
}
