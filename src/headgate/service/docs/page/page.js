// Shows the contracts that are served beside this page, and calls their methods. All text is set as text.

const MOST_SHOWN = 500; // messages of one stream that stay on the page
const base = new URL(".", document.baseURI);
const $ = (id) => document.getElementById(id);

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

const nameOf = (schema) => (schema?.$ref ?? "").replace("#/schemas/", "");
const idOf = (...parts) => parts.join("-").replace(/[^\w-]/g, "_");

// --- types

function typeOf(schema, service) {
  const name = nameOf(schema);
  if (name) return [el("a", { href: `#${idOf("type", service.service, name)}` }, name)];
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(" | ")];
  const members = schema.anyOf ?? schema.oneOf;
  if (members) return joined(members.map((each) => typeOf(each, service)), " | ");
  if (schema.prefixItems) return ["[", ...joined(schema.prefixItems.map((each) => typeOf(each, service)), ", "), "]"];
  if (schema.type === "array") return [schema.uniqueItems ? "set of " : "list of ", ...typeOf(schema.items ?? {}, service)];
  if (schema.type === "object" && schema.additionalProperties) {
    return ["map of text to ", ...typeOf(schema.additionalProperties, service)];
  }
  const told = { string: "text", integer: "integer", number: "number", boolean: "true or false", null: "nothing" };
  return [schema.format ?? (schema.contentEncoding ? "bytes, base64" : told[schema.type] ?? schema.type ?? "anything")];
}

function joined(lists, between) {
  return lists.flatMap((each, position) => (position ? [between, ...each] : each));
}

const BOUNDS = {
  minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<", minLength: "length ≥",
  maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤", pattern: "matches", multipleOf: "multiple of",
};

function boundsOf(schema) {
  return Object.entries(BOUNDS)
    .filter(([key]) => key in schema && !schema.prefixItems)
    .map(([key, sign]) => `${sign} ${schema[key]}`)
    .join(", ");
}

function fieldsTable(schema, service) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, each]) => {
    const needed = (schema.required ?? []).includes(name);
    const standing = needed ? "required" : "default" in each ? JSON.stringify(each.default) : "optional";
    return el(
      "tr", {},
      el("td", {}, el("code", {}, name)),
      el("td", {}, ...typeOf(each, service)),
      el("td", {}, standing),
      el("td", {}, [each.description, boundsOf(each)].filter(Boolean).join(" — ")),
    );
  });
  if (!rows.length) return el("p", { class: "quiet" }, "Has no fields.");
  const head = ["Field", "Type", "Unless given", ""].map((each) => el("th", { scope: "col" }, each));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)));
}

function typeCard(name, schema, service) {
  const card = el(
    "article", { class: "type", id: idOf("type", service.service, name) },
    el("h4", {}, name),
    el("p", { class: "told quiet" }, schema.description ?? ""),
    schema.properties ? fieldsTable(schema, service) : el("p", {}, ...typeOf(schema, service)),
  );
  card.dataset.words = `${name} ${Object.keys(schema.properties ?? {}).join(" ")}`.toLowerCase();
  return card;
}

// --- samples of requests

function sample(schema, service, depth = 0) {
  const named = service.schemas[nameOf(schema)];
  if (named) return depth > 4 ? null : sample(named, service, depth + 1);
  if ("default" in schema) return schema.default;
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  const members = schema.anyOf ?? schema.oneOf;
  if (members) return sample(members.find((each) => each.type !== "null") ?? {}, service, depth + 1);
  if (schema.type === "object") {
    const wanted = Object.entries(schema.properties ?? {});
    return Object.fromEntries(wanted.map(([name, each]) => [name, sample(each, service, depth + 1)]));
  }
  if (schema.prefixItems) return schema.prefixItems.map((each) => sample(each, service, depth + 1));
  if (schema.type === "array") return schema.minItems ? [sample(schema.items ?? {}, service, depth + 1)] : [];
  if (schema.type === "integer" || schema.type === "number") return schema.minimum ?? 0;
  return { string: "", boolean: false }[schema.type] ?? null;
}

// --- calls

