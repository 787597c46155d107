// Mermaid lays the graph out once; what happens afterwards only changes classes, so nothing jumps or flickers.
// What it laid out is kept for the tab: runs of one machine look alike, and the layout takes a second.
let queue = Promise.resolve();

const CONFIG = {
  startOnLoad: false,
  securityLevel: "strict",
  theme: "base",
  fontSize: 13,
  htmlLabels: false,
  flowchart: { htmlLabels: false, nodeSpacing: 22, rankSpacing: 30, padding: 9, curve: "basis", useMaxWidth: false },
};

const KEPT = "dropforge-graphs";
const MOST_KEPT = 6;
// Of its own size a graph is at first no smaller than this.
const READABLE = 0.75;

async function drawn(content) {
  const key = JSON.stringify([import.meta.resolve("nicegui-mermaid"), CONFIG, dropforge.font(), content]);
  const kept = JSON.parse(sessionStorage.getItem(KEPT) || "[]");
  const found = kept.find(([each]) => each === key);
  if (found) return found[1];
  const { mermaid } = await import("nicegui-mermaid");
  mermaid.initialize({ ...CONFIG, themeVariables: { fontFamily: dropforge.font(), fontSize: "13px" } });
  await document.fonts.ready;
  const { svg } = await mermaid.render(`state-graph-${Date.now()}`, content);
  try {
    sessionStorage.setItem(KEPT, JSON.stringify([[key, svg], ...kept].slice(0, MOST_KEPT)));
  } catch {
    sessionStorage.removeItem(KEPT); // there is no room: it is laid out anew each time
  }
  return svg;
}

export default {
  template: `
    <div class="state-graph-view">
      <div class="zoom" role="group" aria-label="Size of the graph">
        <button type="button" class="icon-button" aria-label="Smaller" @click="zoom(scale / STEP)">\u2212</button>
        <button type="button" class="icon-button" aria-label="Larger" @click="zoom(scale * STEP)">+</button>
        <button type="button" class="icon-button wide" @click="fit">Fit</button>
      </div>
      <div class="graph-frame" @wheel="turn"><div class="state-graph" role="group" :aria-label="label"></div></div>
    </div>`,
  data: () => ({ scale: 1, STEP: 1.25 }),
  props: { content: String, label: String, names: Array, states: Object, taken: Array, selected: Number },
  mounted() {
    this.draw();
  },
  watch: {
    content() {
      this.draw();
    },
    states: { deep: true, handler: "paint" },
    taken: { deep: true, handler: "paint" },
    selected: "paint",
  },
  methods: {
    draw() {
      // Mermaid draws one diagram at a time, and measures text, so the font has to be there.
      queue = queue.then(async () => {
        const svg = await drawn(this.content);
        if (!this.$el) return;
        this.graph().innerHTML = svg;
        if (!this.drawnBefore) this.zoom(Math.max(READABLE, Math.min(1, this.share())));
        else this.zoom(this.scale);
        this.drawnBefore = true;
        this.nodes().forEach(([number, node]) => this.makeButton(number, node));
        this.paint();
        this.reveal();
      });
    },
    graph() {
      return this.$el.querySelector(".state-graph");
    },
    // Sizes as they are laid out; what stands in the middle stays there.
    zoom(scale) {
      const [svg, frame] = [this.graph().querySelector("svg"), this.graph().parentElement];
      if (!svg) return;
      const before = [frame.scrollWidth, frame.scrollHeight];
      const middle = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
      this.scale = Math.min(3, Math.max(0.15, scale));
      svg.setAttribute("width", svg.viewBox.baseVal.width * this.scale);
      svg.setAttribute("height", svg.viewBox.baseVal.height * this.scale);
      frame.scrollLeft = (middle[0] / before[0]) * frame.scrollWidth - frame.clientWidth / 2;
      frame.scrollTop = (middle[1] / before[1]) * frame.scrollHeight - frame.clientHeight / 2;
    },
    fit() {
      const tallest = parseFloat(getComputedStyle(this.graph().parentElement).maxHeight);
      const height = this.graph().querySelector("svg")?.viewBox.baseVal.height;
      if (height) this.zoom(Math.min(this.share(), (tallest - 24) / height, 1));
    },
    // How much of its own width the graph has room for.
    share() {
      return (this.graph().parentElement.clientWidth - 32) / this.graph().querySelector("svg").viewBox.baseVal.width;
    },
    turn(event) {
      if (!event.ctrlKey) return; // without it the wheel scrolls, as everywhere
      event.preventDefault();
      this.zoom(this.scale * (event.deltaY < 0 ? this.STEP : 1 / this.STEP));
    },
    nodes() {
      return [...this.$el.querySelectorAll("g.node")].map((node) => {
        const match = /flowchart-s(\d+)-\d+$/.exec(node.id);
        return [Number(match[1]), node];
      });
    },
    makeButton(number, node) {
      node.setAttribute("tabindex", "0");
      node.setAttribute("role", "button");
      node.addEventListener("click", () => this.$emit("select", number));
      node.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        this.$emit("select", number);
      });
    },
    paint() {
      for (const [number, node] of this.nodes()) {
        const state = this.states[number] || { tone: "", words: "not reached" };
        node.dataset.tone = state.tone;
        node.classList.toggle("selected", number === this.selected);
        node.setAttribute("aria-pressed", String(number === this.selected));
        node.setAttribute("aria-label", `${this.names[number]}: ${state.words}`);
      }
      for (const path of this.$el.querySelectorAll("path.flowchart-link")) {
        path.classList.toggle("taken", this.taken.some((step) => path.id.includes(`L_${step}_`)));
      }
      this.reveal();
    },
    // Keep what happens now, or where it failed, in sight, without taking the page along.
    reveal() {
      const at =
        this.$el.querySelector('g.node[data-tone="run"], g.node[data-tone="warn"]') ||
        this.$el.querySelector('g.node[data-tone="caught"], g.node[data-tone="bad"]');
      const frame = this.graph().parentElement;
      if (!at || this.revealed === at.id) return;
      this.revealed = at.id;
      const [inner, outer] = [at.getBoundingClientRect(), frame.getBoundingClientRect()];
      frame.scrollTop += inner.top + inner.height / 2 - outer.top - outer.height / 2;
      frame.scrollLeft += inner.left + inner.width / 2 - outer.left - outer.width / 2;
    },
  },
};
