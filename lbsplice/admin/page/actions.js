// What one can do: choose servers, change their states, move by keyboard.
"use strict";

(() => {
  const { page } = window;
  const { make, settings } = page;
  const byId = (id) => document.getElementById(id);
  const main = byId("proxies");

  const ACTIONS = [
    ["ready", "Ready", "r"],
    ["drain", "Drain", "d"],
    ["maint", "Maintenance", "m"],
    ["shutdown", "End sessions", "K"],
  ];
  const RISKY = {
    maint: "New sessions go elsewhere, and with on-marked-down shutdown-sessions the open ones end.",
    shutdown: "Both ends of each open session are reset at once.",
  };

  // ---- telling the server ----

  let hush = 0;

  function announce(text) {
    const said = byId("said");
    said.textContent = text;
    said.hidden = false;
    clearTimeout(hush);
    hush = setTimeout(() => { said.hidden = true; }, 6000);
  }

  async function post(backend, servers, action) {
    const form = new URLSearchParams([["b", backend], ["action", action], ...servers.map((name) => ["s", name])]);
    const answer = await fetch(settings.uri, {
      method: "POST",
      headers: { Accept: "application/json", "X-Token": page.token },
      body: form,
    });
    if (!(answer.headers.get("Content-Type") ?? "").startsWith("application/json")) return `error ${answer.status}`;
    const { status, text } = await answer.json();
    return status === "DONE" ? "" : text || "nothing was to be done";
  }

  async function act(keys, action) {
    const byBackend = new Map();
    for (const key of keys) {
      const row = page.rows[key];
      if (row) byBackend.set(row.backend, [...(byBackend.get(row.backend) ?? []), row.name]);
    }
    const troubles = [];
    for (const [backend, servers] of byBackend) {
      try {
        const trouble = await post(backend, servers, action);
        if (trouble) troubles.push(trouble);
      } catch {
        troubles.push("the server did not answer");
      }
    }
    const title = ACTIONS.find(([name]) => name === action)[1];
    announce(troubles.length ? `Not done: ${troubles.join("; ")}` : `${title}: ${named(keys)}`);
  }

  function named(keys) {
    return keys.length === 1 ? keys[0].slice(2) : `${keys.length} servers`;
  }

  // ---- asking first ----

  function ask(title, text, buttons) {
    const dialog = byId("ask");
    byId("ask-title").textContent = title;
    byId("ask-text").textContent = text;
    byId("ask-buttons").replaceChildren(
      ...buttons.map(([value, label, danger]) => make("button", { value, class: danger ? "danger" : "" }, label)),
      make("button", { value: "" }, "Cancel"),
    );
    dialog.returnValue = "";
    const before = document.activeElement;
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => {
        if (before?.isConnected) before.focus();
        resolve(dialog.returnValue);
      }, { once: true });
    });
  }

  function openSessions(keys) {
    return keys.reduce((sum, key) => sum + (page.rows[key]?.now ?? 0), 0);
  }

  async function begin(keys, action) {
    if (!settings.admin || !keys.length) return;
    const [, title] = ACTIONS.find(([name]) => name === action);
    if (action in RISKY && openSessions(keys) > 0) {
      const many = openSessions(keys);
      const text = `${many} open session${many === 1 ? "" : "s"}. ${RISKY[action]}`;
      if (!await ask(`${title}: ${named(keys)}?`, text, [["yes", title, true]])) return;
    }
    await act(keys, action);
  }

  async function menu(key) {
    const row = page.rows[key];
    const text = `${row.status}, ${row.now} open session${row.now === 1 ? "" : "s"}. ${row.check}`;
    const buttons = ACTIONS.map(([name, title]) => [name, title, name === "shutdown"]);
    const action = await ask(key.slice(2), text, buttons);
    if (action) await begin([key], action);
  }

  // ---- choosing ----

  function showChosen() {
    for (const line of main.querySelectorAll("tr.server")) {
      const chosen = page.chosen.has(line.dataset.key);
      line.classList.toggle("chosen", chosen);
      line.querySelector(".pick input").checked = chosen;
    }
    const bar = byId("bar");
    const count = page.chosen.size;
    bar.hidden = !count;
    if (!count) return;
    if (!bar.children.length) {
      bar.append(make("b"), ...ACTIONS.map(([name, title]) =>
        make("button", { type: "button", value: name, class: name === "shutdown" ? "danger" : "" }, title)),
        make("button", { type: "button", value: "" }, "Clear"));
    }
    bar.firstChild.textContent = `${count} selected`;
  }

  function choose(key, chosen) {
    if (chosen) page.chosen.add(key);
    else page.chosen.delete(key);
    showChosen();
  }

  byId("bar").addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const keys = [...page.chosen];
    page.chosen.clear();
    showChosen();
    if (button.value) await begin(keys, button.value);
  });

  main.addEventListener("click", (event) => {
    const line = event.target.closest("tr.server");
    if (!line) return;
    focus(line);
    if (event.target.closest(".more")) menu(line.dataset.key);
    else if (event.target.matches(".pick input")) choose(line.dataset.key, event.target.checked);
  });

  window.addEventListener("shown", showChosen);

  // ---- keyboard ----

  function focus(line) {
    for (const other of main.querySelectorAll('tr.server[tabindex="0"]')) other.tabIndex = -1;
    line.tabIndex = 0;
    if (!line.contains(document.activeElement)) line.focus();
  }

  function move(step) {
    const lines = [...main.querySelectorAll("tr.server:not([hidden])")];
    if (!lines.length) return;
    const at = lines.indexOf(document.activeElement?.closest("tr.server"));
    const next = at < 0 ? (step > 0 ? 0 : lines.length - 1) : Math.min(Math.max(at + step, 0), lines.length - 1);
    focus(lines[next]);
    lines[next].scrollIntoView({ block: "nearest" });
  }

  function targets() {
    const line = document.activeElement?.closest("tr.server");
    if (page.chosen.size) return [...page.chosen];
    return line ? [line.dataset.key] : [];
  }

  function clear() {
    page.chosen.clear();
    byId("filter").value = "";
    byId("trouble").checked = false;
    page.again();
    showChosen();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches('input[type="search"]')) {
      if (event.key === "Escape") { clear(); event.target.blur(); }
      return;
    }
    const line = document.activeElement?.closest("tr.server");
    const key = event.key;
    const action = ACTIONS.find(([, , letter]) => letter === key);
    if (key === "j" || key === "ArrowDown" && line) move(1);
    else if (key === "k" || key === "ArrowUp" && line) move(-1);
    else if (key === "/") byId("filter").focus();
    else if (key === "e") byId("trouble").click();
    else if (key === "t") page.nextTheme();
    else if (key === "?") byId("help").showModal();
    else if (key === "Escape") clear();
    else if (settings.admin && action) begin(targets(), action[0]);
    else if (settings.admin && line && event.target === line && (key === "x" || key === " ")) choose(line.dataset.key, !page.chosen.has(line.dataset.key));
    else if (settings.admin && line && event.target === line && key === "Enter") menu(line.dataset.key);
    else return;
    event.preventDefault();
  });

  byId("keys").addEventListener("click", () => byId("help").showModal());
})();
