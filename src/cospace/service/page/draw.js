// Drawing what to search for: white paper in both themes, beside the results, which change 300 ms after each stroke.

import { applyStyle, byId, el, iconButton } from "./dom.js";
import { fill } from "./draw_fill.js";

const SIDE = 384;
const SEARCH_MS = 300;
const PENS = [{ width: 3, label: "Thin" }, { width: 8, label: "Middle" }, { width: 20, label: "Thick" }];
const COLOURS = [
  ["#111111", "Black"], ["#d7263d", "Red"], ["#f08a24", "Orange"], ["#f4d020", "Yellow"], ["#2a9d4e", "Green"], ["#5ec4e8", "Light blue"],
  ["#ffffff", "White"], ["#9aa0a6", "Grey"], ["#8a5a34", "Brown"], ["#f492be", "Pink"], ["#7c34a8", "Purple"], ["#2563c9", "Blue"],
];
const PAPER = "#ffffff";
const BUCKET = "M5 12l7-7 7 7-7 7zM9 4l3 3M5 12h14M20.500 15.500c1 1.500 1.500 2.300 1.500 3a1.500 1.500 0 0 1-3 0c0-.700.500-1.500 1.500-3z";

/** @typedef {{colour: string, width: number, points: [number, number][], filled?: boolean}} Stroke */

/** @param {CanvasRenderingContext2D} context @param {Stroke} stroke */
function drawStroke(context, { colour, width, points, filled }) {
  if (filled) return fill(context, points[0], colour);
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  const [[x, y]] = points;
  if (points.length === 1) {
    context.arc(x, y, width / 2, 0, 2 * Math.PI);
    return context.fill();
  }
  context.moveTo(x, y);
  for (const [toX, toY] of points) context.lineTo(toX, toY);
  return context.stroke();
}

/** One of several: a row of buttons of which one is pressed. */
function choices(label, entries, make, choose) {
  const buttons = entries.map((entry, at) => {
    const button = make(entry);
    button.addEventListener("click", () => select(at));
    return button;
  });
  function select(chosen) {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === chosen)));
    choose(entries[chosen]);
  }
  return { node: el("div", { class: "choices", role: "group", "aria-label": label }, ...buttons), select };
}

/** Strokes that can be taken back. @param {CanvasRenderingContext2D} context @param {() => void} changed */
function createDrawing(context, changed) {
  /** @type {Stroke[][]} */
  let past = [[]];
  let at = 0;
  const paint = () => {
    context.fillStyle = PAPER;
    context.fillRect(0, 0, SIDE, SIDE);
    past[at].forEach((stroke) => drawStroke(context, stroke));
  };
  const go = (to) => {
    if (to < 0 || to >= past.length) return;
    at = to;
    paint();
    changed();
  };
  const put = (strokes) => {
    past = [...past.slice(0, at + 1), strokes];
    go(at + 1);
  };
  paint();
  return {
    paint,
    add: (stroke) => put([...past[at], stroke]),
    clear: () => past[at].length && put([]),
    undo: () => go(at - 1),
    redo: () => go(at + 1),
    isEmpty: () => !past[at].length,
  };
}

