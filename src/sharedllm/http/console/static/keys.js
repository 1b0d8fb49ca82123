// Who has which key, for an operator: made and revoked one by one or by a list.

import { Problem, Title, html, useEffect, useState, useWork } from "./parts.js";
import { Drop, PAGE, Pager, Table, usePages, when } from "./tables.js";

const LIST = { type: "text/csv" };
const MAKING = "CSV in UTF-8 with a column “user” or “name”, and “label” if you like; at most 2,000 people. If a line cannot be used, no key is made.";
const REVOKING = "CSV with a column “id”, as the list of keys that you saved, or “user” or “name”, whose keys all go. If a line names no key, none is revoked.";

function Made({ made }) {
  const [address, set] = useState(null);
  useEffect(() => {
    const found = URL.createObjectURL(new Blob([made.csv], LIST));
    set(found);
    return () => URL.revokeObjectURL(found);
  }, [made]);
  return html`<div class="note">
    <p role="status">${made.count === 1 ? "1 key was made." : `${made.count} keys were made.`} They are shown nowhere, and
      can be saved until you leave this place; the server keeps none of them.</p>
    <a class="button" href=${address} download="keys.csv">Save the keys</a>
  </div>`;
}

function Row({ key_, revoke, busy }) {
  return html`<tr>
    <th scope="row">${key_.user === null ? "any user (a service)" : html`<bdi dir="auto">${key_.user}</bdi>`}</th>
    <td><bdi dir="auto">${key_.label}</bdi></td>
    <td>${when(key_.created_at)}</td>
    <td>${key_.revoked_at ? html`<span class="tag bad">revoked</span> <small>${when(key_.revoked_at)}</small>` : html`<span class="tag good">good</span>`}</td>
    <td><code>${key_.id}</code></td>
    <td>${!key_.revoked_at && html`<button type="button" class="danger" disabled=${busy} onClick=${revoke}
      aria-label="Revoke the key ${key_.id}">Revoke</button>`}</td>
  </tr>`;
}

export default function Keys({ session: { api } }) {
  const [asked] = useState({});
  const [made, setMade] = useState(null);
  const [told, setTold] = useState("");
  const work = useWork();
  const pages = usePages(async (after = 0, signal) => {
    const page = await api.get(`/v1/keys?after=${after}&limit=${PAGE}`, { signal });
    return { rows: page.keys, next: page.next };
  }, asked);
  const act = (ask) =>
    work.run(async () => {
      setTold("");
      await ask();
      pages.again();
    });
  const invite = (file) =>
    act(async () => {
      const csv = await (await api.send("POST", "/v1/keys", { body: file, ...LIST })).text();
      // A name may hold a line break, so that lines are no count of keys.
      setMade({ csv, count: csv.match(/sllm_[\w-]{43}$/gm).length });
    });
  const revokeAll = (file) =>
    act(async () => {
      const { revoked } = await (await api.send("POST", "/v1/keys/revoke", { body: file, ...LIST })).json();
      setTold(revoked === 1 ? "1 key was revoked." : `${revoked} keys were revoked.`);
    });
  return html`
    <${Title}>Keys<//>
    <${Problem} error=${work.error ?? pages.error} />
    <div class="pair">
      <section><h2>Invite</h2>
        <${Drop} id="invite" label="Make a key for everybody in a list" accept=".csv,text/csv" hint=${MAKING} disabled=${work.busy} take=${invite} />
      </section>
      <section><h2>Revoke</h2>
        <${Drop} id="revoke" label="Revoke the keys of a list" accept=".csv,text/csv" hint=${REVOKING} disabled=${work.busy} take=${revokeAll} />
      </section>
    </div>
    ${made && html`<${Made} made=${made} />`}
    <p role="status">${told}</p>
    <h2>All keys</h2>
    <${Pager} pages=${pages} what="keys" />
    <${Table} label="Keys" columns=${["Speaks for", "Label", "Made", "State", "Id", "Change"]}>
      ${pages.rows.map((each) => html`<${Row} key=${each.id} key_=${each} busy=${work.busy}
        revoke=${() => act(() => api.remove(`/v1/keys/${each.id}`))} />`)}
    <//>`;
}
