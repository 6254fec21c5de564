/* The live page: new joined events at the top, by a stream where there is one, else by asking again. */
"use strict";
(() => {
  const table = document.getElementById("events");
  const body = table.tBodies[0];
  const state = document.getElementById("live-state");
  const pause = document.getElementById("live-pause");
  const none = document.getElementById("events-none");
  const MOST = 200;
  const EVERY_MS = 2000;
  const GOOD = 5;
  let good = 0;
  let after = Number(table.dataset.after);
  let paused = false;
  let waiting = [];
  const leaving = new Set();
  let source = null;
  let timer = 0;
  const came = new Set();
  const MOST_TOLD = 10000;
  let moved = false;
  const sample = document.getElementById("facts-sample");
  const asOf = document.getElementById("facts-as-of");

  function cell(row, tag, look, name, text) {
    const found = document.createElement(tag);
    if (look) found.className = look;
    if (name) found.dataset.name = name;
    if (text !== undefined) found.textContent = text;
    row.append(found);
    return found;
  }
  function named(row, name, text) {
    const span = document.createElement("span");
    span.className = "name";
    span.textContent = text;
    cell(row, "td", "t", name).append(span);
  }
  function rowOf(one) {
    const row = document.createElement("tr");
    row.dataset.id = one.id;
    row.className = "new";
    const head = cell(row, "th");
    head.scope = "row";
    const link = document.createElement("a");
    link.href = one.href;
    link.textContent = one.when || "unknown";
    head.append(link);
    named(row, "what", one.what);
    cell(row, "td", "n", "asked", one.asked);
    cell(row, "td", "n", "paid", one.paid);
    named(row, "payer", one.payer);
    named(row, "workflow", one.workflow);
    cell(row, "td", "n", "status", one.status);
    cell(row, "td", "n", "latency", one.latency);
    const last = cell(row, "td", "t", "what became of it");
    for (const [text, look] of [[one.insight, "tag " + one.tag], ...(one.test ? [["test money", "tag"]] : [])]) {
      const span = document.createElement("span");
      span.className = look.trim();
      span.textContent = text;
      last.append(span, " ");
    }
    return row;
  }
  function show(rows, gone) {
    for (const old of body.querySelectorAll("tr.new")) old.classList.remove("new");
    const focused = document.activeElement;
    const away = new Set(gone);
    for (const old of [...body.rows]) if (away.has(old.dataset.id)) old.remove();
    for (const one of rows) {
      for (const old of body.rows) if (old.dataset.id === one.id) { old.remove(); break; }
      body.prepend(rowOf(one));
    }
    while (body.rows.length > MOST) body.lastElementChild.remove();
    if (focused && focused !== document.activeElement && !focused.isConnected) pause.focus();
    none.hidden = body.rows.length > 0;
    for (const id of away) came.delete(id);
    for (const one of rows) if (came.size < MOST_TOLD) came.add(one.id);
    moved = moved || rows.length > 0 || away.size > 0;
    facts();
  }
  const many = (count, name) => `${count.toLocaleString("en")} ${name}${count === 1 ? "" : "s"}`;
  // What the head of the page says of the table, as it is by now.
  function facts() {
    if (!moved) return;
    const now = new Date().toISOString();
    sample.textContent = `${many(body.rows.length, "event")} here, what changed last first.`;
    asOf.textContent = `As of ${now.slice(0, 10)} ${now.slice(11, 19)}Z, event ${after.toLocaleString("en")}.`;
  }
  function say(text) { if (state.textContent !== text) state.textContent = text; }
  function told() { say(came.size ? `Live: ${many(came.size, "attempt")}${came.size < MOST_TOLD ? "" : " or more"} since this page was opened.` : "Live: waiting for what comes."); }
  function take(found) {
    after = found.after;
    if (!paused) { show(found.rows, found.gone); told(); return; }
    for (const id of found.gone) leaving.add(id);
    for (const one of found.rows) leaving.delete(one.id);
    // An attempt is waiting once, as it is by now, and not at all if it is none of these any more.
    const newer = new Set(found.rows.map((one) => one.id));
    waiting = waiting.filter((one) => !leaving.has(one.id) && !newer.has(one.id)).concat(found.rows).slice(-MOST);
    say(`Paused: ${many(waiting.length, "attempt")} waiting.`);
  }
  function address(base) {
    const url = new URL(base, location.href);
    url.searchParams.set("after", String(after));
    return url;
  }
  async function poll() {
    let answered = true;
    try {
      const answer = await fetch(address(table.dataset.poll), { credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      take(await answer.json());
      if (!paused) told();
    } catch {
      say("The dashboard does not answer; it is tried again.");
      answered = false;
    }
    // A stream that was refused while something was down may be had again.
    good = answered ? good + 1 : 0;
    if (good >= GOOD && table.dataset.stream && window.EventSource) { good = 0; listen(); return; }
    timer = setTimeout(poll, EVERY_MS);
  }
  function listen() {
    source = new EventSource(address(table.dataset.stream));
    // A stream ends now and then, and the next one begins: nothing to tell, unless it takes long.
    let lost = 0;
    source.onopen = () => { clearTimeout(lost); if (!paused) told(); };
    source.onmessage = (event) => take(JSON.parse(event.data));
    source.onerror = () => {
      clearTimeout(lost);
      lost = setTimeout(() => say("The connection was lost; it is tried again."), 4000);
      if (source.readyState === EventSource.CLOSED) { source = null; poll(); }
    };
  }
  function begin() { if (table.dataset.stream && window.EventSource) listen(); else poll(); }
  function end() { if (source) source.close(); source = null; clearTimeout(timer); }

  pause.hidden = false;
  document.getElementById("live-reload").hidden = true;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) { show(waiting, leaving); waiting = []; leaving.clear(); told(); } else say("Paused.");
  });
  addEventListener("pagehide", end);
  addEventListener("pageshow", (event) => { if (event.persisted) begin(); });
  told();
  begin();
})();
