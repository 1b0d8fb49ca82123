// Every release there is, as a line to go back on.

import { Gate } from "./gate.js";
import { releasesOf } from "./training.js";
import { Problem, Title, date, html, save, useEffect, useState, useWork } from "./parts.js";

export default function Releases({ session: { me, api } }) {
  const [told, set] = useState(null);
  const [status, setStatus] = useState("");
  const work = useWork();
  const load = async () => set(await releasesOf(api));
  useEffect(() => void work.run(load), []);
  const change = (path, json, said) =>
    work.run(async () => {
      await api.post(api.mine(path), json);
      await load();
      setStatus(said);
    });
  const older = () =>
    work.run(async () => {
      const page = await api.get(api.mine(`?before=${told.releases[0].number}`));
      set({ ...told, releases: [...page.releases, ...told.releases], more: page.more });
    });
  const download = (number) =>
    work.run(async () => {
      const response = await api.send("GET", api.mine(`/adapter?release=${number}`));
      save(`release-${number}.safetensors`, await response.blob());
    });
  return html`
    <${Title}>Releases<//>
    <p>Each training makes one. The newest that passed its gate answers, and you can go back to any that did.</p>
    <${Problem} error=${work.error} />
    <p role="status" class=${status ? "" : "hidden"}>${status}</p>
    ${told?.state === "revoked" && html`<p class="problem">Whoever runs this server has stopped yours: <bdi dir="auto">${told.reason}</bdi></p>`}
    ${told && !told.releases.length && html`<p>There is none yet.${me.trains && html` <a href="#/texts">Drop files to train one</a>.`}</p>`}
    ${told && told.releases.length > 0 && html`
      <ol class="timeline" reversed>
        ${[...told.releases].reverse().map((each) => html`<li key=${each.number} class=${each.number === told.served ? "now" : ""}>
          <h2>Release ${each.number} <small>${date.format(new Date(each.created_at))}</small></h2>
          ${each.number === told.served && html`<p><span class="tag good">answers now</span></p>`}
          <${Gate} gate=${each.gate} />
          <p class="actions">
            ${each.gate.passed && each.number !== told.served && html`<button type="button" disabled=${work.busy}
              onClick=${() => change("/rollback", { to: each.number }, `Release ${each.number} answers now`)}>Let release ${each.number} answer</button>`}
            <button type="button" class="quiet" disabled=${work.busy} onClick=${() => download(each.number)}>Download release ${each.number}</button>
          </p>
        </li>`)}
      </ol>
      ${told.more && html`<p><button type="button" class="quiet" disabled=${work.busy} onClick=${older}>Older ones</button></p>`}
      ${told.served !== null && html`<p><button type="button" class="quiet" disabled=${work.busy}
        onClick=${() => change("/reset", undefined, "The base answers now; nothing was deleted")}>Let the base answer</button></p>`}`}`;
}
