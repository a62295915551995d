// Building elements without markup strings: the page's security policy allows no others.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes, listeners and children.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `on...` functions listen; `false`, `null` and `undefined` are left out;
 *     `true` sets an empty attribute; `class` and all else are attributes as written.
 * @param {...(Node|string|null|undefined|false)} children strings become text, never markup
 * @returns {any} the element (any, so that callers need no casts for its special properties)
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child || child === ""));
  return node;
}

/** A drawing from the sprite in index.html, hidden from screen readers: the control around it has the name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon, and its name for screen readers and as a tooltip, which the style sheet draws. */
export function iconButton(name, label, onclick, attributes = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, onclick, ...attributes },
    icon(name));
}

/** @type {Map<string, Promise<unknown>>} */
const styles = new Map();

/** Load a style sheet, once; what it styles is drawn when it is there. @param {string} name */
export function applyStyle(name) {
  const loading = styles.get(name) ?? new Promise((resolve, reject) => {
    document.head.append(el("link", { rel: "stylesheet", href: `page/${name}`, onload: resolve, onerror: reject }));
  });
  styles.set(name, loading);
  loading.catch(() => styles.delete(name));
  return loading;
}

/** @template {HTMLElement} T @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** Whether a key press belongs to somebody who is writing. */
export function isWriting(target) {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox]):not([type=radio])");
}

/** 12480 as people in this browser write it. */
export const number = (value) => new Intl.NumberFormat().format(value);

/** "1 image", "12,480 images". */
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** 0x12ab34 as a CSS colour. */
export const colour = (rgb) => `#${(rgb & 0xffffff).toString(16).padStart(6, "0")}`;

/** The first letter large, as a sentence begins. */
export const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);
