// Takes the events of the server and shows them. Nothing here changes a server's state;
// actions.js does; words.js, before this one, has the words and the lines.
"use strict";

const settings = JSON.parse(document.body.dataset.settings);

const page = {
  settings,
  rows: {}, // F/name, B/name, S/backend/server -> what it is
  order: [],
  process: {},
  history: {}, // key -> {now: [...], bytes: [...], all: bytes so far}
  title: document.title,
  token: settings.token,
  chosen: new Set(), // keys of servers
};
window.page = page;
page.make = make;

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
  const down = servers.filter(([, row]) => row.look === "down").length;
  card.classList.toggle("bad", down > 0);
  const title = down ? `(${down} down) ${page.title}` : page.title;
  if (document.title !== title) document.title = title;
  showSum("killed", short(process.killed), process.stalled ? `${process.stalled} stalled` : "");
  const lives = process.crashes ? `crashed ${process.crashes}×` : "";
  showSum("uptime", span(now - process.started), process.stopping ? "stopping" : lives);
}

// ---- proxies and servers ----

const COLUMNS = [
  ["pick admin", ""], ["name-col", "Server"], ["state-col", "State"], ["wide", "Last check"], ["number load", "Sessions"],
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
  const isPage = front?.mode === "http";
  const words = [
    `${plural(one.now, isPage ? "connection" : "session")}${one.limit && front ? ` of ${one.limit}` : ""}`,
    `${short(one.total)} so far`, `${one.rate}/s`,
  ];
  if (back?.servers) words.push(`${back.active + back.backups} of ${back.servers} up`, back.balance);
  else if (isPage) words.unshift("statistics page");
  else if (back) words.push("no servers");
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
  line.parts = partsOf(line);
  sight.observe(line);
  return line;
}

// The parts of a server's line that change, found once.
function partsOf(line) {
  const [, name, state, check, load, fresh, traffic, weight] = line.children;
  return {
    notes: name.querySelector("small"), badge: state.querySelector(".state"), since: state.querySelector(".since"),
    check: check.firstChild, load: load.firstChild, loadLine: load.querySelector("svg"), loadCell: load, fresh,
    traffic: traffic.firstChild, trafficLine: traffic.querySelector("svg"), weight,
  };
}

const inSight = new Set(); // lines; of others the state is kept right, and nothing else
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      inSight.add(target);
      showFigures(target);
    } else inSight.delete(target);
  }
}, { rootMargin: "200px" });

function showState(line, row) {
  const before = line.dataset.status;
  if (before === row.status && line.dataset.look === row.look) return;
  line.dataset.status = row.status;
  line.dataset.look = row.look;
  say(line.parts.badge, row.status);
  line.parts.badge.dataset.look = row.look;
  if (before !== undefined && before !== row.status) {
    line.classList.remove("changed");
    void line.offsetWidth; // starts the animation anew
    line.classList.add("changed");
  }
}

function showFigures(line) {
  const row = page.rows[line.dataset.key];
  const kept = page.history[line.dataset.key];
  if (!row || !kept) return;
  const { since, load, loadLine, traffic, trafficLine } = line.parts;
  if (line.shown !== row) showWords(line, row);
  line.shown = row;
  say(since, `for ${span(clock - row.since)}`);
  say(load, row.limit ? `${row.now} / ${row.limit}` : row.now);
  say(traffic, short(kept.bytes.at(-1)));
  draw(loadLine, kept.now);
  draw(trafficLine, kept.bytes);
}

function showWords(line, row) {
  const { notes, check, loadCell, fresh, weight } = line.parts;
  line.setAttribute("aria-label", `${row.backend}/${row.name}, ${row.status}, ${plural(row.now, "session")}`);
  const said = [settings.legends ? row.address : "", row.backup ? "backup" : ""].filter(Boolean);
  say(notes, said.join(" · "));
  say(check, row.check);
  check.title = `${row.check}\n${plural(row.failed, "failed check")}, down ${plural(row.downs, "time")}`;
  loadCell.title = `at most ${row.max}, ${row.total} so far, ${row.killed} ended with the server, ${row.errors} failed to connect`;
  say(fresh, row.rate);
  say(weight, row.weight);
}

// One point more for the lines of each server.
function rememberServers(seconds) {
  for (const key of page.order) {
    if (key[0] !== "S") continue;
    const row = page.rows[key];
    const all = row.in + row.out;
    const kept = page.history[key] ?? { all };
    const bytes = seconds > 0 ? Math.max(0, all - kept.all) / seconds : 0;
    remember(key, "now", row.now);
    remember(key, "bytes", bytes);
    page.history[key].all = all;
  }
}

function isShown(row, words) {
  const up = row.look !== "down" && row.look !== "maint";
  if (settings.up && !up) return false;
  if (settings.noMaint && row.look === "maint") return false;
  if (byId("trouble").checked && (row.look === "up" || row.look === "plain")) return false;
  return !words || `${row.backend}/${row.name} ${row.status} ${row.address}`.toLowerCase().includes(words);
}

