// Values under the pointer. Everything else of the page works without this.
"use strict";
(() => {
  const tip = document.getElementById("tip");
  const SVG = "http://www.w3.org/2000/svg";

  const nearest = (places, wanted) => {
    let best = 0;
    for (let index = 1; index < places.length; index += 1) {
      if (Math.abs(places[index] - wanted) < Math.abs(places[best] - wanted)) best = index;
    }
    return best;
  };

  const show = (svg, points, event) => {
    const box = svg.getBoundingClientRect();
    const width = svg.viewBox.baseVal.width;
    const { left, right, top, bottom } = svg.dataset;
    const x = ((event.clientX - box.left) / box.width) * width;
    const index = nearest(points.places, (x - left) / (right - left));
    const at = Number(left) + points.places[index] * (right - left);
    const pointer = svg.querySelector(".pointer");
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of [["x1", at], ["x2", at], ["y1", top], ["y2", bottom]]) {
      line.setAttribute(name, value);
    }
    pointer.replaceChildren(line);
    const head = document.createElement("b");
    head.textContent = points.labels[index];
    tip.replaceChildren(head);
    for (const series of points.series) {
      if (series.values[index] === "") continue;
      const row = document.createElement("div");
      row.textContent = `${series.name}: ${series.values[index]}`;
      tip.append(row);
    }
    tip.hidden = false;
    const beside = event.clientX + 16;
    const fits = beside + tip.offsetWidth < document.documentElement.clientWidth - 8;
    tip.style.left = `${fits ? beside : Math.max(8, event.clientX - tip.offsetWidth - 16)}px`;
    tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
  };

  for (const figure of document.querySelectorAll(".chart")) {
    const source = figure.querySelector("script");
    if (!source) continue;
    const points = JSON.parse(source.textContent);
    for (const svg of figure.querySelectorAll("svg")) {
      svg.addEventListener("pointermove", (event) => show(svg, points, event));
      svg.addEventListener("pointerleave", () => {
        tip.hidden = true;
        svg.querySelector(".pointer").replaceChildren();
      });
    }
  }
})();
