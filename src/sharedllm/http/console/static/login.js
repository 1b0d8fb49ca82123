// Who are you? A key or a token; on a server that asks nobody, or for a service, a name.

import { Field, Problem, Title, html, useState, useWork } from "./parts.js";

export function Login({ enter, why, open }) {
  const [key, setKey] = useState("");
  const [user, setUser] = useState("");
  const work = useWork();
  const submit = (event) => {
    event.preventDefault();
    work.run(() => enter(key.trim() || undefined, user.trim() || undefined));
  };
  return html`<main class="login">
    <${Title}>SharedLLM<//>
    <p>Write with your own model, and see what it is that makes it yours.</p>
    <form onSubmit=${submit}>
      <${Problem} error=${work.error ?? why} />
      ${!open &&
      html`<${Field} id="key" label="Key" hint="The one that you were given. If your organisation has a login, paste its token. It stays in this tab.">
        <input id="key" type="password" autocomplete="off" spellcheck="false" required aria-describedby="key-hint"
          value=${key} onInput=${(event) => setKey(event.target.value)} />
      <//>`}
      ${open &&
      html`<${Field} id="user" label="Name" hint="This server asks nobody who they are. Whose place shall it be?">
        <input id="user" autocomplete="off" required dir="auto" aria-describedby="user-hint"
          value=${user} onInput=${(event) => setUser(event.target.value)} />
      <//>`}
      <button disabled=${work.busy}>${work.busy ? "Just a moment…" : "Enter"}</button>
    </form>
  </main>`;
}
