"use strict";
// The charts of the first page, drawn by uPlot from the JSON that the page holds.
(() => {
  const HEIGHT = 260;
  let drawn = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--plot-${name}`).trim();
  const whole = (value) => (value == null ? "–" : value.toLocaleString());
  const spoken = (seconds) => {
    if (seconds == null) return "–";
    if (seconds < 120) return `${seconds} s`;
    if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
    return `${Math.round(seconds / 3600)} h`;
  };
  const pad = (number) => String(number).padStart(2, "0");
  const clock = (date) => `${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${pad(date.getHours())}:${pad(date.getMinutes())}`;

  const axis = (more) => ({
    stroke: colour("text"), grid: { stroke: colour("grid"), width: 1 },
    ticks: { stroke: colour("grid"), width: 1 }, ...more,
  });
  const options = (place, data, more) => ({
    width: place.clientWidth, height: HEIGHT,
    tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), data.zone),
    legend: { live: true },
    cursor: { drag: { x: false, y: false } },
    ...more,
  });
  const times = (data) => ({
    label: data.time,
    value: (plot, stamp) => (stamp == null ? "–" : clock(uPlot.tzDate(new Date(stamp * 1000), data.zone))),
  });
  const days = [
    [86400, "{MM}-{DD}", null, null, null, null, null, null, 1],
    [3600, "{HH}:{mm}", "\n{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  ];

  // Each bar reaches from the ground to the sum of all below it; the tallest is drawn first. One
  // that adds nothing is not drawn: its edges would shine through those of the next.
  const stacked = (place, data) => {
    const sums = data.hours.map(() => 0);
    const groups = data.groups.map((group) => ({
      ...group, tops: group.values.map((value, hour) => { sums[hour] += value; return value ? sums[hour] : null; }),
    })).reverse();
    const bars = uPlot.paths.bars({ size: [0.8, 40], align: 1 });
    return new uPlot(options(place, data, {
      scales: { x: { range: (plot, from, to) => [from, to + 3600] },
                y: { range: (plot, from, to) => [0, Math.max(4, (to ?? 0) * 1.05)] } },
      axes: [axis({ values: days, space: 60 }),
             axis({ size: 60, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6],
                    values: (plot, ticks) => ticks.map((tick) => tick.toLocaleString(undefined, { notation: "compact" })) })],
      series: [times(data), ...groups.map((group) => ({
        label: group.label, fill: colour(group.name), stroke: colour(group.name), width: 0,
        paths: bars, points: { show: false },
        value: (plot, top, series, index) => (index == null ? "–" : whole(group.values[index])),
      }))],
    }), [data.hours, ...groups.map((group) => group.tops)], place);
  };

  const lines = (place, data) => new uPlot(options(place, data, {
    scales: { x: { range: (plot, from, to) => [from, to + 3600] }, y: { distr: 3, range: (plot, from, to) => [Math.min(1, from ?? 1), Math.max(60, (to ?? 1) * 1.5)] } },
    axes: [axis({ values: days, space: 60 }),
           axis({ size: 60, splits: () => [1, 3, 10, 30, 60, 300, 1200, 3600, 14400, 43200, 108000],
                  filter: (plot, splits) => splits.map((s) => (s <= plot.scales.y.max ? s : null)),
                  values: (plot, ticks) => ticks.map((tick) => (tick == null ? "" : spoken(tick))) })],
    series: [times(data), ...data.speeds.map((speed) => ({
      label: speed.label, stroke: colour(speed.name), width: 2, spanGaps: false,
      points: { show: true, size: 5, fill: colour(speed.name) }, value: (plot, value) => spoken(value),
    }))],
  }), [data.hours, ...data.speeds.map((speed) => speed.values)], place);

  const say = (place, text) => place.append(Object.assign(
    document.createElement("p"), { className: "text-secondary text-center py-5 mb-0", textContent: text }));

  const draw = () => {
    drawn.forEach((plot) => plot.destroy());
    drawn = [];
    const held = document.getElementById("plot-data");
    if (!held) return;
    const data = JSON.parse(held.textContent);
    [["plot-status", stacked, data.groups], ["plot-speed", lines, data.speeds]].forEach(([id, make, rows]) => {
      const place = document.getElementById(id);
      place.replaceChildren();
      if (typeof uPlot === "undefined") {
        say(place, data.missing);
      } else if (rows.some((row) => row.values.some((value) => value))) {
        drawn.push(make(place, data));
      } else {
        say(place, data.none);
      }
      place.dataset.drawn = "yes";
    });
  };

  let waiting;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
  document.addEventListener("page:changed", draw);
  draw();
})();
