// Runs before the first paint, so that a chosen theme never flashes. Not a module: it must block.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("cospace:theme");
  } catch {
    // storage may be switched off: the system's theme then holds
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
