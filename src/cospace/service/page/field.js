// The query field and the other ways in: a file from disk, the clipboard, a camera, a recorder, a drop, or a drawing.

import { MINUS, findNegation, readDraft } from "./address.js";
import { byId, el, icon, iconButton, isWriting } from "./dom.js";
import { withArticle } from "./modalities.js";
import { isRemote } from "./uploads.js";

const DEBOUNCE_MS = 120;
const REFUSAL = "Save the file first; this page never downloads from the web.";

/** A search by a file that somebody brought. @param {any} app @returns {(blob: Blob, kind?: "upload"|"drawing") => Promise<void>} */
function createFileSearch(app) {
  let turn = 0;
  return async function searchBy(blob, kind = "upload") {
    const mine = ++turn;
    try {
      const value = await app.uploads.send(blob);
      if (mine !== turn) return; // a newer stroke or file is on its way
      const { view, parts } = app.state();
      if (view === "ask") return app.update({ subject: { kind, value, weight: 1 } }, true);
      const drawn = kind === "drawing" ? parts.find((part) => part.kind === "drawing") : undefined;
      const part = { kind, value, weight: drawn?.weight ?? 1 };
      const next = drawn ? parts.map((old) => (old === drawn ? part : old)) : [...parts, part];
      app.update({ parts: next, view: view === "map" ? "map" : "search" }, !drawn);
    } catch (error) {
      app.notices.problem(error, () => searchBy(blob, kind));
    }
  };
}

/** @param {import("./app.js").App & Record<string, any>} app */
function createSources(app) {
  const { modalities } = app;
  app.searchBy = createFileSearch(app);
  const chooser = (attributes) => el("input", {
    type: "file", hidden: true, tabindex: "-1", ...attributes,
    onchange(event) {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) app.searchBy(file);
    },
  });
  const files = chooser({ "aria-label": "File" });
  const camera = chooser({ "aria-label": "Camera", accept: "image/*", capture: "environment" });

  async function pasteByButton() {
    try {
      for (const entry of await navigator.clipboard.read()) {
        const type = entry.types.find(modalities.takes);
        if (type) return app.searchBy(await entry.getType(type));
      }
      return app.toast(`There is no ${modalities.uploadNoun()} on the clipboard.`);
    } catch {
      return app.toast("The browser did not allow reading the clipboard; press Ctrl+V instead.");
    }
  }

  const canRead = isSecureContext && navigator.clipboard?.read;
  app.chooseFile = () => files.click();
  const choose = iconButton("upload", "", app.chooseFile);
  const recorders = el("span", { class: "recorders" });
  const paste = iconButton("paste", "Paste from the clipboard", pasteByButton, { class: "icon-button wide-only" });
  /** A camera and a drawing give images. */
  const visual = [
    iconButton("camera", "Take a photograph", () => camera.click(), { class: "icon-button touch-only" }),
    iconButton("draw", "Draw what to search for", async () => (await import("./draw.js")).openDrawing(app)),
  ];
  let offered = "";

  /** What the index's modalities allow. */
  async function offer() {
    const key = JSON.stringify(modalities.all());
    if (key === offered) return;
    offered = key;
    const label = `Search by ${withArticle(modalities.uploadNoun())}`;
    files.accept = modalities.accept();
    choose.title = label;
    choose.setAttribute("aria-label", label);
    for (const button of [choose, paste]) button.hidden = !files.accept;
    for (const button of visual) button.hidden = !modalities.takes("image/png");
    const modules = await Promise.all(modalities.all().map(modalities.module));
    recorders.replaceChildren(...modules.filter((module) => module?.recorder).map((module) => module.recorder((blob) => app.searchBy(blob))));
  }
  return { offer, nodes: [files, camera, choose, recorders, visual[0], canRead && paste, visual[1]].filter(Boolean) };
}

