// What can be done with the tile under the pointer: select it, search by it, combine with it, open it.

import { ACTIONS, runAction } from "./actions.js";
import { el, icon } from "./dom.js";

/**
 * One set of buttons, which goes to the tile under the pointer; for keys and screen readers there are letters and a menu.
 *
 * @param {any} app @param {any} grid @param {HTMLElement} canvas
 */
export function createTileTools(app, grid, canvas) {
  const action = (name) => ACTIONS.find((one) => one.name === name);
  const itemOf = (button) => Number(button.closest(".cell").dataset.place);
  const tool = (name, symbol, label, run) => el("button", {
    type: "button", class: `tool ${name}`, tabindex: "-1", title: label,
    onclick(event) {
      event.stopPropagation();
      run(itemOf(event.currentTarget));
    },
  }, icon(symbol));
  const withItem = (name) => (place) => runAction(app, action(name), grid.source().numbers[place]);
  const tools = el("span", { class: "tools", "aria-hidden": "true" },
    tool("pick", "check", "Select", (place) => grid.pick(place)),
    tool("like", "similar", "More like this", withItem("like")),
    tool("plus", "plus", "Also like this", withItem("plus")),
    tool("open", "open", "Open", (place) => app.openItem(grid.source().numbers[place])));
  canvas.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const cell = event.target.closest?.(".cell");
    if (cell && tools.parentElement !== cell) cell.append(tools);
  });
  canvas.addEventListener("pointerleave", () => tools.remove());
}
