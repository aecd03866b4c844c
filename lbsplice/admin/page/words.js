// How things are made and said: elements, numbers, times, sparklines. Text is set as text,
// never as markup. The other scripts use all of it.
"use strict";

const HISTORY = 60; // as many points as a sparkline has
const FEWEST = 3; // points that make a line

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
// Set only what is different: an unchanged page is not laid out again.
function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

// ---- words ----

function short(number) {
  for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (number >= size * 10) return `${Math.round(number / size)}${unit}`;
    if (number >= size) return `${(number / size).toFixed(1)}${unit}`;
  }
  return String(Math.round(number));
}

function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${Math.floor(seconds / 60) % 60}m`;
  return `${Math.floor(seconds / 86400)}d ${Math.floor(seconds / 3600) % 24}h`;
}

const two = (number) => String(number).padStart(2, "0");

// The time of day; the date before it unless that is today's.
function moment(seconds) {
  const at = new Date(seconds * 1000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

function plural(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

// ---- sparklines ----

function spark() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 76 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(space, "polygon"), document.createElementNS(space, "polyline"));
  return svg;
}

function draw(svg, points) {
  if (points.length < FEWEST) return;
  const most = Math.max(1, ...points);
  const step = 76 / (HISTORY - 1);
  const from = 76 - (points.length - 1) * step;
  const line = points
    .map((value, index) => `${(from + index * step).toFixed(1)},${(19 - (18 * value) / most).toFixed(1)}`)
    .join(" ");
  svg.lastChild.setAttribute("points", line);
  svg.firstChild.setAttribute("points", `${from.toFixed(1)},20 ${line} 76,20`);
}