function showRows() {
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
  const words = byId("filter").value.trim().toLowerCase();
  const narrowed = words || byId("trouble").checked;
  for (const [name, card] of cards) {
    const body = card.querySelector("tbody");
    const known = new Map([...body.children].map((line) => [line.dataset.key, line]));
    const lines = [];
    for (const key of bodies.get(name)) {
      const row = page.rows[key];
      const line = known.get(key) ?? serverRow(key, row);
      showState(line, row);
      if (!line.shown || inSight.has(line)) showFigures(line);
      const hidden = !isShown(row, words);
      if (line.hidden !== hidden) line.hidden = hidden;
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
  while (parent.children.length > wanted.length) {
    const gone = parent.lastElementChild;
    gone.remove();
    for (const line of gone.matches("tr") ? [gone] : gone.querySelectorAll("tr.server")) {
      sight.unobserve(line);
      inSight.delete(line);
    }
  }
}

// ---- timeline ----

const lookOf = (status) =>
  /^UP/.test(status) ? "up" : /^MAINT/.test(status) ? "maint" : /^(DRAIN|NOLB)/.test(status) ? "drain" : "down";

function showTimeline(transitions) {
  byId("quiet").hidden = transitions.length > 0;
  const items = [...transitions].reverse().map((each) => {
    const at = new Date(each.at * 1000);
    const ended = each.ended ? make("span", { class: "ended" }, ` ${plural(each.ended, "session")} ended.`) : "";
    return make("li", {},
      make("time", { datetime: at.toISOString(), title: at.toLocaleString() }, moment(each.at)),
      make("b", {}, `${each.backend}/${each.server}`), " ",
      make("span", { class: "state", "data-look": lookOf(each.after) }, each.after),
      make("p", {}, `was ${each.before}${each.why ? `: ${each.why}` : "."}`, ended));
  });
  byId("timeline").replaceChildren(...items);
}

// For who hears the page: what has changed in state, a few words however much it was.
let toldOf = null; // the time of the last transition

function tell(transitions) {
  const last = Math.max(0, ...transitions.map((each) => each.at));
  const fresh = toldOf === null ? [] : transitions.filter((each) => each.at > toldOf && isOther(each));
  toldOf = Math.max(toldOf ?? 0, last);
  if (!fresh.length) return;
  const down = fresh.filter((each) => lookOf(each.after) === "down").length;
  byId("news").textContent = fresh.length <= 3
    ? fresh.map((each) => `${each.backend}/${each.server} is ${each.after}`).join(", ")
    : `${fresh.length} changes of state, ${down} of them to down`;
}

// `UP 1/3` after `UP 2/3` is no news.
const isOther = (each) => each.before.split(" ")[0] !== each.after.split(" ")[0];

// ---- events ----

let clock = 0; // the server's, of the change before

function take(change, whole) {
  if (whole) {
    page.rows = {};
    for (const key of Object.keys(page.history)) if (key && !change.rows[key]) delete page.history[key];
  }
  for (const [key, row] of Object.entries(change.rows)) page.rows[key] = { ...page.rows[key], ...row };
  for (const key of change.gone ?? []) {
    delete page.rows[key];
    delete page.history[key];
    page.chosen.delete(key);
  }
  page.order = change.order ?? page.order;
  page.process = change.process ?? page.process;
  if (change.transitions) {
    showTimeline(change.transitions);
    tell(change.transitions);
  }
  const seconds = clock ? change.now - clock : 0;
  clock = change.now;
  showProcess(seconds, change.now);
  rememberServers(seconds);
  if (!document.hidden) showRows();
}

function live(is, text) {
  byId("live").dataset.is = is;
  document.body.classList.toggle("stale", is === "off");
  say(byId("live"), text);
}

function listen() {
  const source = new EventSource(`${settings.uri};events`);
  source.addEventListener("token", (event) => { page.token = JSON.parse(event.data) || page.token; });
  source.addEventListener("whole", (event) => {
    take(JSON.parse(event.data), true);
    if (settings.frozen) {
      source.close();
      live("", `as of ${moment(Date.now() / 1000)}`);
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

// A browser may forbid to keep anything; the choice then holds for this visit.
let chosenTheme = null;
try { chosenTheme = localStorage.getItem("theme"); } catch { /* as before a choice */ }

function showTheme() {
  const kept = chosenTheme;
  document.documentElement.dataset.theme = kept ?? (dark.matches ? "dark" : "light");
  const name = kept === "dark" ? "Dark" : kept === "light" ? "Light" : "Auto";
  say(byId("theme"), name);
  byId("theme").setAttribute("aria-label", `Theme: ${name}`);
}

page.nextTheme = () => {
  chosenTheme = { null: "dark", dark: "light", light: null }[chosenTheme];
  try {
    if (chosenTheme) localStorage.setItem("theme", chosenTheme);
    else localStorage.removeItem("theme");
  } catch { /* it holds for this visit */ }
  showTheme();
};

page.again = () => {
  if (clock) showRows();
};

document.addEventListener("visibilitychange", page.again);

dark.addEventListener("change", showTheme);
byId("theme").addEventListener("click", page.nextTheme);
byId("filter").addEventListener("input", page.again);
byId("trouble").addEventListener("change", page.again);
document.body.classList.toggle("admin", settings.admin);
showTheme();
buildSums();
listen();
