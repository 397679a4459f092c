// Keeps an open page true: fragments over server-sent events, read-out under the pointer, ranges, copying.
"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const body = document.body, live = by("live"), held = new Map(), told = new Map();
  let source, wait = 1000, reading = null;

  // ------------------------------------------------------------------ fragments
  const heard = (box) => new Set([...box.querySelectorAll("[data-alert]")].map((e) => e.dataset.alert));

  function swap(name, html) {
    const box = by("f-" + name), chosen = getSelection();
    if (!box || told.get(name) === html) return;
    if (chosen && !chosen.isCollapsed && box.contains(chosen.anchorNode)) { held.set(name, html); return; }
    held.delete(name);
    told.set(name, html);
    const focus = box.contains(document.activeElement) ? document.activeElement.id : "";
    const open = [...box.querySelectorAll("details[open]")].map((e) => e.id);
    const scrolls = [...box.querySelectorAll("[id]")].filter((e) => e.scrollTop).map((e) => [e.id, e.scrollTop]);
    const before = heard(box);
    box.innerHTML = html;
    for (const id of open) if (by(id)) by(id).open = true;
    for (const [id, top] of scrolls) if (by(id)) by(id).scrollTop = top;
    if (focus && by(focus)) by(focus).focus({ preventScroll: true });
    if (name === "alerts") announce(box, before);
    if (name === "state") entitle(box);
    if (name === "charts" && reading) read(by(reading.chart), reading.place);
  }

  function announce(box, before) {
    const fresh = [...box.querySelectorAll("[data-alert]")].filter((e) => !before.has(e.dataset.alert));
    if (fresh.length) by("said").textContent = fresh.map((e) => e.dataset.say).join(". ");
  }

  function entitle(box) {
    const state = box.querySelector("[data-title]");
    if (state) document.title = document.title.replace(/^.*?(?= · )/, state.dataset.title);
  }

  document.addEventListener("selectionchange", () => {
    if (held.size && getSelection().isCollapsed) for (const [name, html] of [...held]) swap(name, html);
  });

  // ------------------------------------------------------------------ connection
  function say(word, kind) {
    live.textContent = word;
    live.className = "live " + kind;
    body.classList.toggle("stale", kind === "off");
  }

  function connect() {
    if (source) source.close();
    source = new EventSource(body.dataset.events);
    source.addEventListener("open", () => { wait = 1000; say("live", "on"); });
    source.addEventListener("fragments", (event) => {
      for (const [name, html] of Object.entries(JSON.parse(event.data))) swap(name, html);
    });
    source.addEventListener("error", () => {
      say("no connection: figures are old", "off");
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 30000);
    });
  }

  // ------------------------------------------------------------------ charts
  function rows(chart) { return [...chart.querySelectorAll("tr[data-x]")]; }

  function read(chart, place) {
    const all = chart ? rows(chart) : [];
    if (!all.length) return;
    const far = (row) => Math.abs(row.dataset.x - place);
    const row = all.reduce((best, each) => (far(each) < far(best) ? each : best));
    const names = [...chart.querySelectorAll("thead th")].slice(1).map((e) => e.textContent);
    const cells = [...row.cells].map((e) => e.textContent);
    chart.querySelector("output").textContent =
      cells[0] + ": " + names.map((name, i) => name + " " + cells[i + 1]).join(" · ");
    const guide = chart.querySelector(".guide"), x = row.dataset.x * 100 + "%";
    guide.setAttribute("x1", x);
    guide.setAttribute("x2", x);
    chart.classList.add("read");
    reading = { chart: chart.id, place: +row.dataset.x };
  }

  function forget() {
    const chart = reading && by(reading.chart);
    reading = null;
    if (!chart) return;
    chart.classList.remove("read");
    chart.querySelector("output").textContent = "";
  }

  document.addEventListener("pointermove", (event) => {
    const plot = event.target.closest && event.target.closest("svg.plot");
    const chart = plot && plot.closest(".chart");
    if (!chart) { if (reading && document.activeElement.id !== reading.chart) forget(); return; }
    if (reading && reading.chart !== chart.id) forget();
    const box = plot.querySelector(".grid").getBoundingClientRect();
    read(chart, (event.clientX - box.left) / box.width);
  });

  document.addEventListener("keydown", (event) => {
    const chart = document.activeElement, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") forget();
    if (!step || !chart.classList.contains("chart")) return;
    const all = rows(chart), at = reading && reading.chart === chart.id ? reading.place : 2;
    const here = all.findIndex((row) => +row.dataset.x === at);
    const next = all[here < 0 ? all.length - 1 : Math.min(Math.max(here + step, 0), all.length - 1)];
    if (next) read(chart, +next.dataset.x);
    event.preventDefault();
  });

  // ------------------------------------------------------------------ ranges, copying
  document.addEventListener("click", (event) => {
    const range = event.target.closest("a[data-days]"), copy = event.target.closest("button[data-copy]");
    if (range && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      history.replaceState(null, "", range.href);
      body.dataset.events = body.dataset.events.replace(/days=\d+/, "days=" + range.dataset.days);
      connect();
    }
    if (copy) put(copy);
  });

  async function put(button) {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      done = "Press Ctrl+C";
    }
    button.textContent = done;
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  connect();
})();