const streamsIn = (method) => method.kind === "client_stream" || method.kind === "bidi";
const streamsOut = (method) => method.kind === "server_stream" || method.kind === "bidi";

function requestOf(method, path, text, keyField) {
  const value = text.trim() ? JSON.parse(text) : {};
  const headers = { accept: streamsOut(method) ? "text/event-stream, application/problem+json" : "application/json" };
  if ($("token").value) headers.authorization = `Bearer ${$("token").value}`;
  if ($("key").value) headers["x-api-key"] = $("key").value;
  if (keyField?.value) headers["idempotency-key"] = keyField.value;
  if (!streamsIn(method)) {
    headers["content-type"] = "application/json";
    return { url: new URL(path.slice(1), base), headers, body: JSON.stringify(value) };
  }
  if (!Array.isArray(value)) throw new SyntaxError("a stream is a list of messages: [ … ]");
  headers["content-type"] = "application/x-ndjson";
  const lines = value.map((each) => `${JSON.stringify({ next: each })}\n`);
  return { url: new URL(path.slice(1), base), headers, body: `${lines.join("")}{"end": true}\n` };
}

function curlOf({ url, headers, body }) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const shown = Object.entries(headers).map(([name, value]) => {
    const secret = name === "authorization" || name === "x-api-key";
    return `-H ${quoted(`${name}: ${secret ? "…" : value}`)}`;
  });
  return ["curl", "-sS", ...(headers.accept.startsWith("text/event") ? ["-N"] : []), quoted(url.href), ...shown, "-d", quoted(body)].join(" ");
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, event] = ["", { name: "message", data: [] }];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data.length || event.name !== "message") yield { name: event.name, data: event.data.join("\n") };
        event = { name: "message", data: [] };
      } else if (line.startsWith("event:")) event.name = line.slice(6).trim();
      else if (line.startsWith("data:")) event.data.push(line.slice(5).replace(/^ /, ""));
    }
  }
}

function pretty(text, most = 0) {
  try {
    const value = JSON.parse(text);
    const short = JSON.stringify(value);
    return short.length <= most ? short : JSON.stringify(value, null, 2);
  } catch {
    return text;
  }
}

async function call(request, method, answer, signal) {
  const began = performance.now();
  const status = el("p", {}, "Calling …");
  answer.className = "answer";
  answer.replaceChildren(status);
  const say = (text, good) => {
    status.textContent = `${text} — ${Math.round(performance.now() - began)} ms`;
    answer.className = `answer ${good ? "good" : "bad"}`;
  };
  try {
    const { url, headers, body } = request;
    const response = await fetch(url, { method: "POST", headers, body, signal, credentials: "same-origin" });
    const told = `${response.status} ${response.statusText}`.trim();
    if (!response.ok || !streamsOut(method)) {
      const text = await response.text();
      say(told, response.ok);
      if (text) answer.append(el("pre", { tabindex: "0" }, pretty(text)));
      return;
    }
    let count = 0;
    for await (const event of eventsOf(response)) {
      if (event.name === "end") return say(`${told}, ended after ${count} messages`, true);
      if (event.name === "error") {
        answer.append(el("pre", { tabindex: "0" }, pretty(event.data)));
        return say(`${told}, failed after ${count} messages`, false);
      }
      count += 1;
      if (count > MOST_SHOWN) answer.querySelector("pre")?.remove();
      answer.append(el("pre", {}, pretty(event.data, 100)));
      say(`${told}, ${count} messages so far`, true);
    }
    say(`${told}, broke off after ${count} messages`, false);
  } catch (error) {
    say(signal.aborted ? "Stopped" : `Failed: ${error.message}`, false);
  }
}

