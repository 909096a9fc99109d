// Draws the charts of the overview from the table below them; without scripts the table is what there is.
// The library that draws is fetched when the first chart comes near the window.
(function () {
  "use strict";

  var address = document.currentScript.dataset.uplot;
  var library = null;

  var steps = [];
  for (var size = 1; size < 1e15; size *= 10) { steps.push(size, 2 * size, 5 * size); }
  var short = new Intl.NumberFormat("en", { notation: "compact" });
  var drawn = [];

  function drawAll() {
    drawn = drawn.filter(function (chart) {
      var there = chart.root.isConnected;
      if (!there) { chart.destroy(); }
      return there;
    });
    waiting().forEach(function (place) {
      place.hidden = false;
      near.observe(place);
    });
  }

  function waiting() {
    return Array.from(document.querySelectorAll(".chart-plot:empty"));
  }

  function loadLibrary() {
    library = library || new Promise(function (resolve, reject) {
      var script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = reject;
      document.head.appendChild(script);
    });
    return library;
  }

  var near = new IntersectionObserver(function (entries) {
    if (!entries.some(function (entry) { return entry.isIntersecting; })) { return; }
    near.disconnect();
    loadLibrary().then(function () {
      waiting().forEach(function (place) {
        drawn.push(draw(place, read(place)));
        resized.observe(place);
      });
    }, function () {
      waiting().forEach(function (place) { place.hidden = true; });
    });
  }, { rootMargin: "200px" });

  // The columns of the table that a chart shows: one stands on the other.
  function read(place) {
    var table = place.closest(".activity").querySelector("table");
    var rows = Array.from(table.tBodies[0].rows);
    var columns = place.dataset.columns.split(" ").map(function (at) {
      var cells = rows.map(function (row) { return row.cells[at].firstElementChild; });
      return {
        name: table.tHead.rows[0].cells[at].textContent,
        words: cells.map(function (cell) { return cell.textContent; }),
        values: cells.map(function (cell) { return Number(cell.value); }),
      };
    });
    return {
      columns: columns,
      short: rows.map(function (row) { return row.cells[0].dataset.short; }),
      when: rows.map(function (row) { return row.cells[0].dataset.when; }),
    };
  }

  function draw(place, told) {
    var count = told.when.length;
    var every = count > 24 ? 7 : 6;
    var tip = document.createElement("div");
    tip.className = "chart-tip";

    function colour(name) {
      return function () { return getComputedStyle(place).getPropertyValue(name).trim(); };
    }
    function bars(at) {
      return {
        fill: colour("--chart-" + (at + 1)),
        width: 0,
        paths: uPlot.paths.bars({ size: [0.7, 22], radius: [0.2, 0] }),
        points: { show: false },
      };
    }
    function piled(at) {
      return told.when.map(function (_, row) {
        return told.columns.slice(0, at + 1).reduce(function (sum, column) { return sum + column.values[row]; }, 0);
      });
    }
    function say(chart) {
      var row = chart.cursor.idx;
      tip.hidden = row === null || row === undefined || chart.cursor.left < 0;
      if (tip.hidden) { return; }
      tip.textContent = [told.when[row]].concat(told.columns.map(function (column) {
        return column.name + ": " + column.words[row];
      })).join("\n");
      var left = chart.valToPos(row, "x") - tip.offsetWidth / 2;
      tip.style.left = Math.max(0, Math.min(left, chart.over.clientWidth - tip.offsetWidth)) + "px";
    }

    // The highest pile is drawn first, and the lower ones over it.
    var piles = told.columns.map(function (_, at) { return at; }).reverse();
    var words = { stroke: colour("--chart-words"), font: "12px " + getComputedStyle(place).fontFamily };
    var chart = new uPlot({
      width: place.clientWidth,
      height: place.clientHeight,
      padding: [8, 20, 0, 0],
      legend: { show: false },
      select: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: [-0.6, count - 0.4] },
        y: { range: function (_, _low, high) { return [0, 1.05 * Math.max(1, high)]; } },
      },
      series: [{}].concat(piles.map(bars)),
      axes: [
        Object.assign({
          size: 26,
          gap: 6,
          grid: { show: false },
          ticks: { show: false },
          splits: told.when.map(function (_, row) { return row; }).filter(function (row) {
            return (count - 1 - row) % every === 0;
          }),
          values: function (_, rows) { return rows.map(function (row) { return told.short[row]; }); },
        }, words),
        Object.assign({
          size: 38,
          gap: 6,
          space: 22,
          incrs: steps,
          grid: { stroke: colour("--chart-line"), width: 1 },
          ticks: { show: false },
          values: function (_, values) { return values.map(function (value) { return short.format(value); }); },
        }, words),
      ],
      hooks: { setCursor: [say] },
    }, [told.when.map(function (_, row) { return row; })].concat(piles.map(piled)), place);
    tip.hidden = true;
    chart.over.appendChild(tip);
    return chart;
  }

  function redrawAll() {
    drawn.forEach(function (chart) { chart.redraw(false); });
  }

  var resized = new ResizeObserver(function () {
    drawn.forEach(function (chart) {
      var place = chart.root.parentNode;
      if (place && place.clientWidth && place.clientWidth !== chart.width) {
        chart.setSize({ width: place.clientWidth, height: place.clientHeight });
      }
    });
  });
  // The colours change with the theme, and letters when their font has arrived.
  new MutationObserver(redrawAll).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  document.fonts.ready.then(redrawAll);
  document.addEventListener("htmx:afterSwap", drawAll);
  document.addEventListener("htmx:load", drawAll);
  drawAll();
})();
