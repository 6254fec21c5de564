// The simulated flow: the page is whole without this. It only moves what is marked as now, done and later.
(() => {
  "use strict";
  const story = document.getElementById("simulate");
  if (!story) return;
  const last = Number(story.dataset.last);
  const PAUSE_MS = 2200;
  const button = (name) => story.querySelector(`[data-do="${name}"]`);
  const [back, next, play] = ["back", "step", "play"].map(button);
  const now = story.querySelector("[data-now]");
  const marked = [...story.querySelectorAll("[data-number]")];
  let step = Number(story.dataset.step);
  let timer = null;

  const show = (number) => {
    step = number;
    story.dataset.step = String(step);
    for (const one of marked) {
      const its = Number(one.dataset.number);
      one.classList.toggle("done", its < step);
      one.classList.toggle("now", its === step);
      one.classList.toggle("later", its > step);
      if (one.parentElement.tagName === "OL") {
        if (its === step) one.setAttribute("aria-current", "step");
        else one.removeAttribute("aria-current");
      }
    }
    back.disabled = step === 1;
    next.textContent = step === last ? "From the start" : "Next step";
    const title = story.querySelector(`ol > [data-number="${step}"] [data-title]`).textContent;
    now.textContent = `Step ${step} of ${last}: ${title}`;
    const address = new URL(window.location.href);
    address.searchParams.set("step", String(step));
    window.history.replaceState(null, "", address);
  };

  const stop = () => {
    window.clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };

  const go = (number) => {
    stop();
    show(number);
  };

  const start = () => {
    show(step === last ? 1 : step);
    play.textContent = "Pause";
    timer = window.setInterval(() => {
      show(step + 1);
      if (step === last) stop();
    }, PAUSE_MS);
  };

  story.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const what = event.submitter && event.submitter.dataset.do;
    if (what === "back") go(Math.max(step - 1, 1));
    if (what === "step") go((step % last) + 1);
  });
  play.addEventListener("click", () => (timer === null ? start() : stop()));
  for (const link of story.querySelectorAll("[data-go]")) {
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      go(Number(link.dataset.go));
    });
  }
  document.addEventListener("visibilitychange", () => document.hidden && timer !== null && stop());
  story.classList.add("live");
})();
