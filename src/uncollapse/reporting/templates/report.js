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
    };
  };

  const options = { responsive: true, displaylogo: false, displayModeBar: false, showTips: false };

  const draw = () => {
    const theme = template();
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
      Plotly.react(place, figure.data, { ...figure.layout, template: theme }, options);
    }
  };

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