function callForm(method, path, service) {
  const many = streamsIn(method);
  const example = method.examples?.[0] ?? sample(method.request, service);
  const id = idOf("body", service.service, method.name);
  const text = el("textarea", { id, spellcheck: "false", rows: "8" });
  text.value = JSON.stringify(many ? [example] : example ?? {}, null, 2);
  text.rows = Math.min(20, text.value.split("\n").length + 1);
  const keyField = method.idempotent === "key" ? el("input", { class: "mono", autocomplete: "off" }) : null;
  if (keyField) keyField.value = crypto.randomUUID?.() ?? String(Date.now());
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const stop = el("button", { type: "button", disabled: true }, "Stop");
  const send = el("button", { class: "main" }, "Call");
  let running = null;
  const made = () => {
    try {
      return requestOf(method, path, text.value, keyField);
    } catch (error) {
      answer.className = "answer bad";
      answer.replaceChildren(el("p", {}, `This is no JSON: ${error.message}`));
      text.focus();
      return null;
    }
  };
  const copy = el("button", {
    type: "button",
    onclick: async () => {
      const request = made();
      if (!request) return;
      answer.className = "answer";
      answer.replaceChildren(el("pre", { tabindex: "0" }, curlOf(request)));
      await navigator.clipboard?.writeText(curlOf(request)).catch(() => undefined);
    },
  }, "curl");
  const form = el("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      const request = made();
      if (!request || running) return;
      running = new AbortController();
      [send.disabled, stop.disabled] = [true, false];
      await call(request, method, answer, running.signal);
      [running, send.disabled, stop.disabled] = [null, false, true];
    },
  },
    el("label", { for: id }, many ? "Messages, a list in JSON" : "Request, in JSON"),
    text,
    keyField && el("label", {}, "Idempotency key", keyField),
    el("div", { class: "row" }, send, stop, copy, el("span", { class: "quiet" }, "Ctrl + Enter calls")),
    answer,
  );
  stop.addEventListener("click", () => running?.abort());
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  return form;
}

// --- methods and services

function guardText(guard) {
  if (!guard) return "Not said who may call.";
  if (guard.public) return "Everybody may call.";
  const asked = [];
  if (guard.roles) asked.push(`one of the roles ${guard.roles.join(", ")}`);
  if (guard.scopes) asked.push(`the scopes ${guard.scopes.join(", ")}`);
  if (guard.permissions) asked.push(`the permissions ${guard.permissions.join(", ")}`);
  if (guard.policies) asked.push(`the consent of ${guard.policies.join(", ")}`);
  return asked.length ? `Needs ${asked.join("; ")}.` : "Needs an identity.";
}

function faultsTable(method, service) {
  const rows = method.faults.map((fault) => el(
    "tr", {},
    el("td", {}, el("code", {}, fault.code)),
    el("td", {}, fault.kind),
    el("td", {}, fault.description ?? "", fault.details ? el("br") : null, ...(fault.details ? typeOf(fault.details, service) : [])),
  ));
  const head = ["Code", "Kind", "When, and its details"].map((each) => el("th", { scope: "col" }, each));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)));
}

function conditions(method) {
  const told = [guardText(method.guard)];
  if (method.idempotent === "key") told.push("Done once for each idempotency key.");
  else if (method.idempotent) told.push("Calling twice is as good as once.");
  if (method.timeout) told.push(`Takes at most ${method.timeout} s.`);
  if (method.cache) told.push(`Answers are kept for ${method.cache} s.`);
  return told.join(" ");
}

function methodCard(method, service) {
  const path = `/${service.service.replaceAll("-", "_")}.${service.title}/${method.name}`;
  const title = method.summary ?? (method.description ?? "").split("\n")[0];
  const card = el("details", { class: `method${method.deprecated ? " deprecated" : ""}`, id: idOf(service.service, method.name) });
  const out = method.response ? typeOf(method.response, service) : ["nothing"];
  const told = (method.description ?? "").trim();
  const rest = told === title ? "" : told.startsWith(title) ? told.slice(title.length).trim() : told;
  const fill = () => {
    if (card.querySelector(".body")) return;
    card.append(el(
      "div", { class: "body" },
      rest && el("p", { class: "told" }, rest),
      el("p", { class: "quiet" }, conditions(method)),
      el("p", {}, el("code", {}, `POST ${path}`), method.http ? el("br") : null,
        method.http ? el("code", {}, `${method.http.method} ${method.http.path}`) : null),
      el("p", {}, "Takes ", streamsIn(method) ? "a stream of " : "", ...typeOf(method.request, service), ", answers with ",
        streamsOut(method) ? "a stream of " : "", ...out, "."),
      method.faults.length ? el("h4", {}, "Faults") : null,
      method.faults.length ? faultsTable(method, service) : null,
      el("h4", {}, "Try it"),
      callForm(method, path, service),
    ));
  };
  card.append(el(
    "summary", {},
    el("strong", {}, method.name),
    method.kind === "unary" ? null : el("span", { class: "tag" }, method.kind.replace("_", " ")),
    method.guard?.public ? null : el("span", { class: "tag" }, "guarded"),
    method.deprecated ? el("span", { class: "tag" }, "deprecated") : null,
    el("span", { class: "quiet" }, title),
  ));
  card.addEventListener("toggle", () => card.open && fill());
  const words = [service.title, method.name, title, path, method.http?.path, ...(method.tags ?? [])];
  card.dataset.words = words.filter(Boolean).join(" ").toLowerCase();
  card.fill = fill;
  return card;
}

