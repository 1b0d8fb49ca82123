// Ten openings of one's own text, each gone on with twice: which is more yours?

import { ALONE, OWN, answer, asking, newSeed } from "./answers.js";
import { twoSided } from "./binomial.js";
import { Problem, Title, html, useEffect, useRef, useState, useWork } from "./parts.js";

export const TESTS = 10;
const OPENING = 240;
const TOKENS = 60;
const LEAST = 60;

// Openings from all over the text, each from the beginning of a paragraph or sentence to the end of a word.
export function openings(text, most = OPENING, count = TESTS) {
  const starts = [...text.matchAll(/(?:^|\n\s*|[.!?。؟]["»”')]*\s+)(?=\S)/g)].map((found) => found.index + found[0].length);
  const fit = starts.filter((start) => text.length - start >= 2 * LEAST);
  const cut = fit.map((start) => {
    const piece = text.slice(start, start + most);
    const end = piece.search(/\s\S*$/);
    return (end > LEAST ? piece.slice(0, end) : piece).trimEnd();
  });
  const usable = [...new Set(cut.filter((piece) => piece.length >= Math.min(LEAST, most / 2)))];
  if (usable.length < count) return [];
  return Array.from({ length: count }, (_, place) => usable[Math.floor(((place + 0.5) * usable.length) / count)]);
}

function Result({ chosen, again }) {
  const decided = chosen.filter((side) => side !== null);
  const own = decided.filter((side) => side === OWN).length;
  const p = twoSided(own, decided.length);
  const likely = decided.length > 0 && p < 0.05;
  return html`<section aria-label="Result">
    <h2>${own} of ${decided.length} times you chose your own release</h2>
    <p role="status">If you could not tell them apart, ${decided.length ? `a result at least this far from half would come up in ${(100 * p).toFixed(1)} % of such tests` : "there would be nothing to count"}${" "}
      (exact two-sided binomial test${decided.length < chosen.length ? `; ${chosen.length - decided.length} undecided are left out` : ""}).
      ${likely
        ? own * 2 > decided.length
          ? " That is rare enough to say that your release writes more like you."
          : " That is rare enough to say that the base writes more like you than your release does."
        : " That is too common to say anything: it shows neither a difference nor that there is none."}</p>
    <p class="small">Ten answers show only large differences: nine of ten are needed. The text must be one that the release was not
      trained on, or it tests what it remembers.</p>
    <p><button type="button" onClick=${again}>Once more</button></p>
  </section>`;
}

export default function Blind({ session: { me, api, kept } }) {
  // In this page's memory alone, until it is finished and begun anew, or she logs out.
  const before = kept.blind ?? {};
  const [text, setText] = useState(before.text ?? "");
  const [tests, setTests] = useState(before.tests ?? null);
  const [pairs, setPairs] = useState(before.pairs ?? []);
  const [chosen, setChosen] = useState(before.chosen ?? []);
  const work = useWork();
  const controller = useRef(null);
  useEffect(() => void (kept.blind = { text, tests, pairs, chosen }), [text, tests, pairs, chosen]);
  useEffect(() => {
    if (tests && pairs.length < tests.length) run(tests, pairs.length);
    return () => controller.current?.abort();
  }, []);

  const write = async (place, tests, signal) => {
    const seed = newSeed();
    const both = await Promise.all(
      [OWN, ALONE].map(async (side) => {
        const asked = { ...asking(me, { text: tests[place], seed, tokens: Math.min(TOKENS, Math.floor(me.context / 4)), side }) };
        asked.sharedllm.glass_box = false;
        const { text, routed } = await answer(api, asked, signal, () => {});
        if (side === OWN && !routed?.release) throw new Error("No release of yours answers now, so there is nothing to test. Let one answer under Releases.");
        return { side, text };
      }),
    );
    if (newSeed() % 2) both.reverse();
    setPairs((now) => Object.assign([...now], { [place]: both }));
  };
  const run = (tests, from = 0) =>
    work.run(async () => {
      const { signal } = (controller.current = new AbortController());
      // One ahead of the reader is enough, and all the same every pair is asked for once.
      for (let place = from; place < tests.length; place++) await write(place, tests, signal);
    });
  const begin = (event) => {
    event.preventDefault();
    const found = openings(text, Math.min(OPENING, Math.floor(me.context / 2)));
    setTests(found);
    setPairs([]);
    setChosen([]);
    if (found.length) run(found);
  };
  const choose = (side) => setChosen((now) => [...now, side]);
  const restart = () => {
    controller.current?.abort();
    setTests(null);
  };
  const take = async (event) => setText(await event.target.files[0].text());

  const place = chosen.length;
  const pair = pairs[place];
  return html`
    <${Title}>Blind test<//>
    ${!tests?.length && html`
      <p>Give a text of yours that your release was not trained on. Ten openings of it are gone on with by the base and by your
        release, in an order that you do not see. The text stays in this page: only the openings are sent, to be gone on with.</p>
      <form onSubmit=${begin}>
        <label for="blind-file">A plain text file</label>
        <p><input id="blind-file" type="file" accept="text/*,.txt,.md" onChange=${take} /></p>
        <label for="blind-text">Or the text itself</label>
        <textarea id="blind-text" rows="6" dir="auto" value=${text} onInput=${(event) => setText(event.target.value)}></textarea>
        ${tests && html`<${Problem} error="That is too little text for ten openings: it takes ten sentences or more, of a few lines each." />`}
        <p class="actions"><button disabled=${!text}>Begin</button></p>
      </form>`}
    ${tests?.length > 0 && html`<${Problem} error=${work.error}>${" "}<button type="button" class="quiet" onClick=${restart}>Begin anew</button><//>`}
    ${tests?.length > 0 && place < tests.length && html`<section aria-label="Test">
      <h2>${place + 1} of ${tests.length}: which is more yours?</h2>
      <p class="small">You can go to another place and come back: what you chose is kept in this page until you finish or <button type="button" class="quiet" onClick=${restart}>give it up</button></p>
      <p class="prompt" dir="auto">${tests[place]}…</p>
      ${!pair && !work.error && html`<p role="status">Being written…</p>`}
      ${pair && html`
        <div class="pair">
          ${pair.map((each, at) => html`<div key=${at}>
            <h3>${"AB"[at]}</h3>
            <p class="said" dir="auto">${each.text}</p>
            <p><button type="button" onClick=${() => choose(each.side)}>${"AB"[at]} is more mine</button></p>
          </div>`)}
        </div>
        <p><button type="button" class="quiet" onClick=${() => choose(null)}>I cannot tell</button></p>`}
    </section>`}
    ${tests?.length > 0 && place === tests.length && html`<${Result} chosen=${chosen} again=${restart} />`}`;
}
