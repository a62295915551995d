// The map view: everything in the index on a plane, near what it is like.

import { createCamera } from "./map_camera.js";
import { createCard } from "./map_card.js";
import { coloursOf, css, legendOf, ramp, readColours } from "./map_colours.js";
import { createControls } from "./map_controls.js";
import { fetchPoints, SIDE } from "./map_data.js";
import { createFlatPainter } from "./map_flat.js";
import { createGlPainter } from "./map_gl.js";
import { listenToMap } from "./map_input.js";
import { createList } from "./map_list.js";
import { createOverlay } from "./map_overlay.js";
import { createPreviews } from "./map_previews.js";
import { createSheet } from "./map_sheet.js";
import { createTabStops } from "./map_tab_stops.js";
import { combine, inside, simplify } from "./lasso.js";
import { el, number } from "./dom.js";

const REACH = 14;
/** Results that are marked: those that may fit, where that is known; at most so many, and so large a share of all. */
const [MARKED, MARKED_SHARE, MARKED_LEAST] = [200, 0.12, 12];
const LEADING = 60;
const MOST_RATIO = 2;
const SHOW_ZOOM = 10;
const WAIT_MS = 200;
/** Milliseconds between drawings: a longer pause is rest; slower or quicker than these, fewer or more points move. */
const [REST_MS, SETTLE_MS, SLOW_MS, QUICK_MS] = [600, 180, 26, 19];

/** The points; while they are not there, a word that the map is being made. */
async function awaited(root, app) {
  const words = el("p", { class: "map-wait", role: "status" }, `Drawing the map of ${number(app.info().total)} items, once only…`);
  const timer = setTimeout(() => root.append(words), WAIT_MS);
  try {
    return await fetchPoints(app);
  } finally {
    clearTimeout(timer);
    words.remove();
  }
}

/** Texts are hidden at first where there is anything else: they lie where their files lie. */
function textsOf(points, app) {
  const texts = points.modalities.flatMap((name, code) => (app.modalities.of(name).is_text ? [code] : []));
  return new Set(texts.length < points.modalities.length ? texts : []);
}

/**
 * @param {HTMLElement} root
 * @param {import("./app.js").App & Record<string, any>} app
 * @returns {Promise<import("./app.js").View>}
 */
