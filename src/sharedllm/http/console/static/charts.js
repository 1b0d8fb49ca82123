// Live charts of the server, drawn from what /metrics tells: lines over the last samples, in SVG without any style of its own.

import { html, number } from "./parts.js";

const SAMPLES = 60;
const WIDTH = 300;
const HEIGHT = 60;

// The samples of Prometheus' text that have no labels, by name.
export function parsed(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const [, name, value] = /^sharedllm_(\w+) (\S+)$/.exec(line) ?? [];
    if (name) found[name] = Number(value);
  }
  return found;
}

// What was sampled, with one more; only the newest are kept.
export function sampled(samples, at, told) {
  const before = samples.at(-1);
  const tokens = (told.new_tokens_total ?? 0) + (told.prompt_tokens_total ?? 0);
  const rate = before && at > before.at ? Math.max(0, (1000 * (tokens - before.tokens)) / (at - before.at)) : 0;
  return [...samples, { at, tokens, rate, ...told }].slice(-SAMPLES);
}

function points(values, most) {
  const step = WIDTH / (SAMPLES - 1);
  const from = SAMPLES - values.length;
  return values.map((value, i) => `${((from + i) * step).toFixed(1)},${(HEIGHT - (HEIGHT * value) / most).toFixed(1)}`).join(" ");
}

function Chart({ title, samples, value, room, unit }) {
  const values = samples.map((each) => each[value] ?? 0);
  const now = values.at(-1) ?? 0;
  const bound = room && samples.at(-1)?.[room];
  const most = Math.max(1, bound || 0, ...values);
  const said = `${number.format(Math.round(now))}${bound ? ` of ${number.format(bound)}` : ""} ${unit}`;
  return html`<figure>
    <figcaption><strong>${title}</strong> ${said}</figcaption>
    <svg class="live" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${title}: ${said}">
      <line class="floor" x1="0" y1=${HEIGHT} x2=${WIDTH} y2=${HEIGHT} />
      ${bound ? html`<line class="bound" x1="0" y1=${HEIGHT - (HEIGHT * bound) / most} x2=${WIDTH} y2=${HEIGHT - (HEIGHT * bound) / most} />` : null}
      <polyline class="line" points=${points(values, most)} />
    </svg>
  </figure>`;
}

export function Charts({ samples }) {
  return html`<div class="charts">
    <${Chart} title="Answers being written" samples=${samples} value="running" unit="requests" />
    <${Chart} title="In the queue" samples=${samples} value="waiting" unit="requests" />
    <${Chart} title="Read and written" samples=${samples} value="rate" unit="tokens a second" />
    <${Chart} title="Adapters on the device" samples=${samples} value="table_rows" room="table_room" unit="rows" />
    <${Chart} title="Cache of keys and values" samples=${samples} value="cache_tokens" room="cache_room" unit="tokens" />
  </div>`;
}
