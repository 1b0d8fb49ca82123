// What the base and one's own release each thought of every token that was said.

import { html, percent, useRef, useState } from "./parts.js";

const STEPS = [0.7, 2];

// From -2, where the base thought much more of it, to 2.
function strength({ logprob_base, logprob_adapter }) {
  const nats = logprob_adapter - logprob_base;
  return Math.sign(nats) * STEPS.filter((step) => Math.abs(nats) >= step).length;
}

function said({ token, logprob_base, logprob_adapter }) {
  const ratio = Math.exp(logprob_adapter - logprob_base);
  const times = ratio >= 1 ? `${ratio.toFixed(1)} times as likely` : `${(1 / ratio).toFixed(1)} times less likely`;
  return html`<bdi dir="auto">“${token}”</bdi>: the base gave it ${percent(Math.exp(logprob_base))}, yours${" "}
    ${percent(Math.exp(logprob_adapter))}. Your release made it ${times}.`;
}

export function Tokens({ box }) {
  const [at, set] = useState(0);
  const group = useRef();
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -box.length, End: box.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(box.length - 1, at + step));
    set(next);
    group.current.children[next].focus();
  };
  return html`<details class="tokens">
    <summary>What each contributed</summary>
    <p class="small">Blue is what your release made likelier, orange what it made less likely. Touch a token, or go through them
      with the arrow keys.</p>
    <div role="group" aria-label="Tokens" ref=${group} onKeyDown=${move} dir="auto">
      ${box.map((each, place) => html`<button type="button" key=${place} class="token t${strength(each)}"
        tabindex=${place === at ? 0 : -1} aria-pressed=${place === at ? "true" : "false"} onClick=${() => set(place)}>${each.token}</button>`)}
    </div>
    <p role="status">${box[at] && said(box[at])}</p>
  </details>`;
}
