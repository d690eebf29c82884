"use strict";
// Draws the interactive figures over the printed ones. Without this script, or where it fails, the printed ones stay.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const narrow = matchMedia("(max-width: 44rem)");
  const touch = matchMedia("(pointer: coarse)");
  const options = { displayModeBar: false, responsive: true, typesetMath: false };

  const draw = async () => {
    const chosen = charts[document.querySelector("input[name=loss]:checked").value];
    for (const [name, chart] of Object.entries(chosen)) {
      const layout = structuredClone(narrow.matches ? chart.narrow : chart.wide);
      layout.dragmode = touch.matches ? false : "zoom"; // a finger scrolls
      await Plotly.react(`screen-${name}`, structuredClone(chart.data), layout, options);
    }
  };
  const drawOrPrint = () => draw().catch((error) => {
    document.documentElement.classList.remove("live");
    throw error;
  });

  document.documentElement.classList.add("live"); // before drawing: what is hidden has no width
  for (const input of document.querySelectorAll("input[name=loss]")) input.addEventListener("change", drawOrPrint);
  narrow.addEventListener("change", drawOrPrint);
  drawOrPrint();
})();
