// Takes files by dragging them anywhere onto the window, by clicking and by keyboard, and tells how far each has
// come. One that stands `apart` is seen only while files are dragged, and from then on with those it was given.
export default {
  template: `
    <div class="drop-zone" :class="{over, apart, idle: apart && !over && !files.length}">
      <label class="drop-label" :for="inputId">
        <span class="drop-title">{{ apart ? "Drop files to train on them" : "Drop files anywhere" }}, or <span class="drop-choose">choose them</span></span>
        <span class="dim">CSV, JSON lines or Parquet; plain or compressed, up to {{ told(largest) }} each. A run starts by itself.</span>
      </label>
      <input :id="inputId" class="drop-input" type="file" multiple @change="chosen" />
      <ul v-if="files.length" class="drop-files" aria-live="polite">
        <li v-for="file in files" :key="file.id" class="drop-file">
          <span class="drop-name">{{ file.name }}</span>
          <span class="dim number">{{ told(file.size) }}</span>
          <span :class="file.error ? 'drop-error' : 'dim'" :role="file.error ? 'alert' : null">{{ file.error || file.words }}</span>
          <progress v-if="!file.done" :value="file.part" max="1" :aria-label="'Upload of ' + file.name"></progress>
        </li>
      </ul>
    </div>`,
  props: { url: String, largest: Number, apart: Boolean },
  data: () => ({ over: false, files: [], busy: false, next: 0 }),
  computed: {
    inputId() {
      return `drop-input-${this.$.uid}`;
    },
  },
  mounted() {
    this.listeners = {
      dragenter: (event) => (this.over = this.carries(event)),
      // Left is the window, not one of its parts, where nothing is entered.
      dragleave: (event) => event.relatedTarget === null && (this.over = false),
      drop: this.dropped,
    };
    for (const [kind, listen] of Object.entries(this.listeners)) window.addEventListener(kind, listen);
  },
  unmounted() {
    for (const [kind, listen] of Object.entries(this.listeners)) window.removeEventListener(kind, listen);
  },
  methods: {
    carries(event) {
      return Boolean(event.dataTransfer?.types.includes("Files"));
    },
    told(bytes) {
      const units = ["B", "KiB", "MiB", "GiB"];
      let unit = 0;
      while (bytes >= 1024 && unit < units.length - 1) [bytes, unit] = [bytes / 1024, unit + 1];
      return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
    },
    dropped(event) {
      this.over = false;
      if (this.carries(event)) this.add(event.dataTransfer.files);
    },
    chosen(event) {
      this.add(event.target.files);
      event.target.value = "";
    },
    async add(files) {
      for (const file of files) {
        this.files.push({ id: this.next++, name: file.name, size: file.size, file, part: 0, words: "waits", error: "", done: false });
      }
      if (this.busy) return;
      this.busy = true;
      const receipts = [];
      for (let item; (item = this.files.find((each) => !each.done)); ) {
        const receipt = await this.send(item);
        item.done = true;
        if (receipt) receipts.push(receipt);
      }
      this.busy = false;
      if (receipts.length) this.$emit("uploaded", receipts);
    },
    send(item) {
      if (item.size > this.largest) {
        item.error = `The file is larger than ${this.told(this.largest)}. Send it with 'dropforge drop FILE'.`;
        return null;
      }
      item.words = "is sent";
      return new Promise((resolve) => {
        const request = new XMLHttpRequest();
        request.open("POST", `${this.url}?name=${encodeURIComponent(item.name)}`);
        // Half of the way leads to the console, the other half from there to S3.
        request.upload.onprogress = (event) => (item.part = (0.5 * event.loaded) / (event.total || 1));
        request.onprogress = () => this.told_by(item, this.last(request));
        request.onerror = () => {
          item.error = "The console doesn't answer. Does it still run? A folder can't be sent, only files.";
          resolve(null);
        };
        request.onload = () => {
          const answer = this.last(request);
          item.part = 1;
          item.words = answer.uri ? `is at ${answer.uri}` : "";
          item.error = answer.uri ? "" : answer.error || `The console answered ${request.status}.`;
          resolve(answer.receipt || null);
        };
        request.send(item.file);
      });
    },
    told_by(item, answer) {
      if ("sent" in answer) item.part = 0.5 + (0.5 * answer.sent) / (item.size || 1);
    },
    last(request) {
      const lines = request.responseText.split("\n").filter((line) => line);
      for (const line of lines.reverse()) {
        try {
          return JSON.parse(line);
        } catch {
          continue; // a line that has only come in part
        }
      }
      return {};
    },
  },
};
