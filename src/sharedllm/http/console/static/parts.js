// What several views are made of. Text of people, models and files is only ever a child of an element, never markup.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";

export { html };
export * from "./vendor/htm-preact.js";

export function Problem({ error, children }) {
  if (!error) return null;
  return html`<p class="problem" role="alert"><bdi dir="auto">${error.message ?? String(error)}</bdi>${children}</p>`;
}

export function Field({ label, hint, id, children }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children}
    ${hint && html`<p class="small" id="${id}-hint">${hint}</p>`}
  </div>`;
}

// A heading that takes the focus when its view comes up, so that a screen reader begins there.
export function Title({ children }) {
  const place = useRef();
  useEffect(() => place.current.focus(), []);
  return html`<h1 tabindex="-1" ref=${place}>${children}</h1>`;
}

// Runs `work` one at a time, and holds what went wrong and whether it runs.
export function useWork() {
  const [state, set] = useState({ busy: false, error: null });
  const run = async (work) => {
    set({ busy: true, error: null });
    try {
      const done = await work();
      set({ busy: false, error: null });
      return done;
    } catch (error) {
      set({ busy: false, error });
      return undefined;
    }
  };
  return { ...state, run };
}

export const number = new Intl.NumberFormat("en");
export const date = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
