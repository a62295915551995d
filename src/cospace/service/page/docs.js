// The interface's description for people, drawn from openapi.json; a JSON body can be sent as it stands.

import { el } from "./dom.js";

/** @typedef {Record<string, any>} Schema */

const introduction = /** @type {HTMLElement} */ (document.getElementById("introduction"));
const contents = /** @type {HTMLElement} */ (document.getElementById("contents"));
const requests = /** @type {HTMLElement} */ (document.getElementById("requests"));

/** Text in which `code` is marked. @param {string} text */
function marked(text) {
  return text.split(/`+/).map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

/** The schema that a reference names. @param {Schema} described @param {Schema} schema @returns {Schema} */
function resolved(described, schema) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? described.components.schemas[name] : schema ?? {};
}

/** A schema in a few words. @param {Schema} described @param {Schema} schema @returns {string} */
function worded(described, schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return [...new Set(schema.anyOf.map((one) => worded(described, one)))].join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${schema.items ? worded(described, schema.items) : "anything"}`;
  const bounds = [["minimum", "from"], ["exclusiveMinimum", "above"], ["maximum", "to"], ["exclusiveMaximum", "below"], ["maxLength", "at most"]]
    .filter(([name]) => schema[name] !== undefined).map(([name, word]) => `${word} ${schema[name]}`);
  return [schema.format === "binary" ? "bytes" : schema.type ?? "anything", ...bounds].join(" ");
}

/** The fields of an object as rows. @param {Schema} described @param {Schema} schema */
function fields(described, schema) {
  const known = resolved(described, schema);
  const rows = Object.entries(known.properties ?? {}).map(([name, one]) =>
    el("tr", {}, el("td", {}, el("code", {}, name), (known.required ?? []).includes(name) ? " *" : ""), el("td", {}, worded(described, one)),
      el("td", {}, ...marked(one.description ?? ""))));
  return rows.length ? [el("table", { class: "fields" }, el("tbody", {}, ...rows))] : [el("p", {}, worded(described, schema))];
}

/** The types that a schema names, each once, in the order they come. @param {Schema} described @param {Schema} schema @param {Set<string>} seen */
function named(described, schema, seen = new Set()) {
  for (const [name] of JSON.stringify(schema ?? {}).matchAll(/(?<="#\/components\/schemas\/)[^"]+/g)) {
    if (seen.has(name)) continue;
    seen.add(name);
    named(described, described.components.schemas[name], seen);
  }
  return seen;
}

/** A body that can be changed and sent. @param {string} path @param {any} example */
function trial(path, example) {
  const body = /** @type {HTMLTextAreaElement} */ (el("textarea", { "aria-label": `Body of ${path}`, spellcheck: "false" }));
  body.value = JSON.stringify(example, null, 2);
  body.rows = body.value.split("\n").length + 1;
  const said = el("output", { class: "hint" });
  const shown = el("pre", { tabindex: "0", "aria-label": "Answer", hidden: "" });
  const send = el("button", { class: "primary", type: "button" }, "Send");
  send.addEventListener("click", async () => {
    said.textContent = "asking …";
    const began = performance.now();
    try {
      const answer = await fetch(path.slice(1), { method: "POST", headers: { "Content-Type": "application/json" }, body: body.value });
      const isText = (answer.headers.get("content-type") ?? "").includes("json");
      const got = isText ? JSON.stringify(await answer.json(), null, 2) : `${(await answer.arrayBuffer()).byteLength} bytes`;
      said.textContent = `${answer.status}, ${Math.round(performance.now() - began)} ms`;
      shown.textContent = got.slice(0, 20000);
      shown.hidden = false;
    } catch (error) {
      said.textContent = `no answer: ${error instanceof Error ? error.message : error}`;
    }
  });
  return [body, el("div", { class: "try" }, send, said), shown];
}

/** How it is asked on the command line. @param {string} method @param {string} path @param {any} example */
function curl(method, path, example) {
  const address = new URL(path.slice(1), document.baseURI).href;
  if (path.endsWith("api/upload") && method === "post") return `curl --data-binary @photo.jpg ${address}\ncurl -F file=@photo.jpg ${address}`;
  if (example === undefined) return `curl ${address}`;
  return `curl -H 'Content-Type: application/json' -d '${JSON.stringify(example).replaceAll("'", "'\\''")}' ${address}`;
}

/** @param {Schema} described @param {string} method @param {string} path @param {Schema} operation */
function request(described, method, path, operation) {
  const json = operation.requestBody?.content?.["application/json"];
  const schema = json && resolved(described, json.schema);
  const example = json?.example ?? schema?.example;
  const answer = Object.entries(operation.responses["200"]?.content ?? {})[0];
  const types = [...named(described, [json?.schema, answer?.[1].schema])].map((name) =>
    el("div", {}, el("h4", {}, name), ...fields(described, described.components.schemas[name])));
  const parameters = (operation.parameters ?? []).map((one) =>
    el("tr", {}, el("td", {}, el("code", {}, one.name), one.required ? " *" : ""), el("td", {}, worded(described, one.schema)), el("td", {}, `in the ${one.in}`)));
  return el("article", { class: "request", id: operation.operationId },
    el("h3", {}, el("span", { class: `method ${method}` }, method.toUpperCase()), el("code", {}, path)),
    el("p", {}, ...marked(operation.description ?? "")),
    ...(parameters.length ? [el("h4", {}, "Parameters"), el("table", { class: "fields" }, el("tbody", {}, ...parameters))] : []),
    ...(example === undefined ? [] : [el("h4", {}, "Body"), ...trial(path, example)]),
    el("h4", {}, "On the command line"), el("pre", { tabindex: "0" }, curl(method, path, example)),
    ...(answer ? [el("h4", {}, "Answer"), el("p", {}, el("code", {}, answer[0]), ` ${worded(described, answer[1].schema)}`)] : []),
    ...(types.length ? [el("details", {}, el("summary", {}, "Types"), ...types)] : []));
}

/** @param {Schema} described */
function draw(described) {
  introduction.append(...marked(described.info.description ?? ""));
  /** @type {Map<string, [string, string, Schema][]>} */
  const groups = new Map(["search", "vectors", "decoder", "index", "service"].map((tag) => [tag, []]));
  for (const [path, operations] of Object.entries(described.paths))
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? "service";
      groups.set(tag, [...(groups.get(tag) ?? []), [method, path, operation]]);
    }
  for (const [tag, listed] of groups) {
    contents.append(el("h2", {}, tag), el("ul", {}, ...listed.map(([, path, operation]) =>
      el("li", {}, el("a", { href: `#${operation.operationId}`, title: operation.summary ?? "" }, path)))));
    requests.append(el("h2", {}, tag), ...listed.map(([method, path, operation]) => request(described, method, path, operation)));
  }
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

const answer = await fetch("openapi.json");
if (answer.ok) draw(await answer.json());
else introduction.textContent = `The description cannot be had: ${answer.status} ${answer.statusText}`;
