// Drawing what to search for: white paper in both themes, and a search 300 ms after each stroke.

import { applyStyle, el, icon, iconButton } from "./dom.js";

const SIDE = 384;
const SEARCH_MS = 300;
const PENS = [{ width: 3, label: "Thin" }, { width: 8, label: "Middle" }, { width: 20, label: "Thick" }];
const COLOURS = [
  ["#111111", "Black"], ["#d7263d", "Red"], ["#f08a24", "Orange"], ["#f4d35e", "Yellow"],
  ["#2a9d4e", "Green"], ["#2563c9", "Blue"], ["#8a5a34", "Brown"], ["#9aa0a6", "Grey"],
];
const PAPER = "#ffffff";

/** @typedef {{colour: string, width: number, points: [number, number][]}} Stroke */

/** @param {CanvasRenderingContext2D} context @param {Stroke} stroke */
function drawStroke(context, { colour, width, points }) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  const [[x, y]] = points;
  if (points.length === 1) {
    context.arc(x, y, width / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  context.moveTo(x, y);
  for (const [toX, toY] of points) context.lineTo(toX, toY);
  context.stroke();
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
    stroke = { colour: pen.erasing ? PAPER : pen.colour, width: pen.erasing ? Math.max(20, pen.width) : pen.width, points: [point(event)] };
    drawStroke(context, stroke);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke) return;
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

/** @param {any} app */
export async function openDrawing(app) {
  await applyStyle("draw.css");
  const canvas = el("canvas", { class: "paper", width: SIDE, height: SIDE, "aria-label": "Paper to draw on", role: "img" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pen = { colour: COLOURS[0][0], width: PENS[1].width, erasing: false };
  let timer = 0;
  const search = () => canvas.toBlob((blob) => blob && app.searchBy(blob, "drawing"), "image/png");
  const drawing = createDrawing(context, () => {
    clearTimeout(timer);
    if (!drawing.isEmpty()) timer = setTimeout(search, SEARCH_MS);
  });
  listenToPen(canvas, context, drawing, pen);

  const eraser = iconButton("eraser", "Eraser", () => erase(!pen.erasing), { "aria-pressed": "false" });
  const erase = (on) => {
    pen.erasing = on;
    eraser.setAttribute("aria-pressed", String(on));
  };
  const pens = choices("Pen", PENS, ({ width, label }) => {
    const dot = el("i", { class: "pen-dot" });
    dot.style.width = dot.style.height = `${width}px`;
    return el("button", { type: "button", class: "icon-button", "aria-label": `${label} pen`, title: `${label} pen` }, dot);
  }, ({ width }) => { pen.width = width; });
  const colours = choices("Colour", COLOURS, ([value, name]) => {
    const button = el("button", { type: "button", class: "swatch", "aria-label": name, title: name });
    button.style.backgroundColor = value;
    return button;
  }, ([value]) => { pen.colour = value; erase(false); });
  pens.select(1);
  colours.select(0);

  const dialog = el("dialog", { class: "sheet draw", "aria-labelledby": "draw-title" },
    el("div", { class: "sheet-head" }, el("h2", { id: "draw-title" }, "Draw what to search for"), iconButton("close", "Close", () => dialog.close())),
    canvas,
    el("div", { class: "draw-tools" }, pens.node, eraser,
      iconButton("undo", "Undo (Ctrl+Z)", drawing.undo), iconButton("redo", "Redo (Ctrl+Y)", drawing.redo), iconButton("bin", "Clear", drawing.clear)),
    colours.node,
    el("p", { class: "hint" }, "Drawings are compared by shape; a word as a second chip helps."),
    el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, icon("search"), "Show the results"));
  dialog.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) drawing.redo();
    else drawing.undo();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
