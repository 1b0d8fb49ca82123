// Ask, or have a text gone on with: what the base says alone, and what one's own release says, side by side.

import { ALONE, OWN, answer, asking, newSeed } from "./answers.js";
import { Suggestion, useSuggestion } from "./suggest.js";
import { Tokens } from "./tokens.js";
import { isGoing, latest } from "./training.js";
import { Problem, Title, html, number, useEffect, useRef, useState } from "./parts.js";

const SIDES = [ALONE, OWN];
const SHOWN = 600;

function heading(me, side) {
  return side === OWN ? "Yours" : me.alone === "prior" ? "The base, with what people have in common" : "The base";
}

// What the server says to whoever runs it is of no use to whoever writes here.
function plainly(error, side) {
  return side === OWN && error.code === "unknown_user" ? "You have no release of your own yet." : error;
}

function Pane({ me, side, told, again }) {
  const { text, error, running, routed, stopped, box } = told;
  return html`<div class=${side === OWN ? "mine" : ""} aria-busy=${running ? "true" : "false"}>
    <h3>${heading(me, side)} ${routed?.release && html`<small>release ${routed.release}</small>`}</h3>
    ${side === OWN && routed && !routed.release && html`<p class="small">No release of yours answers now: this is the base, too. <a href="#/releases">See which there are</a>.</p>`}
    <p class="said" dir="auto">${text}${running && html`<span class="caret" aria-hidden="true"></span>`}</p>
    ${box?.length > 0 && html`<${Tokens} box=${box} />`}
    ${stopped && html`<p class="small">Stopped here.</p>`}
    ${error && html`<${Problem} error=${plainly(error, side)}>
      ${error.status === 0 && html` <button type="button" class="quiet" onClick=${again}>Try again</button>`}
      ${side === OWN && (error.status === 404 || error.status === 409) && me.trains && html` <a href="#/texts">Drop files to train one</a>.`}
    <//>`}
  </div>`;
}

function shortened(text) {
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}… (${number.format(text.length)} characters)`;
}

function Exchange({ me, each, again }) {
  return html`<article class="exchange">
    <h2 class="prompt" dir="auto">${shortened(each.prompt)}</h2>
    <div class="pair">
      ${SIDES.map((side) => html`<${Pane} key=${side} me=${me} side=${side} told=${each[side]} again=${() => again(each, side)} />`)}
    </div>
  </article>`;
}

// What was said before on one side, as the messages of a chat.
function turnsOf(exchanges, side, prompt) {
  const turns = exchanges
    .filter((each) => each.chat && each[side].text && !each[side].error)
    .flatMap((each) => [
      { role: "user", content: each.prompt },
      { role: "assistant", content: each[side].text },
    ]);
  return [...turns, { role: "user", content: prompt }];
}

// What was said before somebody went to another place and came back; what was still being written had to stop.
function ended(exchanges) {
  const end = (told) => (told.running ? { ...told, running: false, stopped: true } : told);
  return exchanges.map((each) => ({ ...each, [OWN]: end(each[OWN]), [ALONE]: end(each[ALONE]) }));
}

// Whoever has no release yet is told where one comes from.
function Lead({ me, last }) {
  if (!me.trains || last === undefined || (last && !isGoing(last))) return null;
  return html`<p class="note">${last
    ? html`Your release is being trained: <a href="#/texts">see how far it is</a>. Until it is done the base answers alone.`
    : html`<strong>Begin with your texts.</strong> Nothing here is yours yet, so the base answers alone: <a href="#/texts">give it something that you wrote</a>, have it trained, and come back to compare the two.`}</p>`;
}

