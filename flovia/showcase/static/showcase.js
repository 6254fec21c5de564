// Updates of a run as they come, a clock that counts down, buttons to copy. Without it the page is reloaded by itself.
(() => {
  "use strict";

  const countdowns = () => {
    for (const one of document.querySelectorAll("[data-until]")) {
      const left = Math.max(0, Math.floor(Number(one.dataset.until) - Date.now() / 1000));
      const text = `${Math.floor(left / 60)} min ${left % 60} s`;
      if (one.textContent !== text) one.textContent = text;
    }
  };
  setInterval(countdowns, 1000);
  countdowns();

  const copiers = (root) => {
    for (const block of root.querySelectorAll("pre[data-copy]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copier";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy as ${block.dataset.copy}`);
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(block.innerText.trimEnd());
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(block);
          button.textContent = "Selected";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      block.parentElement.insertBefore(button, block);
      block.parentElement.classList.add("copy");
    }
  };
  copiers(document);

  const live = document.querySelector("#live[data-run]");
  if (!live) return;

  // A part is put in place of the one with its id only if it says something else: focus, scrolling and what is
  // unfolded stay as they are everywhere else.
  const said = (part) => {
    const copy = part.cloneNode(true);
    for (const clock of copy.querySelectorAll("[data-until]")) clock.textContent = "";
    for (const folded of [copy, ...copy.querySelectorAll("details")]) folded.removeAttribute("open");
    return copy.outerHTML;
  };
  const shown = new Map();
  for (const part of document.querySelectorAll("[data-part]")) shown.set(part.id, said(part));

  const put = (html) => {
    const found = new DOMParser().parseFromString(html, "text/html");
    const focused = document.activeElement && document.activeElement.id;
    for (const part of found.querySelectorAll("[data-part]")) {
      const text = said(part);
      if (shown.get(part.id) === text) continue;
      shown.set(part.id, text);
      const old = document.getElementById(part.id);
      const next = document.importNode(part, true);
      if (old) {
        const before = old.querySelectorAll("details");
        next.querySelectorAll("details").forEach((one, at) => { if (before[at]) one.open = before[at].open; });
        if (old.tagName === "DETAILS") next.open = old.open;
        old.replaceWith(next);
      } else {
        place(part, next);
      }
    }
    if (focused && document.activeElement === document.body) {
      const again = document.getElementById(focused);
      if (again) again.focus({ preventScroll: true });
    }
    countdowns();
  };
  // A new part goes where the server has it: after the part before it, or as the first of its box.
  const place = (part, next) => {
    const before = part.previousElementSibling;
    const anchor = before && before.id && document.getElementById(before.id);
    if (anchor) { anchor.after(next); return; }
    if (part.parentElement.classList.contains("live-pair")) { live.querySelector(".live-pair").prepend(next); return; }
    const log = document.getElementById("log");
    if (log) log.before(next);
  };

  const polled = async () => {
    for (;;) {
      try {
        const answer = await fetch(live.dataset.state, { cache: "no-store" });
        if (answer.status === 404) return;
        if (answer.ok) put((await answer.json()).html);
      } catch { /* the server is away; the next look may find it */ }
      await new Promise((done) => setTimeout(done, 2000));
    }
  };
  if (!window.EventSource) { polled(); return; }
  const stream = new EventSource(live.dataset.events);
  let failures = 0;
  stream.onmessage = (event) => { failures = 0; put(JSON.parse(event.data).html); };
  // A browser tries again by itself after a break; what never gets through (a proxy that buffers, say) is given up.
  stream.onerror = () => {
    failures += 1;
    if (stream.readyState !== EventSource.CLOSED && failures < 3) return;
    stream.onerror = null;
    stream.close();
    polled();
  };
  addEventListener("pagehide", () => stream.close());
})();
