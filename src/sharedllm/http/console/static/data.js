// What is held of a person, and its end.

import { Confirm, Problem, Title, html, number, save, useEffect, useState, useWork } from "./parts.js";

const SAID = { events: "entries of what happened to your releases", releases: "releases, of 70 KB or so each" };

export default function Data({ session: { me, api } }) {
  const [held, setHeld] = useState(null);
  const [erased, setErased] = useState(null);
  const work = useWork();
  useEffect(() => void work.run(async () => setHeld((await api.get(api.mine("/held"))).held)), []);
  const erase = () => work.run(async () => setErased(await api.remove(api.mine())));
  if (erased) {
    const text = JSON.stringify(erased.receipt, null, 2);
    return html`
      <${Title}>You are erased<//>
      <p role="status">Nothing of yours is left here, your keys included. This is the signed receipt; the server keeps one that
        does not say whose it is.</p>
      <p><button type="button" onClick=${() => save("receipt.json", new Blob([text], { type: "application/json" }))}>Save the receipt</button></p>
      <pre class="receipt" tabindex="0" aria-label="Receipt">${text}</pre>`;
  }
  return html`
    <${Title}>Your data<//>
    <${Problem} error=${work.error} />
    <h2>What this server holds of you</h2>
    ${held && html`<ul>
      ${held.map((each) => html`<li>${number.format(each.count)} ${SAID[each.what] ?? each.what} <small>(${each.where})</small></li>`)}
      <li>0 texts: what you wrote is learned from and not kept</li>
    </ul>`}
    <h2>Take it along</h2>
    <p><a href="#/releases">Every release is a file</a>, of numbers that mean nothing without the base. <code>sharedllm import</code> reads it
      on another machine.</p>
    <h2>Erase</h2>
    <p>Removes every release, their history, trainings and keys, for good, and gives you a signed receipt. It cannot be undone.</p>
    <${Confirm} label="Type your name to erase all of this" hint=${html`Your name here is <bdi dir="auto">${me.user}</bdi>`} word=${me.user}
      act=${erase} busy=${work.busy} />`;
}
