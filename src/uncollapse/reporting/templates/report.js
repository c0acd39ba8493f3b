"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const template = () => {
    const axis = {
      gridcolor: css("--grid"), linecolor: css("--rule"), tickcolor: css("--rule"), zerolinecolor: css("--rule"),
      ticks: "outside", ticklen: 4, showline: true, zeroline: false, fixedrange: true,
    };
    const hover = { bgcolor: css("--raised"), bordercolor: css("--rule"), font: { color: css("--ink"), size: 13 }, align: "left" };
    const font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--soft") };
    return {
      layout: {
        font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hoverlabel: hover,
        xaxis: axis, yaxis: { ...axis, showline: false, ticks: "" },
      },
      data: { scatter: [{ textfont: { color: css("--ink") } }] },
    };
  };

  const options = { responsive: true, displaylogo: false, displayModeBar: false, showTips: false, typesetMath: false };

  const breath = () => new Promise((resume) => setTimeout(resume));
  let round = 0;

  /* One figure after the other with a breath between them, so that a page of many tasks answers while it draws. */
  const draw = async () => {
    const mine = ++round;
    const theme = template();
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
      Plotly.react(place, figure.data, { ...figure.layout, template: theme }, options);
      await breath();
      if (mine !== round) return;
    }
  };

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
