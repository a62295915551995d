// The ways in beside words: a file from disk, the clipboard, a camera, a recorder, a drop, or a drawing.

import { readDraft } from "./address.js";
import { byId, el, iconButton, isWriting } from "./dom.js";
import { withArticle } from "./modalities.js";
import { isRemote } from "./uploads.js";

const REFUSAL = "Save the file first; this page never downloads from the web.";

/** A search by a file that somebody brought. @param {any} app @returns {(blob: Blob, kind?: "upload"|"drawing") => Promise<void>} */
function createFileSearch(app) {
  let turn = 0;
  return async function searchBy(blob, kind = "upload") {
    const mine = ++turn;
    try {
      const value = await app.uploads.send(blob);
      if (mine !== turn) return; // a newer stroke or file is on its way
      const { view, parts, draft } = app.state();
      if (view === "ask") return app.update({ subject: { kind, value, weight: 1 } }, true);
      const drawn = kind === "drawing" ? parts.find((part) => part.kind === "drawing") : undefined;
      const part = { kind, value, weight: drawn?.weight ?? 1 };
      const next = drawn ? parts.map((old) => (old === drawn ? part : old)) : [...parts, ...readDraft(draft), part];
      app.update({ parts: next, draft: drawn ? draft : "", view: view === "map" ? "map" : "search" }, !drawn);
    } catch (error) {
      app.notices.problem(error, () => searchBy(blob, kind), /** @type {any} */ (blob).name);
    }
  };
}

/** @param {import("./app.js").App & Record<string, any>} app */
export function createSources(app) {
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
    choose.setAttribute("aria-label", label);
    for (const button of [choose, paste]) button.hidden = !files.accept;
    for (const button of visual) button.hidden = !modalities.takes("image/png");
    const modules = await Promise.all(modalities.all().map(modalities.module));
    recorders.replaceChildren(...modules.filter((module) => module?.recorder).map((module) => module.recorder((blob) => app.searchBy(blob))));
  }
  const nodes = [choose, recorders, visual[0], canRead && paste, visual[1]].filter(Boolean);
  for (const node of nodes) node.classList.add("source");
  return { offer, nodes: [files, camera, ...nodes] };
}

/** Files dropped anywhere, and pasted wherever the focus is. */
export function listenForFiles(app) {
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
    else app.notices.set("refusal", "tip", `That file cannot be searched by. These formats work: ${app.modalities.formats()}.`);
  });
  document.addEventListener("paste", (event) => {
    const file = app.uploads.fileIn(event.clipboardData);
    if (file) {
      event.preventDefault();
      app.searchBy(file);
    } else if (!isWriting(event.target)) {
      const words = event.clipboardData?.getData("text/plain").replace(/\s+/g, " ").trim().slice(0, 300);
      if (words) app.searchFor(words);
    }
  });
}
