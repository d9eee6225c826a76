// The report's plots and its map. All data is in the page; nothing is fetched.
"use strict";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = [];

// What plotly draws in the page's own colours, which change with light and dark.
function look() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: color("--line"),
    zerolinecolor: color("--line"),
    linecolor: color("--line"),
    tickcolor: color("--line"),
  };
  return {
    paper: "rgba(0,0,0,0)",
    ink: color("--ink"),
    soft: color("--soft"),
    card: color("--card"),
    line: color("--line"),
    font: getComputedStyle(document.body).fontFamily,
    axis,
  };
}

function themed(layout) {
  const now = look();
  return {
    ...layout,
    autosize: true,
    paper_bgcolor: now.paper,
    plot_bgcolor: now.paper,
    font: { color: now.ink, family: now.font, size: 13 },
    modebar: { bgcolor: now.paper, color: now.soft, activecolor: now.ink },
    hoverlabel: { bgcolor: now.card, bordercolor: now.line, font: { color: now.ink } },
    xaxis: { ...layout.xaxis, ...now.axis },
    yaxis: { ...layout.yaxis, ...now.axis },
  };
}

function draw(element, data, layout, config) {
  drawn.push([element, layout]);
  Plotly.newPlot(element, data, themed(layout), {
    responsive: true,
    displaylogo: false,
    displayModeBar: false,
    plotlyServerURL: "", // plotly's own buttons would send the photos there
    ...config,
  });
}

dark.addEventListener("change", () => {
  for (const [element, layout] of drawn) {
    const { font, hoverlabel, modebar, paper_bgcolor, plot_bgcolor } = themed(layout);
    const { axis } = look();
    const change = { font, hoverlabel, modebar, paper_bgcolor, plot_bgcolor };
    for (const [name, value] of Object.entries(axis)) {
      change[`xaxis.${name}`] = value;
      change[`yaxis.${name}`] = value;
    }
    Plotly.relayout(element, change);
  }
});

// ---- queries ----

// On a phone the neighbours are a strip; what scrolls must be reachable by keyboard.
for (const strip of document.querySelectorAll(".hits")) {
  if (strip.scrollWidth > strip.clientWidth) strip.tabIndex = 0;
}

// ---- plots ----