/** @param {HTMLCanvasElement} canvas */
function listenToPen(canvas, context, drawing, pen) {
  /** @type {Stroke|null} */
  let stroke = null;
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    return /** @type {[number, number]} */ ([((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const erasing = pen.tool === "eraser";
    stroke = {
      colour: erasing ? PAPER : pen.colour, width: erasing ? Math.max(20, pen.width) : pen.width, points: [point(event)], filled: pen.tool === "bucket",
    };
    drawStroke(context, stroke);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || stroke.filled) return;
    const events = event.getCoalescedEvents?.() ?? [];
    stroke.points.push(...(events.length ? events : [event]).map(point));
    drawStroke(context, stroke);
  });
  canvas.addEventListener("lostpointercapture", () => {
    const done = stroke;
    stroke = null;
    if (done) drawing.add(done);
  });
}

/** A button with a drawing of its own. */
function drawnButton(path, label, onclick) {
  const button = iconButton("draw", label, onclick, { "aria-pressed": "false" });
  const [svg] = button.children;
  const line = document.createElementNS(svg.namespaceURI, "path");
  line.setAttribute("d", path);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.replaceChildren(line);
  return button;
}

/** The pens, the colours, what fills and what erases. */
function createTools(drawing, pen) {
  const eraser = iconButton("eraser", "Eraser", () => use(pen.tool === "eraser" ? "pen" : "eraser"), { "aria-pressed": "false" });
  const bucket = drawnButton(BUCKET, "Fill", () => use(pen.tool === "bucket" ? "pen" : "bucket"));
  function use(tool) {
    pen.tool = tool;
    eraser.setAttribute("aria-pressed", String(tool === "eraser"));
    bucket.setAttribute("aria-pressed", String(tool === "bucket"));
  }
  const pens = choices("Pen", PENS, ({ width, label }) => {
    const dot = el("i", { class: "pen-dot" });
    dot.style.width = dot.style.height = `${width}px`;
    return el("button", { type: "button", class: "icon-button", "aria-label": `${label} pen` }, dot);
  }, ({ width }) => {
    pen.width = width;
    if (pen.tool === "bucket") use("pen");
  });
  const colours = choices("Colour", COLOURS, ([value, name]) => {
    const button = el("button", { type: "button", class: "swatch", "aria-label": name });
    button.style.backgroundColor = value;
    return button;
  }, ([value]) => {
    pen.colour = value;
    if (pen.tool === "eraser") use("pen");
  });
  pens.select(1);
  colours.select(0);
  return el("div", { class: "draw-side" },
    el("div", { class: "draw-tools" }, pens.node, bucket, eraser,
      iconButton("undo", "Undo (Ctrl+Z)", drawing.undo), iconButton("redo", "Redo (Ctrl+Y)", drawing.redo), iconButton("bin", "Clear", drawing.clear)),
    colours.node, el("p", { class: "hint" }, "Colours and places count most. Adding a word helps."));
}

/** @param {any} app */
function createPanel(app) {
  const canvas = el("canvas", { class: "paper", width: SIDE, height: SIDE, "aria-label": "Paper to draw on", role: "img" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pen = { colour: COLOURS[0][0], width: PENS[1].width, tool: "pen" };
  let timer = 0;
  const search = () => canvas.toBlob((blob) => blob && app.searchBy(blob, "drawing"), "image/png");
  const drawing = createDrawing(context, () => {
    clearTimeout(timer);
    if (!drawing.isEmpty()) timer = setTimeout(search, SEARCH_MS);
  });
  listenToPen(canvas, context, drawing, pen);
  /** @type {HTMLElement|null} */
  let opener = null;

  function close() {
    panel.hidden = true;
    document.body.classList.remove("drawing");
    opener?.focus();
  }
  const panel = el("aside", { class: "draw", "aria-labelledby": "draw-title", tabindex: "-1", hidden: true },
    el("div", { class: "sheet-head" }, el("h2", { id: "draw-title" }, "Draw what to search for"), iconButton("close", "Close", close)),
    el("div", { class: "draw-body" }, canvas, createTools(drawing, pen)));
  panel.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (key === "escape") close();
    else if (!(event.ctrlKey || event.metaKey) || (key !== "z" && key !== "y")) return;
    else if (key === "y" || event.shiftKey) drawing.redo();
    else drawing.undo();
    event.preventDefault();
    event.stopPropagation();
  });
  document.body.append(panel);
  const { style } = document.documentElement;
  new ResizeObserver(() => style.setProperty("--draw-height", `${Math.ceil(panel.getBoundingClientRect().height)}px`)).observe(panel);
  return {
    toggle() {
      if (!panel.hidden) return close();
      opener = document.activeElement instanceof HTMLElement ? document.activeElement : null;
      panel.hidden = false;
      style.setProperty("--draw-top", `${byId("bar").offsetHeight}px`);
      document.body.classList.add("drawing");
      panel.focus({ preventScroll: true });
    },
  };
}

/** Made once: what was drawn is there again when the panel is opened again. @type {{toggle: () => void}|null} */
let panel = null;

/** @param {any} app */
export async function openDrawing(app) {
  await applyStyle("draw.css");
  panel ??= createPanel(app);
  panel.toggle();
}
