// Keys and clicks in the grid: moving by the geometry of its rows, and what can be done with a tile.

import { actionForKey, runAction } from "./actions.js";

/** The tile of another row that is nearest to the middle of this one. */
function across(grid, index, step) {
  const layout = grid.layout();
  const row = grid.rowOf(index);
  const target = Math.max(0, Math.min(layout.rows - 1, row + step));
  if (target === row) return index;
  const wanted = grid.middle(index);
  let best = layout.starts[target];
  for (let at = best + 1; at < layout.starts[target + 1]; at += 1) {
    if (Math.abs(grid.middle(at) - wanted) < Math.abs(grid.middle(best) - wanted)) best = at;
  }
  return best;
}

function moved(grid, event) {
  const index = grid.active();
  const layout = grid.layout();
  const row = grid.rowOf(index);
  switch (event.key) {
    case "ArrowLeft": return index - 1;
    case "ArrowRight": return index + 1;
    case "ArrowUp": return across(grid, index, -1);
    case "ArrowDown": return across(grid, index, 1);
    case "PageUp": return across(grid, index, -grid.viewRows());
    case "PageDown": return across(grid, index, grid.viewRows());
    case "Home": return event.ctrlKey ? 0 : layout.starts[row];
    case "End": return event.ctrlKey ? grid.count() - 1 : layout.starts[row + 1] - 1;
    default: return null;
  }
}

/** @param {any} app @param {any} grid @param {HTMLElement} canvas */
export function listenInGrid(app, grid, canvas) {
  const indexOf = (target) => {
    const cell = target.closest?.(".cell");
    return cell ? Number(cell.dataset.place) : -1;
  };
  const menuFor = async (index, x, y) => {
    grid.focus(index, false);
    (await import("./item_menu.js")).openMenu(app, grid.source().numbers[index], { x, y });
  };

  canvas.addEventListener("click", (event) => {
    const index = event.target.closest(".tool") ? -1 : indexOf(event.target);
    if (index < 0) return;
    grid.focus(index, false);
    if (event.ctrlKey || event.metaKey) grid.pick(index);
    else app.openItem(grid.source().numbers[index]);
  });
  canvas.addEventListener("contextmenu", (event) => {
    const index = indexOf(event.target);
    if (index < 0) return;
    event.preventDefault();
    const box = event.target.closest(".cell").getBoundingClientRect();
    const byKey = event.clientX === 0 && event.clientY === 0;
    menuFor(index, byKey ? box.left + 16 : event.clientX, byKey ? box.top + 16 : event.clientY);
  });
  canvas.addEventListener("keydown", (event) => {
    const index = grid.active();
    const to = event.altKey || event.metaKey ? null : moved(grid, event);
    if (to !== null) {
      event.preventDefault();
      grid.focus(to);
    } else if (event.key === "Enter") {
      app.openItem(grid.source().numbers[index]);
    } else if (event.key === " ") {
      event.preventDefault();
      grid.pick(index);
    } else {
      const action = actionForKey(app, event);
      if (!action) return;
      event.preventDefault();
      runAction(app, action, grid.source().numbers[index]);
    }
  });
}
