// What the browser alone knows: the theme, the time zone, and how long ago something was.
"use strict";

const dropforge = {
  colour: (name) => getComputedStyle(document.body).getPropertyValue(name).trim(),

  font: () => getComputedStyle(document.body).fontFamily,

  // Charts ask for their colours when they are drawn, so they are drawn anew.
  switchTheme() {
    const theme = document.body.classList.contains("body--dark") ? "light" : "dark";
    document.cookie = `dropforge_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
    location.reload();
  },

  ago(seconds) {
    const [sign, distance] = seconds < 0 ? [1, -seconds] : [-1, seconds];
    for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
      if (distance >= length) return dropforge.relative.format(sign * Math.floor(distance / length), unit);
    }
    return distance < 5 ? "just now" : dropforge.relative.format(sign * Math.floor(distance), "second");
  },

  relative: new Intl.RelativeTimeFormat("en", { numeric: "always", style: "long" }),

  exact: new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" }),

  tellTime(element) {
    const at = new Date(element.getAttribute("datetime"));
    if (Number.isNaN(at.getTime())) return;
    const text = dropforge.ago((Date.now() - at.getTime()) / 1000);
    if (element.textContent !== text) element.textContent = text;
    if (!element.title) element.title = dropforge.exact.format(at);
  },

  duration(seconds) {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
    if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
    return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
  },

  tellLasting(element) {
    const text = `${dropforge.duration(Math.max(0, (Date.now() - new Date(element.dataset.since)) / 1000))} so far`;
    if (element.textContent !== text) element.textContent = text;
  },

  tellTimes() {
    document.querySelectorAll("time.moment").forEach(dropforge.tellTime);
    document.querySelectorAll(".lasting").forEach(dropforge.tellLasting);
  },

  // A chart is made a moment after its element, also where the element has gone by then: NiceGUI 3.18 disposes
  // of what isn't there yet, and not of what comes.
  lateChart: {
    beforeUnmount() {
      if (this.update_chart) this.chart ||= { dispose() {}, isNone: true };
    },
    unmounted() {
      if (!this.chart?.isNone) return;
      this.chart = undefined;
      setTimeout(() => {
        this.resizeObserver?.disconnect();
        this.chart?.dispose();
      });
    },
  },
};
globalThis.dropforge = dropforge;

// A file that misses every place for it must not replace the page in the browser's window.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());

addEventListener("DOMContentLoaded", () => {
  dropforge.tellTimes();
  new MutationObserver(dropforge.tellTimes).observe(document.body, { childList: true, subtree: true });
  setInterval(dropforge.tellTimes, 1000);
});
