// Draws each figure from the JSON beside it, in the colours of the style sheet, and again when those change; sorts tables.
(function () {
  "use strict";
  const touch = matchMedia("(hover: none)").matches; // there a finger on a figure has to scroll the page
  const rootStyle = () => getComputedStyle(document.documentElement);

  // "var(--x)" anywhere in a figure -> the colour that the style sheet gives it now.
  function coloured(value, style) {
    if (typeof value === "string") {
      const match = /^var\((--[a-z]+)\)$/.exec(value);
      return match ? style.getPropertyValue(match[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    }
    return value;
  }

  function draw(place) {
    const style = rootStyle();
    const plot = coloured(hwnas.adapt(JSON.parse(document.getElementById(place.dataset.plot).textContent), place), style);
    const colour = (name) => style.getPropertyValue(name).trim();
    const base = {
      autosize: true,
      uirevision: "kept", // zoom and hidden traces survive a redraw
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--faint"), activecolor: colour("--accent") },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
      hoverlabel: {
        bgcolor: colour("--paper"), bordercolor: colour("--faint"), font: { color: colour("--ink"), size: 12 }, align: "left",
      },
    };
    const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
    const config = { responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover", modeBarButtons: buttons };
    const layout = Object.assign(base, { dragmode: touch ? false : "zoom" }, plot.layout);
    return Plotly.react(place, plot.data, layout, config);
  }

  function drawAll(within) {
    return Promise.all(Array.from(within.querySelectorAll("[data-plot]"), draw));
  }

  // What a cell sorts by: its number, or its text; what is not measured comes last in either direction.
  function key(row, column) {
    const text = row.cells[column].textContent.trim();
    const number = row.cells[column].classList.contains("number") ? parseFloat(text.replace(/\u202f/g, "")) : NaN;
    return text === "-" || text === "" ? null : Number.isNaN(number) ? text : number; // a choice may be a word
  }

  function compare(one, other) {
    if (one === null || other === null) return 0;
    return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
  }

  function sort(button) {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = Array.from(body.rows, (row) => [key(row, head.cellIndex), row]);
    rows.sort(([one], [other]) => (one === null) - (other === null) || sign * compare(one, other));
    body.append(...rows.map(([, row]) => row));
  }

  document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => sort(button)));
  // What a page's own script changes (`adapt`), and needs: `redraw` the figures of a part of the page.
  const hwnas = (window.hwnas = { adapt: (plot) => plot, redraw: drawAll });
  hwnas.ready = drawAll(document).then(() => document.documentElement.setAttribute("data-drawn", "yes"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
})();