const figures = read("figures-data");
for (const element of document.querySelectorAll("[data-plot]")) {
  const { data, layout } = figures[element.dataset.plot];
  const matrix = element.dataset.plot === "confusion";
  draw(element, data, {
    ...layout,
    dragmode: false,
    margin: matrix ? { l: 20, r: 10, t: 10, b: 20 } : { l: 60, r: 10, t: 10, b: 50 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
  });
}

// ---- map ----

const points = read("map-data");
const canvas = document.getElementById("map-canvas");
if (canvas) {
  const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31"];
  const SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "star"];
  const LEGEND_AT_MOST = 20;

  // A label's pair of colour and shape comes again only after 42 labels.
  const labels = [...new Set(points.label)].sort();
  const escaped = (text) => {
    const element = document.createElement("span");
    element.textContent = text;
    return element.innerHTML;
  };
  const traces = labels.map((label, number) => {
    const rows = points.label.flatMap((own, row) => (own === label ? [row] : []));
    return {
      type: "scatter",
      mode: "markers",
      name: escaped(label.length > 28 ? `${label.slice(0, 27)}…` : label),
      x: rows.map((row) => points.x[row]),
      y: rows.map((row) => points.y[row]),
      customdata: rows,
      marker: {
        size: 7,
        opacity: 0.8,
        color: COLORS[number % COLORS.length],
        symbol: SYMBOLS[number % SYMBOLS.length],
      },
      hovertemplate: "%{fullData.name}<extra></extra>",
    };
  });
  const ring = {
    type: "scatter",
    mode: "markers",
    x: [],
    y: [],
    showlegend: false,
    hoverinfo: "skip",
    marker: { size: 20, color: "rgba(0,0,0,0)", line: { width: 4, color: "#d55e00" } },
  };
  const hidden = { showgrid: false, zeroline: false, showline: false, showticklabels: false, ticks: "" };
  draw(
    canvas,
    [...traces, ring],
    {
      dragmode: "zoom",
      hovermode: "closest",
      margin: { l: 10, r: 10, t: 36, b: 10 },
      xaxis: { ...hidden },
      yaxis: { ...hidden },
      showlegend: labels.length <= LEGEND_AT_MOST,
      legend: { orientation: "h", y: -0.02, yanchor: "top", x: 0 },
    },
    {
      scrollZoom: true,
      displayModeBar: true,
      modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    },
  );

  // The wheel zooms only once the map is in use; before, it scrolls the page past it.
  canvas.parentElement.addEventListener(
    "wheel",
    (event) => {
      if (!canvas.matches(":focus-within")) event.stopPropagation();
    },
    { capture: true },
  );
  canvas.addEventListener("pointerdown", () => canvas.focus({ preventScroll: true }));

  const photo = document.getElementById("map-photo");
  let at = -1;

  function show(row) {
    const parts = [];
    if (points.picture[row]) {
      const image = document.createElement("img");
      image.src = points.picture[row];
      image.alt = `photo of ${points.label[row]}`;
      parts.push(image);
    }
    const text = document.createElement("div");
    for (const line of [points.label[row], points.file[row]]) {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      text.append(paragraph);
    }
    text.firstChild.style.fontWeight = "600";
    photo.replaceChildren(...parts, text);
  }

  function goTo(row) {
    at = row;
    show(row);
    const place = { x: [[points.x[row]]], y: [[points.y[row]]] };
    Plotly.restyle(canvas, place, [traces.length]);
  }

  canvas.on("plotly_hover", ({ points: [point] }) => show(point.customdata));
  canvas.on("plotly_click", ({ points: [point] }) => goTo(point.customdata));

  // ---- one label ----

  const select = document.getElementById("map-label");
  for (const [number, label] of labels.entries()) {
    select.append(new Option(label, String(number)));
  }
  select.addEventListener("change", () => {
    const chosen = labels.map((_, number) => !select.value || select.value === String(number));
    const every = labels.map((_, number) => number);
    Plotly.restyle(canvas, { "marker.opacity": chosen.map((own) => (own ? 0.9 : 0.08)) }, every);
  });

  // ---- keyboard ----

  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  // The nearest photo within 45 degrees of the way, by what it looks like on the screen.
  function next([right, up]) {
    const { xaxis, yaxis } = canvas._fullLayout;
    const scale = (axis) => axis._length / Math.abs(axis.range[1] - axis.range[0]);
    let best = -1;
    let least = Infinity;
    for (let row = 0; row < points.x.length; row += 1) {
      const x = (points.x[row] - points.x[at]) * scale(xaxis);
      const y = (points.y[row] - points.y[at]) * scale(yaxis);
      const along = x * right + y * up;
      const across = Math.abs(x * up) + Math.abs(y * right);
      const far = along + 2 * across;
      if (row !== at && along > 0 && across <= along && far < least) {
        best = row;
        least = far;
      }
    }
    return best;
  }

  function zoom(factor) {
    const change = {};
    for (const [name, value] of [
      ["xaxis", points.x[Math.max(at, 0)]],
      ["yaxis", points.y[Math.max(at, 0)]],
    ]) {
      const [low, high] = canvas._fullLayout[name].range;
      const half = ((high - low) / 2) * factor;
      change[`${name}.range`] = [value - half, value + half];
    }
    Plotly.relayout(canvas, change);
  }

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in WAYS) {
      const row = at < 0 ? 0 : next(WAYS[event.key]);
      if (row >= 0) goTo(row);
    } else if (event.key === "+") zoom(0.6);
    else if (event.key === "-") zoom(1 / 0.6);
    else if (event.key === "0") {
      Plotly.relayout(canvas, { "xaxis.autorange": true, "yaxis.autorange": true });
    } else return;
    event.preventDefault();
  });
}
