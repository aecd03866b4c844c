// Takes the events of the server and shows them. Nothing here changes a server's state;
// actions.js does. Text is set as text, never as markup.
"use strict";

const settings = JSON.parse(document.body.dataset.settings);
const HISTORY = 60; // as many points as a sparkline has

const page = {
  settings,
  rows: {}, // F/name, B/name, S/backend/server -> what it is
  order: [],
  process: {},
  history: {}, // key -> {now: [...], bytes: [...]}
  token: settings.token,
  chosen: new Set(), // keys of servers
};
window.page = page;

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
page.make = make;

// Set only what is different: an unchanged page is not laid out again.
function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

// ---- words ----

function short(number) {
  for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (number >= size * 10) return `${Math.round(number / size)}${unit}`;
    if (number >= size) return `${(number / size).toFixed(1)}${unit}`;
  }
  return String(Math.round(number));
}

function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${Math.floor(seconds / 60) % 60}m`;
  return `${Math.floor(seconds / 86400)}d ${Math.floor(seconds / 3600) % 24}h`;
}

function plural(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

// ---- sparklines ----

function spark() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 76 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(space, "polygon"), document.createElementNS(space, "polyline"));
  return svg;
}

function draw(svg, points) {
  const most = Math.max(1, ...points);
  const step = 76 / (HISTORY - 1);
  const from = 76 - (points.length - 1) * step;
  const line = points
    .map((value, index) => `${(from + index * step).toFixed(1)},${(19 - (18 * value) / most).toFixed(1)}`)
    .join(" ");
  svg.lastChild.setAttribute("points", line);
  svg.firstChild.setAttribute("points", `${from.toFixed(1)},20 ${line} 76,20`);
}

function remember(key, name, value) {
  const kept = ((page.history[key] ??= {})[name] ??= []);
  kept.push(value);
  if (kept.length > HISTORY) kept.shift();
  return kept;
}

// ---- the process ----

const SUMS = [
  ["sessions", "Sessions", true],
  ["rate", "New per second", true],
  ["traffic", "Bytes per second", true],
  ["servers", "Servers up", false],
  ["killed", "Sessions ended by us", false],
  ["uptime", "Up for", false],
];

function buildSums() {
  for (const [name, title, sparkles] of SUMS) {
    const value = make("dd", {}, make("b", {}, "-"), sparkles ? spark() : make("small"));
    byId("sums").append(make("dl", { class: "sum", id: `sum-${name}` }, make("dt", {}, title), value));
  }
}

function showSum(name, text, extra) {
  const card = byId(`sum-${name}`);
  say(card.querySelector("b"), text);
  if (Array.isArray(extra)) draw(card.querySelector("svg"), extra);
  else if (extra !== undefined) say(card.querySelector("small"), extra);
  return card;
}

function showProcess(seconds, now) {
  const process = page.process;
  const servers = Object.entries(page.rows).filter(([key]) => key.startsWith("S/"));
  const up = servers.filter(([, row]) => row.look !== "down" && row.look !== "maint").length;
  const out = process.out - (page.outBefore ?? process.out);
  page.outBefore = process.out;
  showSum("sessions", short(process.now), remember("", "now", process.now));
  showSum("rate", short(process.rate), remember("", "rate", process.rate));
  const bytes = seconds > 0 ? Math.max(0, out) / seconds : 0;
  showSum("traffic", short(bytes), remember("", "bytes", bytes));
  const card = showSum("servers", `${up} / ${servers.length}`, up < servers.length ? `${servers.length - up} not` : "all");
  card.classList.toggle("bad", servers.some(([, row]) => row.look === "down"));
  showSum("killed", short(process.killed), process.stalled ? `${process.stalled} stalled` : "");
  const lives = process.crashes ? `crashed ${process.crashes}×` : "";
  showSum("uptime", span(now - process.started), process.stopping ? "stopping" : lives);
}

// ---- proxies and servers ----

const COLUMNS = [
  ["pick admin", ""], ["", "Server"], ["", "State"], ["wide", "Last check"], ["number load", "Sessions"],
  ["number new", "New/s"], ["number traffic", "Bytes/s"], ["number wide", "Weight"], ["admin", ""],
];

function cardOf(name) {
  const id = `proxy-${name}`;
  let card = document.getElementById(id);
  if (card) return card;
  const head = make("tr", {}, ...COLUMNS.map(([look, title]) => make("th", { class: look, scope: "col" }, title)));
  card = make("section", { class: "proxy", id, "aria-label": name },
    make("h2", {}, make("span", {}, name), make("span", { class: "states" }), make("span", { class: "figures" })),
    make("table", { hidden: true }, make("thead", {}, head), make("tbody")));
  return card;
}

function showProxy(name) {
  const card = cardOf(name);
  const front = page.rows[`F/${name}`];
  const back = page.rows[`B/${name}`];
  const states = card.querySelector(".states");
  const wanted = [];
  if (front && (!back || front.look !== "up")) wanted.push([front.status, front.look]);
  if (back && (back.servers || !front)) wanted.push([back.status, back.look]);
  const shown = JSON.stringify(wanted);
  if (states.dataset.is !== shown) {
    states.dataset.is = shown;
    states.replaceChildren(...wanted.map(([text, look]) => make("span", { class: "state", "data-look": look }, text)));
  }
  const one = front ?? back;
  const words = [`${plural(one.now, "session")}${one.limit && front ? ` of ${one.limit}` : ""}`, `${short(one.total)} so far`, `${one.rate}/s`];
  if (back?.servers) words.push(`${back.active + back.backups} of ${back.servers} up`, back.balance);
  else if (front?.mode === "http") words.push("this page");
  say(card.querySelector(".figures"), words.join(" · "));
  return card;
}

function serverRow(key, row) {
  const line = make("tr", { class: "server", tabindex: "-1", "data-key": key });
  const pick = make("input", { type: "checkbox", "aria-label": `Select ${row.name}` });
  line.append(
    make("td", { class: "pick admin" }, pick),
    make("td", { class: "name" }, make("span", {}, row.name), make("small")),
    make("td", { class: "state-cell" }, make("span", { class: "state" }), make("small", { class: "since" })),
    make("td", { class: "wide" }, make("span", { class: "check" })),
    make("td", { class: "number load" }, make("span"), " ", spark()),
    make("td", { class: "number new" }),
    make("td", { class: "number traffic" }, make("span"), " ", spark()),
    make("td", { class: "number wide" }),
    make("td", { class: "admin" }, make("button", { class: "more", type: "button", "aria-label": `Actions for ${row.name}`, "aria-haspopup": "dialog" }, "…")),
  );
  return line;
}

function showServer(line, key, row, seconds, now) {
  const before = line.dataset.status;
  line.dataset.status = row.status;
  line.dataset.look = row.look;
  line.setAttribute("aria-label", `${row.backend}/${row.name}, ${row.status}, ${plural(row.now, "session")}`);
  if (before !== undefined && before !== row.status) {
    line.classList.remove("changed");
    void line.offsetWidth; // starts the animation anew
    line.classList.add("changed");
  }
  const [, name, state, check, load, fresh, traffic, weight] = line.children;
  const notes = [settings.legends ? row.address : "", row.backup ? "backup" : ""].filter(Boolean);
  say(name.querySelector("small"), notes.join(" · "));
  const badge = state.querySelector(".state");
  say(badge, row.status);
  badge.dataset.look = row.look;
  say(state.querySelector(".since"), `for ${span(now - row.since)}`);
  say(check.firstChild, row.check);
  check.title = `${row.check}\n${plural(row.failed, "failed check")}, down ${row.downs} times`;
  say(load.firstChild, row.limit ? `${row.now} / ${row.limit}` : row.now);
  load.title = `at most ${row.max}, ${row.total} so far, ${row.killed} ended with the server, ${row.errors} failed to connect`;
  say(fresh, row.rate);
  const all = row.in + row.out;
  const bytes = seconds > 0 ? Math.max(0, all - (line.bytesBefore ?? all)) / seconds : 0;
  line.bytesBefore = all;
  say(traffic.firstChild, short(bytes));
  say(weight, row.weight);
  draw(load.querySelector("svg"), remember(key, "now", row.now));
  draw(traffic.querySelector("svg"), remember(key, "bytes", bytes));
}

function isShown(row) {
  const words = byId("filter").value.trim().toLowerCase();
  const up = row.look !== "down" && row.look !== "maint";
  if (settings.up && !up) return false;
  if (settings.noMaint && row.look === "maint") return false;
  if (byId("trouble").checked && (row.look === "up" || row.look === "plain")) return false;
  return !words || `${row.backend}/${row.name} ${row.status} ${row.address}`.toLowerCase().includes(words);
}

function showRows(seconds, now) {
  const cards = new Map();
  const bodies = new Map();
  for (const key of page.order) {
    const [kind, name] = [key[0], key.slice(2).split("/")[0]];
    if (settings.scope && !name.includes(settings.scope)) continue;
    if (!cards.has(name)) {
      cards.set(name, showProxy(name));
      bodies.set(name, []);
    }
    if (kind === "S") bodies.get(name).push(key);
  }
  const main = byId("proxies");
  arrange(main, [...cards.values()]);
  const narrowed = byId("filter").value.trim() || byId("trouble").checked;
  for (const [name, card] of cards) {
    const body = card.querySelector("tbody");
    const known = new Map([...body.children].map((line) => [line.dataset.key, line]));
    const lines = [];
    for (const key of bodies.get(name)) {
      const row = page.rows[key];
      const line = known.get(key) ?? serverRow(key, row);
      showServer(line, key, row, seconds, now);
      line.hidden = !isShown(row);
      lines.push(line);
    }
    arrange(body, lines);
    const any = lines.some((line) => !line.hidden);
    card.querySelector("table").hidden = !any;
    card.hidden = Boolean(narrowed) && !any;
  }
  const first = main.querySelector("tr.server:not([hidden])");
  if (first && !main.querySelector('tr.server[tabindex="0"]:not([hidden])')) first.tabIndex = 0;
  window.dispatchEvent(new Event("shown"));
}

// The children of `parent` become `wanted`, moving only what is not in its place.
function arrange(parent, wanted) {
  wanted.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}

// ---- timeline ----

function showTimeline(transitions) {
  byId("quiet").hidden = transitions.length > 0;
  const items = [...transitions].reverse().map((each) => {
    const at = new Date(each.at * 1000);
    const ended = each.ended ? make("span", { class: "ended" }, ` ${plural(each.ended, "session")} ended.`) : "";
    const look = /^UP/.test(each.after) ? "up" : /^MAINT/.test(each.after) ? "maint" : /^(DRAIN|NOLB)/.test(each.after) ? "drain" : "down";
    return make("li", {},
      make("time", { datetime: at.toISOString(), title: at.toLocaleString() }, at.toLocaleTimeString()),
      make("b", {}, `${each.backend}/${each.server}`), " ",
      make("span", { class: "state", "data-look": look }, each.after),
      make("p", {}, `was ${each.before}${each.why ? `: ${each.why}` : "."}`, ended));
  });
  byId("timeline").replaceChildren(...items);
}

// ---- events ----

let clock = 0; // the server's, of the change before

function take(change, whole) {
  if (whole) {
    page.rows = {};
    page.token = change.token || page.token;
  }
  Object.assign(page.rows, change.rows);
  for (const key of change.gone ?? []) {
    delete page.rows[key];
    delete page.history[key];
    page.chosen.delete(key);
  }
  page.order = change.order ?? page.order;
  page.process = change.process ?? page.process;
  if (change.transitions) showTimeline(change.transitions);
  const seconds = clock ? change.now - clock : 0;
  clock = change.now;
  showProcess(seconds, change.now);
  showRows(seconds, change.now);
}

function live(is, text) {
  byId("live").dataset.is = is;
  say(byId("live"), text);
}

function listen() {
  const source = new EventSource(`${settings.uri};events`);
  source.addEventListener("whole", (event) => {
    take(JSON.parse(event.data), true);
    if (settings.frozen) {
      source.close();
      live("", `as of ${new Date().toLocaleTimeString()}`);
    } else live("on", "live");
  });
  source.addEventListener("change", (event) => take(JSON.parse(event.data), false));
  source.onerror = () => {
    live("off", "connection lost");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

// ---- theme, filter ----

const dark = window.matchMedia("(prefers-color-scheme: dark)");

function showTheme() {
  const kept = localStorage.getItem("theme");
  document.documentElement.dataset.theme = kept ?? (dark.matches ? "dark" : "light");
  say(byId("theme"), kept === "dark" ? "Dark" : kept === "light" ? "Light" : "Auto");
}

page.nextTheme = () => {
  const next = { null: "dark", dark: "light", light: null }[localStorage.getItem("theme")];
  if (next) localStorage.setItem("theme", next);
  else localStorage.removeItem("theme");
  showTheme();
};

page.again = () => {
  if (clock) showRows(0, clock);
};

dark.addEventListener("change", showTheme);
byId("theme").addEventListener("click", page.nextTheme);
byId("filter").addEventListener("input", page.again);
byId("trouble").addEventListener("change", page.again);
document.body.classList.toggle("admin", settings.admin);
showTheme();
buildSums();
listen();
