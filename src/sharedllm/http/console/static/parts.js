// What several views are made of. Text of people, models and files is only ever a child of an element, never markup.

import { html, useLayoutEffect as useEffect, useRef, useState } from "./vendor/htm-preact.js";

export * from "./vendor/htm-preact.js";
// An effect has run before anybody sees what it belongs to. Later, on a busy machine, it took the focus from who had
// begun to type, and a click before it went unheard.
export { html, useEffect };

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

// Runs work, and holds whether any is under way and what went wrong with what was begun last.
export function useWork() {
  const [state, set] = useState({ busy: false, error: null });
  const begun = useRef(0);
  const going = useRef(0);
  const run = async (work) => {
    const turn = ++begun.current;
    let error = null;
    going.current += 1;
    set({ busy: true, error: null });
    try {
      return await work();
    } catch (caught) {
      error = caught;
      return undefined;
    } finally {
      going.current -= 1;
      // What was begun before and ends now takes nothing back that was said since.
      set((now) => ({ busy: going.current > 0, error: turn === begun.current ? error : (now.error ?? error) }));
    }
  };
  return { ...state, run };
}

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export function Confirm({ label, hint, word, act, busy }) {
  const [typed, set] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (typed === word) act();
  };
  return html`<form onSubmit=${submit}>
    <${Field} id="confirm" label=${label} hint=${hint}>
      <input id="confirm" autocomplete="off" spellcheck="false" dir="auto" aria-describedby=${hint && "confirm-hint"}
        value=${typed} onInput=${(event) => set(event.target.value)} />
    <//>
    <button class="danger" disabled=${busy || typed !== word}>Erase me</button>
  </form>`;
}

export const number = new Intl.NumberFormat("en");
export const date = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

export function minutes(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  return whole < 90 ? `about ${whole} second${whole === 1 ? "" : "s"}` : `about ${Math.round(seconds / 60)} minutes`;
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