export async function mount(root, app) {
  const overlayCanvas = el("canvas", { class: "map-layer" });
  let pointsCanvas = el("canvas", { class: "map-layer" });
  const surface = el("div", { class: "map-surface", tabindex: 0, role: "application", "aria-roledescription": "map" });
  const tabStopList = el("ul", { class: "map-tab-stops", "aria-label": "Previews in view" });
  const stage = el("div", { class: "map-stage" }, pointsCanvas, overlayCanvas, surface, tabStopList);
  root.replaceChildren(stage);

  /** @type {import("./map_data.js").Points} */
  let points = await awaited(root, app);
  let [mode, by, colours] = ["pan", "cluster", readColours(root)];
  let [frame, painted, losses, marked, previewsOn] = [0, false, 0, -1, true];
  /** @type {Set<number>} */
  let chosen = new Set();
  /** @type {Set<number>} keys of the legend that are hidden */
  let hidden = new Set();
  /** @type {Set<number>} modalities that are hidden */
  let off = textsOf(points, app);
  /** @type {{rows: number[], shares: Map<number, number>, low: number, high: number, marked: number}|null} the query's results */
  let found = null;
  /** @type {[number, number][]|null} */
  let shape = null;
  let legend = legendOf(points, /** @type {any} */ (by), colours.dark);
  let sizes = [];
  let [share, lastDrawn, settling, settled] = [1, 0, 0, false];
  let above = new Set();

  const redraw = () => { frame ||= requestAnimationFrame(draw); };
  const shown = (row) => !hidden.has(legend.keys[row]) && !off.has(points.modality[row]);
  const camera = createCamera(() => (redraw(), list.follow()), app.reducedMotion, (left, top, right, bottom, enough) => {
    let count = 0;
    points.within(left, top, right, bottom, (row) => { count += Number(shown(row)); });
    return count >= Math.min(enough, points.n / 2);
  });
  const overlay = createOverlay(overlayCanvas, camera);
  const card = createCard(app, stage, { points: () => points, camera, redraw });
  const tabStops = createTabStops(app, tabStopList, () => points, (row) => card.show(row));
  let previews = createPreviews(points, camera, redraw);
  const list = createList(app, stage, {
    visible, chosen: () => chosen, found: () => found?.rows ?? [], points: () => points, fit: () => camera.fit(),
  });
  const sheet = createSheet(() => resize());

  const makePainter = () => createGlPainter(pointsCanvas, (times) => (times > 1 ? flatten() : redraw())) ?? flatPainter();
  function flatPainter() {
    const fresh = el("canvas", { class: "map-layer", width: pointsCanvas.width, height: pointsCanvas.height });
    pointsCanvas.replaceWith(fresh);
    pointsCanvas = fresh;
    stage.dataset.painter = "flat";
    return createFlatPainter(fresh);
  }
  /** A context that is lost again and again is no use. */
  function flatten() {
    painter = flatPainter();
    painter.setPoints(points);
    paintAll();
  }
  stage.dataset.painter = "gl";
  let painter = makePainter();

  const controls = createControls(stage, {
    setMode: (next) => setMode(next === mode ? "pan" : next),
    zoom: (factor) => camera.zoomAt(factor, camera.width / 2, camera.height / 2, true),
    fit: () => camera.fit(),
    selectVisible: () => choose(visible(), "new"),
    clear: () => choose([], "new"),
    setBy(next) {
      [by, hidden] = [next, new Set()];
      recolour();
    },
    toggle(key) {
      hidden = new Set(hidden);
      if (!hidden.delete(key)) hidden.add(key);
      recolour();
    },
    solo(key) {
      const others = legend.entries.map((entry) => entry.key).filter((other) => other !== key);
      hidden = new Set(others.every((other) => hidden.has(other)) ? [] : others);
      recolour();
    },
    setPreviews(on) {
      previewsOn = on;
      redraw();
    },
    setKind(code, on) {
      off = new Set(off);
      if (on) off.delete(code);
      else off.add(code);
      chosen = new Set([...chosen].filter(shown));
      recolour();
    },
    resized: () => resize(),
  });

  function setMode(next) {
    mode = next;
    surface.dataset.mode = mode;
    controls.mode(mode);
  }

  function visible() {
    const rows = [];
    points.within(.../** @type {[number, number, number, number]} */ (camera.clear()), (row) => shown(row) && rows.push(row));
    return rows;
  }

  function choose(rows, how) {
    chosen = combine(chosen, rows, how);
    app.say(chosen.size ? `${number(chosen.size)} selected on the map` : "Selection cleared");
    recolour(false);
    list.follow(true);
  }

  /** Bounds of all points, so that the map fills its stage. */
  function bounds() {
    let [left, top, right, bottom] = points.n ? [SIDE, SIDE, 0, 0] : [0, 0, SIDE, SIDE];
    for (let row = 0; row < points.n; row++) {
      left = Math.min(left, points.x[row]);
      right = Math.max(right, points.x[row]);
      top = Math.min(top, points.y[row]);
      bottom = Math.max(bottom, points.y[row]);
    }
    return [left, top, right, bottom];
  }

  /** Everything that follows from what is coloured by what. */
  function recolour(rearrange = true) {
    const scored = by === "score" && found;
    legend = legendOf(points, /** @type {any} */ (by === "score" ? "modality" : by), colours.dark);
    controls.legend(by === "score" ? [] : legend.entries, hidden);
    controls.ramp(scored ? (share) => css(ramp(share, colours.dark)) : null, "weak", "strong");
    controls.selected(chosen.size > 0);
    controls.kinds(points.labels, off);
    let there = 0;
    for (let row = 0; row < points.n; row++) there += Number(shown(row));
    controls.foot(points, chosen.size, there);
    above = new Set([...(scored ? found.shares.keys() : []), ...chosen].filter(shown));
    if (rearrange) previews.arrange(shown, found?.rows.slice(0, LEADING));
    paintAll();
    list.follow();
  }

  function paintAll() {
    const scores = by === "score" ? found?.shares ?? null : null;
    painter.setColours(coloursOf(points, { ...legend, shown, chosen, scores, dark: colours.dark }), Uint32Array.from(above));
    redraw();
  }

  function renewChoices() {
    const names = ["cluster", points.classes.length && "class", points.modalities.length > 1 && "modality", found && "score"].filter(Boolean);
    if (!names.includes(by)) by = "cluster";
    controls.choices(/** @type {string[]} */ (names), by, points.labels.map((label) => label.toLowerCase()).join(" and "));
  }

  function take(ranked) {
    found = null;
    if (ranked?.n) {
      const rows = [];
      const shares = new Map();
      const [high, low] = [ranked.scores[0], ranked.scores[ranked.n - 1]];
      for (let at = 0; at < ranked.n; at++) {
        const row = points.rowOf(ranked.numbers[at]);
        if (row < 0) continue;
        rows.push(row);
        shares.set(row, (ranked.scores[at] - low) / (high - low || 1));
      }
      const likely = ranked.calibrated && ranked.maybe ? ranked.maybe : Infinity;
      found = { rows, shares, low, high, marked: Math.min(MARKED, likely, Math.max(MARKED_LEAST, Math.ceil(MARKED_SHARE * rows.length))) };
      if (rows.length && off.delete(points.modality[rows[0]])) off = new Set(off); // what was searched for is shown
    }
    renewChoices();
    recolour();
  }

  const pick = (x, y) => {
    const preview = previewsOn ? previews.at(x, y) : -1;
    return preview >= 0 ? preview : points.nearest(camera.fromX(x), camera.fromY(y), REACH / camera.scale, shown);
  };

  const settle = () => {
    settled = true;
    redraw();
  };
  /** How many points to draw: all when still; in motion as many as keep up, and any first rows are a fair sample. */
  function amount() {
    const now = performance.now();
    const passed = now - lastDrawn;
    lastDrawn = now;
    clearTimeout(settling);
    const rest = settled || passed > REST_MS;
    settled = false;
    if (rest) return points.n;
    if (passed > SLOW_MS) share = Math.max(0.1, share * 0.6);
    else if (passed < QUICK_MS) share = Math.min(1, share * 1.05);
    if (share < 1) settling = setTimeout(settle, SETTLE_MS);
    return Math.ceil(points.n * share);
  }

  /** Points grow with the zoom; where they crowd, each is fainter. */
  function draw() {
    frame = 0;
    if (root.hidden || !camera.width) return;
    const ratio = Math.min(devicePixelRatio, MOST_RATIO);
    const zoom = camera.zoom;
    const size = Math.min(9, Math.max(2, (points.n < 3000 ? 5 : points.n < 20000 ? 3.8 : 2.2) + 0.9 * Math.log2(zoom)));
    const crowd = (points.n / (zoom * zoom)) * size * size / (camera.width * camera.height * 0.3);
    painter.draw(camera, { size, opacity: Math.min(0.92, Math.max(0.16, 0.85 / Math.max(1, crowd) ** 0.6)), ratio, rows: amount() });
    overlay.clear(ratio);
    const colourOf = (row) => css(ramp(found?.shares.get(row) ?? 0, colours.dark));
    const top = new Map((found?.rows ?? []).slice(0, found?.marked).map((row, at) => [row, at + 1]));
    const marks = [...top.keys()].filter(shown);
    overlay.results(points, marks, (at) => colourOf(marks[at]), colours); // beneath the previews, never on a face
    if (previewsOn) {
      const faint = chosen.size ? (row) => !chosen.has(row) : found ? (row) => !top.has(row) : () => false;
      previews.draw(overlay.context, { fitted: camera.scale / zoom, front: card.row(), faint, fainter: chosen.size ? 0.22 : 0.55, colours });
    } else previews.none();
    for (const place of previews.drawn()) if (top.has(place.row)) overlay.badge(place, top.get(place.row), colourOf(place.row), colours);
    const regional = new Map(by === "cluster" ? legend.entries.map(({ key, colour }) => [key, colour]) : []);
    overlay.names(points, sizes, previews.drawn(), colours, (at) => regional.get(at) ?? null);
    if (marked >= 0) overlay.ring(points, marked, colours, 12);
    const row = card.row();
    if (row >= 0) {
      overlay.lines(points, row, card.neighbours(), colours);
      if (!previewsOn || !previews.front(overlay.context, row, colours)) overlay.ring(points, row, colours);
    }
    if (shape) overlay.shape(shape, colours);
    card.place();
    tabStops.follow(previews.drawn());
    if (!painted) performance.measure("cospace:map-drawn", { start: started, end: performance.now() });
    painted = true;
  }

  const input = listenToMap(surface, camera, {
    mode: () => mode,
    setMode,
    hover(x, y) {
      const name = overlay.nameAt(x, y);
      const row = name ? -1 : pick(x, y);
      surface.style.cursor = mode !== "pan" ? "crosshair" : name || row >= 0 ? "pointer" : "";
      card.show(row);
    },
    leave: () => card.show(-1),
    press(x, y) {
      const name = overlay.nameAt(x, y);
      if (name) return camera.goTo(name.x, name.y, camera.zoom * 3);
      const row = pick(x, y);
      if (row >= 0) app.openItem(points.numbers[row]);
    },
    shape(polygon) {
      shape = polygon;
      redraw();
    },
    shaped: (polygon, how) => choose(inside(points, simplify(polygon), shown), how),
    escape() {
      if (!chosen.size) return false;
      choose([], "new");
      return true;
    },
    singleKeys: app.singleKeys,
  });

  function adopt() {
    sizes = points.clusters.map(() => 0);
    points.cluster.forEach((cluster) => sizes[cluster]++);
    surface.setAttribute("aria-label", `Map of ${points.n} items. Arrow keys move, plus and minus zoom, 0 shows all, l draws around points. Tab moves through the previews.`);
    painter.setPoints(points);
    take(app.results());
    resize();
  }

  function resize() {
    const ratio = Math.min(devicePixelRatio, MOST_RATIO);
    const { clientWidth: width, clientHeight: height } = stage;
    if (!width || !height) return;
    for (const canvas of [pointsCanvas, overlayCanvas]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    sheet.renew();
    camera.resize(width, height, bounds(), controls.footHeight(sheet.covered()), controls.sideWidth());
  }

  async function mark() {
    const { item } = app.state();
    const number = item === null ? -1 : (await app.items.withId(item).catch(() => null))?.number ?? -1;
    marked = number < 0 ? -1 : points.rowOf(number);
    redraw();
  }

  const started = performance.now();
  app.clearSelection = () => choose([], "new");
  setMode("pan");
  adopt();
  new ResizeObserver(resize).observe(stage);
  app.onTheme(() => {
    colours = readColours(root);
    recolour(false);
  });
  app.onQuery(take);
  app.onInfo(async () => {
    previews.close();
    chosen = new Set();
    points = await awaited(root, app);
    off = textsOf(points, app);
    list.forget();
    previews = createPreviews(points, camera, redraw);
    adopt();
  });

  const view = {
    shown() {
      addEventListener("keydown", input.escape, true);
      resize();
      mark();
      list.follow();
    },
    hidden() {
      removeEventListener("keydown", input.escape, true);
      card.show(-1);
    },
    changed: mark,
    showItem(number) {
      const row = points.rowOf(number);
      if (row < 0) return app.toast("This item is not among those that the map shows.");
      marked = row;
      camera.goTo(points.x[row], points.y[row], SHOW_ZOOM);
    },
    /** For tests and consoles. */
    camera, points: () => points, chosen: () => chosen, previews: () => previews,
  };
  /** @type {any} */ (root).map = view;
  return view;
}