/** Files dropped anywhere, and pasted wherever the focus is. */
function listenForFiles(app) {
  const target = byId("drop-target");
  let depth = 0;
  const show = (change) => {
    depth = Math.max(0, depth + change);
    target.hidden = depth === 0;
    target.firstElementChild.textContent = `Drop ${withArticle(app.modalities.uploadNoun())} to search with it`;
  };
  const carries = (event) => ["Files", "text/uri-list"].some((type) => event.dataTransfer?.types.includes(type));

  addEventListener("dragenter", (event) => carries(event) && show(1));
  addEventListener("dragleave", (event) => carries(event) && show(-1));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    show(-depth);
    if (!carries(event)) return;
    event.preventDefault();
    const file = app.uploads.fileIn(event.dataTransfer);
    if (file) app.searchBy(file);
    else if (isRemote(event.dataTransfer)) app.notices.set("refusal", "tip", REFUSAL);
    else app.notices.set("refusal", "tip", `This is no file to search by; drop one of these formats: ${app.modalities.formats()}.`);
  });
  document.addEventListener("paste", (event) => {
    const file = app.uploads.fileIn(event.clipboardData);
    if (file) {
      event.preventDefault();
      app.searchBy(file);
    } else if (!isWriting(event.target)) {
      const words = event.clipboardData?.getData("text/plain").replace(/\s+/g, " ").trim().slice(0, 300);
      if (words) app.update({ draft: words }, true);
    }
  });
}

/** @param {import("./app.js").App & Record<string, any>} app */
export function createField(app) {
  const input = el("input", {
    type: "search", id: "words", enterkeyhint: "search", "aria-label": "Search", spellcheck: "false", autocapitalize: "off",
    placeholder: "Search",
  });
  const form = byId("query");
  const sources = createSources(app);
  form.append(icon("search"), input, el("div", { class: "sources" }, ...sources.nodes));
  let timer = 0;
  let typing = false; // there are words that the state does not know of yet

  const soon = () => { timer = setTimeout(typed, DEBOUNCE_MS); };
  function settle() {
    clearTimeout(timer);
    typing = false;
  }
  function typed() {
    settle();
    if (input.value !== app.state().draft) app.update({ draft: input.value, ...app.state().view !== "map" && { view: "search" } });
  }

  /** The words become chips. @param {1|-1} sign */
  function commit(sign) {
    settle();
    const fresh = readDraft(input.value, sign);
    if (!fresh.length) return;
    input.value = "";
    const { parts, view } = app.state();
    app.update({ parts: [...parts, ...fresh], draft: "", view: view === "map" ? "map" : "search" }, true);
  }

  /** Backspace in the empty field takes the last words back for editing. */
  function editLast() {
    const last = app.state().parts.at(-1);
    if (!last) return;
    const draft = last.kind !== "text" ? "" : last.weight < 0 ? ` -"${last.value}"` : last.value;
    app.update({ parts: app.state().parts.slice(0, -1), draft }, true);
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", (event) => {
    clearTimeout(timer);
    typing = true;
    if (!event.isComposing) soon();
  });
  input.addEventListener("compositionend", soon);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      commit(event.shiftKey ? -1 : 1);
    } else if (event.key === "Backspace" && !input.value) {
      event.preventDefault();
      editLast();
    } else if (event.key === "ArrowDown" && app.grid.count()) {
      event.preventDefault();
      typed();
      app.grid.focus();
    }
  });
  listenForFiles(app);
  app.focusField = () => { input.focus(); input.select(); };

  /** "Make 'glasses' a minus?": in the words being typed, or in a chip. */
  function suggest(state) {
    const texts = [state.draft, ...state.parts.filter((part) => part.kind === "text" && part.weight > 0).map((part) => part.value)];
    const found = texts.map(findNegation);
    const at = found.findIndex(Boolean);
    if (at < 0) return app.notices.clear("negation");
    const { rest, without } = /** @type {any} */ (found[at]);
    const others = state.parts.filter((part) => part.value !== texts[at]);
    const plus = rest ? [{ kind: "text", value: rest, weight: 1 }] : [];
    return app.notices.set("negation", "tip", `The model does not read “not” or “without”. Make “${without}” a minus?`, [{
      label: `Make “${without}” a minus`,
      run: () => app.update({ draft: "", parts: [...others, ...plus, { kind: "text", value: without, weight: MINUS }] }, true),
    }]);
  }

  return {
    /** Words that are being typed stay, whatever is drawn meanwhile; Back and Forward replace them. */
    render(state, before) {
      const own = document.activeElement === input && input.value.trim() === state.draft.trim();
      const newer = typing && state.draft === before.draft;
      if (!own && !newer && input.value !== state.draft) input.value = state.draft;
      input.placeholder = state.parts.length ? "Add words" : innerWidth < 480 ? "Search" : `Search your ${app.modalities.plurals()}`;
      sources.offer();
      suggest(state);
    },
  };
}
