// Lets a reader choose: limits and a target hide what is not wanted, a click on a point or a row tells of one trial.
// Each figure is drawn by report.js, as `hwnas.adapt` gives it back.
(function () {
  "use strict";
  const form = document.getElementById("choose");
  if (!form) return;
  const section = form.closest("section");
  const known = JSON.parse(document.getElementById("choose-data").textContent);
  const about = document.getElementById("chosen");
  const fields = Array.from(form.querySelectorAll("input[type=number]"));
  const tables = Array.from(section.querySelectorAll("table.trials"));
  const figures = Array.from(section.querySelectorAll("figure"));
  const number = (row) => Number(row.cells[0].textContent);
  let shown = new Set(known.map((trial) => trial.index));
  let chosen = null;

  function keeps(trial) {
    return fields.every((field, which) => {
      if (field.value === "" || field.closest("label").hidden) return true;
      const value = trial.values[which];
      return value !== null && (field.dataset.least ? value >= Number(field.value) : value <= Number(field.value));
    });
  }

  // A figure without the trials that are hidden, and with a ring around the chosen one.
  function adapt(plot) {
    const data = plot.data.map((trace) => (trace.customdata ? thinned(trace) : trace));
    for (const trace of data) {
      const at = trace.customdata ? trace.customdata.indexOf(chosen) : -1;
      if (at < 0) continue;
      const ring = { symbol: "circle-open", size: 22, color: "var(--ink)", line: { width: 2 } };
      const place = { x: [trace.x[at]], y: [trace.y[at]], yaxis: trace.yaxis || "y" };
      data.push({ ...place, type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip", marker: ring });
      break;
    }
    return { ...plot, data };
  }

  function thinned(trace) {
    const kept = trace.customdata.map((index) => shown.has(index));
    const of = (list) => (Array.isArray(list) ? list.filter((_, which) => kept[which]) : list);
    const bars = (error) => (error ? { ...error, array: of(error.array) } : error);
    return {
      ...trace, x: of(trace.x), y: of(trace.y), text: of(trace.text), customdata: of(trace.customdata),
      error_x: bars(trace.error_x), error_y: bars(trace.error_y), marker: { ...trace.marker, color: of(trace.marker.color) },
    };
  }

  function filter() {
    const target = form.elements.target ? form.elements.target.value : "";
    const other = (targets) => Boolean(target && targets && !targets.split(" ").includes(target));
    fields.forEach((field) => { field.closest("label").hidden = other(field.dataset.target); });
    figures.forEach((figure) => { figure.hidden = other(figure.dataset.targets); });
    const kept = known.filter(keeps);
    shown = new Set(kept.map((trial) => trial.index));
    for (const table of tables) for (const row of table.tBodies[0].rows) row.hidden = !shown.has(number(row));
    for (const option of form.elements.trial.options) option.disabled = option.value !== "" && !shown.has(Number(option.value));
    const front = kept.filter((trial) => trial.front).length;
    form.querySelector("output").textContent =
      kept.length === known.length ? "" : `${kept.length} of ${known.length} trials, ${front} of them on the front`;
    choose(chosen !== null && shown.has(chosen) ? chosen : null, about.previousElementSibling);
  }

  // `above`: the figure in which it was clicked at, below which the reader looks.
  function choose(index, above = form) {
    chosen = index;
    form.elements.trial.value = index === null ? "" : String(index);
    about.hidden = index === null;
    above.after(about);
    for (const table of tables) {
      for (const row of table.tBodies[0].rows) row.toggleAttribute("data-chosen", number(row) === index);
    }
    if (index !== null) describe(index);
    hwnas.redraw(section);
  }

  // What the tables say of a trial: all of its row among all trials, and its file from the front's.
  function describe(index) {
    const list = about.querySelector("dl");
    const row = (table) => Array.from(table.tBodies[0].rows).find((one) => number(one) === index);
    const all = tables[tables.length - 1];
    list.replaceChildren();
    Array.from(row(all).cells).forEach((cell, column) => tell(list, all.tHead.rows[0].cells[column].textContent, cell.textContent));
    const file = tables.length > 1 && row(tables[0]) && row(tables[0]).querySelector("a");
    if (file) tell(list, "file", file.cloneNode(true));
  }

  function tell(list, name, value) {
    const [part, term, said] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    term.append(name);
    said.append(value);
    part.append(term, said);
    list.append(part);
  }

  hwnas.adapt = (plot, place) => (section.contains(place) ? adapt(plot) : plot);
  hwnas.ready.then(() => section.querySelectorAll("[data-plot]").forEach((place) => {
    place.on("plotly_click", (event) => {
      const index = event.points[0].customdata;
      if (index !== undefined) choose(index === chosen ? null : index, place.closest("figure"));
    });
  }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target === form.elements.trial) choose(event.target.value === "" ? null : Number(event.target.value));
    else filter();
  });
  form.addEventListener("reset", () => setTimeout(() => { chosen = null; filter(); }));
  for (const table of tables) {
    table.tBodies[0].addEventListener("click", (event) => {
      if (event.target.closest("a") || String(getSelection())) return;
      const index = number(event.target.closest("tr"));
      choose(index === chosen ? null : index);
    });
  }
  section.classList.add("choosing");
  form.hidden = false;
})();