function subscriptionsTable(service) {
  const rows = service.subscriptions.map((each) => el(
    "tr", {}, el("td", {}, el("code", {}, each.subject)), el("td", {}, ...typeOf(each.event, service)),
    el("td", {}, each.group), el("td", {}, each.description ?? ""),
  ));
  const head = ["Subject", "Event", "Group", ""].map((each) => el("th", { scope: "col" }, each));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)));
}

function serviceSection(service) {
  const types = Object.entries(service.schemas).map(([name, schema]) => typeCard(name, schema, service));
  return el(
    "section", { class: "service", id: idOf("service", service.service) },
    el("h2", {}, service.title, " ", el("span", { class: "tag" }, service.version)),
    el("p", { class: "told" }, service.description ?? ""),
    ...service.methods.map((method) => methodCard(method, service)),
    service.subscriptions.length ? el("h3", {}, "Listens to") : null,
    service.subscriptions.length ? subscriptionsTable(service) : null,
    types.length ? el("h3", {}, "Types") : null,
    ...types,
  );
}

function contents(services) {
  return services.flatMap((service) => [
    el("h2", {}, el("a", { href: `#${idOf("service", service.service)}` }, service.title)),
    el("ul", {}, ...service.methods.map((method) => {
      const item = el("li", {}, el("a", { href: `#${idOf(service.service, method.name)}` }, method.name));
      item.dataset.of = idOf(service.service, method.name);
      return item;
    })),
  ]);
}

// --- the page

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const card of document.querySelectorAll("[data-words]")) {
    card.hidden = !words.every((word) => card.dataset.words.includes(word));
    found += card.hidden ? 0 : 1;
  }
  for (const item of document.querySelectorAll("[data-of]")) item.hidden = $(item.dataset.of)?.hidden ?? false;
  $("state").textContent = words.length ? `${found} found` : "";
}

function openNamed() {
  const found = location.hash && $(decodeURIComponent(location.hash.slice(1)));
  if (!found) return;
  if (found.matches("details.method")) {
    found.open = true;
    found.fill();
  }
  found.scrollIntoView();
}

function themes() {
  const button = $("theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  const kept = localStorage.getItem("headgate-theme");
  if (kept) document.documentElement.dataset.theme = kept;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    localStorage.setItem("headgate-theme", document.documentElement.dataset.theme);
    show();
  });
  show();
}

function keys() {
  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest?.("input, textarea");
    if ((event.key === "/" && !writing) || (event.key === "k" && (event.ctrlKey || event.metaKey))) {
      event.preventDefault();
      $("search").focus();
    } else if (event.key === "Escape" && event.target === $("search")) {
      $("search").value = "";
      search("");
    }
  });
}

async function start() {
  themes();
  keys();
  $("search").addEventListener("input", (event) => search(event.target.value));
  addEventListener("hashchange", openNamed);
  const response = await fetch(new URL("contract.json", base), { credentials: "same-origin" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { title, contracts } = await response.json();
  const services = contracts.map((each) => each.document);
  document.title = title;
  $("title").textContent = title;
  $("contents").append(...contents(services));
  $("main").append(...services.map(serviceSection));
  $("state").textContent = "";
  document.documentElement.dataset.ready = "true";
  openNamed();
}

start().catch((error) => {
  $("state").textContent = `The contracts could not be read: ${error.message}`;
});
