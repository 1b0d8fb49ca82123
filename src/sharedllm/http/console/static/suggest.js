// The next words while one types, from one's own release. Off until it is asked for: every pause sends what was typed.

import { OWN, answer, asking } from "./answers.js";
import { html, useEffect, useState } from "./parts.js";

const PAUSE = 400;
const READ = 600;
const WORDS = 8;

export function useSuggestion(me, api, text, wanted) {
  const [told, set] = useState({ text: "", for: "", error: null });
  useEffect(() => {
    if (!wanted || !text.trim()) return undefined;
    const controller = new AbortController();
    const timer = setTimeout(async () => {
      const asked = asking(me, { text: text.slice(-READ), seed: 0, tokens: WORDS, side: OWN, temperature: 0 });
      asked.sharedllm.glass_box = false;
      try {
        const done = await answer(api, asked, controller.signal, () => {});
        set({ text: done.text.split("\n")[0].trimEnd(), for: text, error: null });
      } catch (error) {
        if (error.name !== "AbortError") set({ text: "", for: text, error });
      }
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [text, wanted]);
  return wanted && told.for === text ? told : { text: "", error: null };
}

export function Suggestion({ told, take }) {
  if (told.error) return html`<p class="small" role="status">No suggestion: <bdi dir="auto">${told.error.message}</bdi></p>`;
  if (!told.text) return null;
  return html`<p role="status"><button type="button" class="quiet suggestion" onClick=${take}>
    <span class="hidden">Take the suggestion, or press Alt and the right arrow: </span><bdi dir="auto">${told.text}</bdi>
  </button></p>`;
}
