// Draws the charts. The data comes from the page itself; nothing is fetched.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = getComputedStyle(document.documentElement);
  const color = (name) => css.getPropertyValue(`--${name}`).trim();
  const colors = ["one", "two", "three", "four", "five", "six"].map(color);
  const height = 240;

  const short = (v) => v == null ? "" : v >= 1e6 ? `${+(v / 1e6).toPrecision(3)}m`
    : v >= 1e4 ? `${+(v / 1e3).toPrecision(3)}k` : `${+v.toPrecision(4)}`;
  const seconds = (v) => v == null ? "" : `${+v.toPrecision(4)} s`;
  // An x of 100 stands for one in a hundred: the 99th percentile.
  const percentile = (v) => v == null ? "" : `${+(100 - 100 / v).toFixed(4)} %`;
  const positive = (values) => values.map((v) => v > 0 ? v : null);

  const axis = (more) => ({
    stroke: color("faint"), grid: { stroke: color("line"), width: 1 },
    ticks: { stroke: color("line"), width: 1 }, ...more,
  });

  // draw makes a chart of lines: a name with its values each.
  function draw(id, x, lines, { log = false, xLog = false, xValue = seconds }) {
    const figure = document.getElementById(id);
    if (lines.length === 0 || x.length === 0) {
      figure.remove();
      return;
    }
    const width = () => figure.clientWidth - 24;
    const tick = (u, splits) => splits.map((v) => v == null ? "" : short(v));
    const chart = new uPlot({
      width: width(), height,
      scales: { x: { time: false, distr: xLog ? 3 : 1 }, y: { distr: log ? 3 : 1,
        range: log ? undefined : (u, low, high) => [0, Math.max(high * 1.05, 1)] } },
      axes: [
        axis({ values: (u, splits) => splits.map((v) => v == null ? "" : xValue(v)), size: 40,
          space: xLog ? 60 : 50 }),
        axis({ values: tick, size: 56 }),
      ],
      series: [{ label: xLog ? "percentile" : "at", value: (u, v) => xValue(v) }, ...lines.map(([label, values, width], i) => ({
        label, stroke: colors[i % colors.length], width: width ?? 2, spanGaps: true,
        points: { show: values.filter((v) => v != null).length < 30, size: 5 },
        value: (u, v) => short(v),
      }))],
    }, [x, ...lines.map(([, values]) => values)], figure);
    addEventListener("resize", () => chart.setSize({ width: width(), height }));
  }

  const at = data.series.map((p) => p.at);
  const column = (name) => data.series.map((p) => p[name]);
  const ms = (name) => positive(column(name)).map((v) => v && v / 1000);
  const any = (lines) => lines.filter(([, values]) => values.some((v) => v));
  draw("throughput", at, any([["sent", column("sent")], ["received", column("received")]]), {});
  draw("latency", at, any([["p50", ms("p50_us")], ["p99", ms("p99_us")], ["max", ms("max_us")]]),
    { log: true });
  draw("percentiles", data.ranks, data.percentiles.map((l) => [l.name, l.us.map((v) => v && v / 1000)]),
    { log: true, xLog: true, xValue: percentile });
  draw("connections", at, [["connections", column("connections")],
    ...any([["errors", column("errors")]])], {});
})();
