// Everybody, for an operator: how they stand, what their releases are worth, and what can be done about it.

import { Field, Problem, Title, html, number, percent, useEffect, useRef, useState, useWork } from "./parts.js";
import { PAGE, Pager, Table, usePages, when } from "./tables.js";

const STATES = [
  ["", "Everybody"],
  ["active", "Active"],
  ["not_served", "Active, and no release answers"],
  ["revoked", "Revoked"],
];
const TYPING_MS = 300;

// One page of the table. Of many people the server looks at a part at a time, so that it may take several.
async function gather(api, { state, search }, after, signal) {
  const rows = [];
  let next = after ?? 0;
  do {
    const query = new URLSearchParams({ search, after: next, limit: PAGE - rows.length, ...(state && { state }) });
    const page = await api.get(`/v1/users?${query}`, { signal });
    rows.push(...page.users);
    next = page.next;
  } while (next !== null && rows.length < PAGE);
  return { rows, next };
}

function standing(person) {
  if (person.state === "revoked") return html`<span class="tag bad">revoked</span>`;
  if (person.served === null) return html`<span class="tag none">not served</span>`;
  return html`<span class="tag good">served</span>`;
}

function gained(gain) {
  if (!gain) return "–";
  return html`${percent(gain.estimate)} <small>${percent(gain.low)} to ${percent(gain.high)}</small>`;
}

function Row({ person, chosen, choose }) {
  return html`<tr aria-current=${chosen ? "true" : undefined}>
    <th scope="row"><button type="button" class="plainly" aria-expanded=${chosen ? "true" : "false"} onClick=${choose}>
      <bdi dir="auto">${person.user}</bdi></button></th>
    <td>${standing(person)}</td>
    <td>${person.served ?? "–"} <small>of ${person.releases}</small></td>
    <td>${gained(person.gain)}</td>
    <td>${person.bytes === null ? "–" : `${number.format(Math.ceil(person.bytes / 1024))} KB`}</td>
    <td>${when(person.trained_at)}</td>
  </tr>`;
}

function Chosen({ api, person, changed }) {
  const [reason, setReason] = useState("");
  const [erasing, setErasing] = useState(false);
  const work = useWork();
  const heading = useRef();
  useEffect(() => heading.current.focus(), [person.user]);
  const path = `/v1/users/${encodeURIComponent(person.user)}`;
  const act = (what, ask, gone = false) =>
    work.run(async () => {
      await ask();
      changed(what, gone);
    });
  const revoke = (event) => {
    event.preventDefault();
    act("Revoked.", () => api.post(`${path}/revoke`, { reason }));
  };
  return html`<section class="chosen" aria-labelledby="chosen">
    <h2 id="chosen" tabindex="-1" ref=${heading}><bdi dir="auto">${person.user}</bdi></h2>
    ${person.reason && html`<p>Revoked: <bdi dir="auto">${person.reason}</bdi></p>`}
    ${person.gate && html`<p>The newest release, ${person.releases}: <bdi dir="auto">${person.gate.reason}</bdi></p>`}
    <${Problem} error=${work.error} />
    <p class="actions">
      <button type="button" class="quiet" disabled=${work.busy || person.served === null}
        onClick=${() => act("Back at the base. Their releases are kept.", () => api.post(`${path}/reset`))}>Back to the base</button>
      ${person.state === "revoked" &&
      html`<button type="button" class="quiet" disabled=${work.busy}
        onClick=${() => act("Restored.", () => api.post(`${path}/restore`))}>Restore</button>`}
      ${!erasing && html`<button type="button" class="danger" onClick=${() => setErasing(true)}>Erase…</button>`}
      ${erasing && html`<button type="button" class="danger" disabled=${work.busy}
        onClick=${() => act("Erased.", () => api.remove(path), true)}>Erase all of theirs for good</button>
      <button type="button" class="quiet" onClick=${() => setErasing(false)}>Keep them</button>`}
    </p>
    ${person.state !== "revoked" &&
    html`<form onSubmit=${revoke}>
      <${Field} id="reason" label="Serve them no more" hint="Why: they are told, and it is kept in their history.">
        <input id="reason" required dir="auto" aria-describedby="reason-hint" value=${reason}
          onInput=${(event) => setReason(event.target.value)} />
      <//>
      <button class="danger" disabled=${work.busy}>Revoke</button>
    </form>`}
  </section>`;
}

export default function People({ session: { api } }) {
  const [typed, setTyped] = useState("");
  const [asked, setAsked] = useState({ state: "", search: "" });
  const [chosen, choose] = useState(null);
  const [told, tell] = useState("");
  const status = useRef();
  const pages = usePages((after, signal) => gather(api, asked, after, signal), asked);
  useEffect(() => {
    if (typed === asked.search) return undefined;
    const timer = setTimeout(() => setAsked((now) => ({ ...now, search: typed })), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const changed = (what, gone) => {
    tell(what);
    pages.again();
    if (!gone) return;
    // What had the focus goes with them.
    choose(null);
    status.current.focus();
  };
  const person = pages.rows.find((each) => each.user === chosen?.user) ?? chosen;
  return html`
    <${Title}>People<//>
    <p>Everybody who has a release here, in the order they arrived. The gain is over what they would get without their own
      release, on text of theirs that it was not trained on.</p>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <${Field} id="search" label="Part of a name">
        <input id="search" type="search" dir="auto" maxlength="1024" value=${typed} onInput=${(event) => setTyped(event.target.value)} />
      <//>
      <${Field} id="state" label="Who">
        <select id="state" value=${asked.state} onChange=${(event) => setAsked({ ...asked, state: event.target.value })}>
          ${STATES.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
        </select>
      <//>
    </form>
    <${Problem} error=${pages.error} />
    <p role="status" tabindex="-1" ref=${status}>${told}</p>
    <${Pager} pages=${pages} what="people" />
    <${Table} label="People" columns=${["Name", "State", "Release", "Gain", "Size", "Last trained"]}>
      ${pages.rows.map((each) => html`<${Row} key=${each.user} person=${each} chosen=${each.user === person?.user}
        choose=${() => choose(each.user === person?.user ? null : each)} />`)}
    <//>
    ${person && html`<${Chosen} key=${person.user} api=${api} person=${person} changed=${changed} />`}`;
}
