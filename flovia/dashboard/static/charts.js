/* Draws the charts of a page with uPlot. Every number drawn is in a table of the page. */
"use strict";
(() => {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue("--" + name).trim();
  const boxes = [...document.querySelectorAll(".chart")];
  const plots = new Map();
  const HEIGHT = 185;

  const font = "12px system-ui, sans-serif";
  const axes = (extra) => [
    { font, stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line") }, size: 34, space: 64, ...extra },
    { font, stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line") }, size: 60 },
  ];
  const fade = (hex) => hex + "33";
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

  function days(box, data) {
    const newest = (plot) => plot.setLegend({ idx: data.x.length - 1 });
    const options = {
      width: box.clientWidth, height: HEIGHT, axes: axes({ values: (plot, splits) => splits.map((at) => day(at).slice(5)), incrs: [1, 2, 7, 14, 28, 56, 91, 182, 364].map((one) => one * 86400) }), tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
      scales: { y: { range: (plot, low, high) => [0, (high || 1) * 1.05] } },
      cursor: { drag: { x: false, y: false } },
      // Until somebody points at a day, and after that, the legend tells of the newest.
      hooks: { ready: [newest], draw: [newest] },
      series: [
        { label: "day", value: (plot, value) => (value === null ? "–" : day(value)) },
        ...data.series.map((one) => ({ label: one.label, value: (plot, value) => (value === null ? "–" : value.toFixed(one.digits || 0)), stroke: color(one.color), width: 1.5, fill: data.series.length === 1 ? fade(color(one.color)) : undefined, points: { show: data.x.length < 40 } })),
      ],
    };
    const plot = new uPlot(options, [data.x, ...data.series.map((one) => one.values)], box);
    plot.over.addEventListener("mouseleave", () => newest(plot));
    return plot;
  }

  function prices(box, data) {
    const bound = { stroke: fade(color("teal")), width: 1, points: { show: false } };
    const options = {
      width: box.clientWidth, height: HEIGHT, axes: axes({}),
      scales: { x: { time: false, range: (plot, low, high) => { const pad = (high - low || high || 1) * 0.08; return [low - pad, high + pad]; } }, y: { range: (plot, low, high) => [0, (high || 1) * 1.08] } },
      cursor: { drag: { x: false, y: false } }, legend: { show: false },
      bands: [{ series: [3, 2], fill: fade(color("teal")) }],
      series: [
        { label: data.currency },
        { label: "per attempt", stroke: color("teal"), width: 2, points: { show: true, size: 7, fill: color("teal") } },
        { label: "at least", ...bound },
        { label: "at most", ...bound },
      ],
    };
    return new uPlot(options, [data.x, data.values, data.low, data.high], box);
  }

  for (const box of boxes) {
    const data = JSON.parse(document.getElementById(box.dataset.from).textContent);
    box.textContent = "";
    plots.set(box, (box.dataset.kind === "prices" ? prices : days)(box, data));
  }
  const watching = new ResizeObserver((entries) => {
    for (const entry of entries) plots.get(entry.target).setSize({ width: entry.target.clientWidth, height: HEIGHT });
  });
  boxes.forEach((box) => watching.observe(box));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());
})();
