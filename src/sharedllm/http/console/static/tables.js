// What an operator's views share: tables that come in pages, files that are dropped, and work that repeats while it is seen.

import { html, useEffect, useRef, useState } from "./parts.js";

export const PAGE = 100;

export function Table({ label, columns, children }) {
  return html`<div class="scroll" role="region" aria-label=${label} tabindex="0">
    <table class="list">
      <thead><tr>${columns.map((each) => html`<th key=${each} scope="col">${each}</th>`)}</tr></thead>
      <tbody>${children}</tbody>
    </table>
  </div>`;
}

// Pages that are fetched one by one. `fetchPage(after, signal)` gives `{ rows, next }`; `after` is undefined for the first.
// Whatever `asked` holds begins again where it changes.
export function usePages(fetchPage, asked) {
  const [state, set] = useState({ rows: [], next: null, busy: true });
  const [at, go] = useState({ asked, trail: [undefined], again: 0 });
  const here = at.asked === asked ? at : { asked, trail: [undefined], again: 0 };
  const after = here.trail.at(-1);
  useEffect(() => {
    const controller = new AbortController();
    set((now) => ({ ...now, busy: true, error: null }));
    fetchPage(after, controller.signal).then(
      (page) => set({ ...page, busy: false }),
      (error) => error.name === "AbortError" || set({ rows: [], next: null, busy: false, error }),
    );
    return () => controller.abort();
  }, [asked, after, here.again]);
  return {
    ...state,
    number: here.trail.length,
    again: () => go({ ...here, again: here.again + 1 }),
    forward: state.next === null || state.busy ? null : () => go({ ...here, trail: [...here.trail, state.next] }),
    back: here.trail.length === 1 ? null : () => go({ ...here, trail: here.trail.slice(0, -1) }),
  };
}

export function Pager({ pages, what }) {
  return html`<div class="actions" role="group" aria-label="Pages of ${what}">
    <button type="button" class="quiet" disabled=${!pages.back} onClick=${pages.back}>Back</button>
    <span role="status">${pages.busy ? "Looking…" : `Page ${pages.number}, ${pages.rows.length} ${what}`}</span>
    <button type="button" class="quiet" disabled=${!pages.forward} onClick=${pages.forward}>Next</button>
  </div>`;
}

// A place to drop one file on, or to choose it.
export function Drop({ id, label, hint, accept, disabled, take }) {
  const [over, set] = useState(false);
  const given = (files) => files.length && !disabled && take(files[0]);
  return html`<div class=${`drop${over ? " over" : ""}`}
    onDragOver=${(event) => (event.preventDefault(), set(true))} onDragLeave=${() => set(false)}
    onDrop=${(event) => (event.preventDefault(), set(false), given(event.dataTransfer.files))}>
    <label for=${id}>${label}</label>
    <input id=${id} type="file" accept=${accept} disabled=${disabled} aria-describedby="${id}-hint"
      onChange=${(event) => (given(event.target.files), (event.target.value = ""))} />
    <p class="small" id="${id}-hint">${hint}</p>
  </div>`;
}

// Runs `work` now and every so many seconds while the page is seen, and never while it is hidden; now again where `asked`
// changes.
export function useWhileSeen(work, seconds, asked) {
  const latest = useRef();
  latest.current = work;
  useEffect(() => {
    let timer, over = false;
    const run = async () => {
      clearTimeout(timer);
      if (over || document.hidden) return;
      await latest.current();
      clearTimeout(timer);
      if (!over && !document.hidden) timer = setTimeout(run, 1000 * seconds);
    };
    run();
    document.addEventListener("visibilitychange", run);
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", run);
    };
  }, [seconds, asked]);
}

export function when(text) {
  return text ? new Date(text).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }) : "–";
}