export default function Write({ session: { me, api, kept } }) {
  const [exchanges, set] = useState(() => ended(kept.exchanges ?? []));
  const [prompt, setPrompt] = useState("");
  const [chat, setChat] = useState(me.chats);
  const [status, setStatus] = useState("");
  const [suggesting, setSuggesting] = useState(false);
  const suggestion = useSuggestion(me, api, prompt, suggesting);
  const [last, setLast] = useState(undefined);
  const running = useRef(new Map());
  const count = useRef(exchanges.length);
  useEffect(() => void (kept.exchanges = exchanges), [exchanges]);
  // What it says is said again by the answers, and by every other place that it leads to.
  useEffect(() => void (me.trains && latest(api).then(setLast, () => {})), []);
  useEffect(() => () => running.current.forEach((each) => each.abort()), []);

  const update = (id, side, told) =>
    set((now) => now.map((each) => (each.id === id ? { ...each, [side]: { ...each[side], ...told } } : each)));

  const run = async (exchange, side, turns) => {
    const controller = new AbortController();
    const key = `${exchange.id} ${side}`;
    running.current.set(key, controller);
    update(exchange.id, side, { text: "", error: null, stopped: false, running: true, box: null });
    const asked = asking(me, {
      ...(exchange.chat ? { turns } : { text: exchange.prompt }),
      seed: exchange.seed,
      tokens: Math.min(400, Math.floor(me.context / 2)),
      side,
    });
    try {
      const done = await answer(api, asked, controller.signal, (told) => update(exchange.id, side, told));
      update(exchange.id, side, { ...done, running: false });
    } catch (error) {
      const stopped = error.name === "AbortError";
      update(exchange.id, side, { running: false, stopped, error: stopped ? null : error });
    }
    running.current.delete(key);
    if (!running.current.size) setStatus("Both answers have ended");
  };

  const ask = (event) => {
    event.preventDefault();
    if (!prompt || running.current.size) return;
    const exchange = { id: ++count.current, prompt, chat, seed: newSeed(), [OWN]: { text: "" }, [ALONE]: { text: "" } };
    set((now) => [...now, exchange]);
    setPrompt("");
    setStatus("Two answers are being written");
    for (const side of SIDES) run(exchange, side, turnsOf(exchanges, side, prompt));
  };
  const take = () => setPrompt((now) => now + suggestion.text);
  const typed = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(event);
    if (event.key === "ArrowRight" && event.altKey && suggestion.text) {
      event.preventDefault();
      take();
    }
  };
  const again = (exchange, side) => {
    const before = exchanges.slice(0, exchanges.indexOf(exchange));
    run(exchange, side, turnsOf(before, side, exchange.prompt));
  };
  const stop = () => running.current.forEach((each) => each.abort());
  const busy = exchanges.some((each) => SIDES.some((side) => each[side].running));

  return html`
    <${Title}>Write<//>
    <${Lead} me=${me} last=${last} />
    <p>Whatever you ask is answered twice, from the same dice: by the base alone, and by your own release.</p>
    ${exchanges.map((each) => html`<${Exchange} key=${each.id} me=${me} each=${each} again=${again} />`)}
    <p class="hidden" role="status">${status}</p>
    <form class="ask" onSubmit=${ask}>
      ${me.chats &&
      html`<fieldset class="choice">
        <legend class="hidden">What shall be done with the text</legend>
        <label><input type="radio" name="way" checked=${chat} onChange=${() => setChat(true)} /> Answer it</label>
        <label><input type="radio" name="way" checked=${!chat} onChange=${() => setChat(false)} /> Go on with it</label>
      </fieldset>`}
      <label for="prompt" class="hidden">${chat ? "What would you ask?" : "How does the text begin?"}</label>
      <textarea id="prompt" rows="4" dir="auto" placeholder=${chat ? "What would you ask?" : "How does the text begin?"}
        value=${prompt} onInput=${(event) => setPrompt(event.target.value)}
        onKeyDown=${typed}></textarea>
      <${Suggestion} told=${suggestion} take=${take} />
      <p class="actions">
        <button disabled=${busy || !prompt}>Ask both</button>
        <button type="button" class="quiet" disabled=${!busy} onClick=${stop}>Stop</button>
        <span class="small">Ctrl+Enter asks.</span>
        <label><input type="checkbox" checked=${suggesting} onChange=${() => setSuggesting(!suggesting)} /> Suggest words while I type</label>
      </p>
    </form>`;
}
