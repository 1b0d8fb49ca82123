// The places of the page, in the order of its menu. A new one is a file that exports a component by default, and a line
// here: `who` says for whom it is there, from what `/v1/me` told. It is given `session`, `{ me, api, kept }`.

const operator = (me) => me.kind !== "user";
const person = (me) => me.user !== null;

export const VIEWS = [
  { id: "write", title: "Write", who: person, load: () => import("./write.js") },
  { id: "texts", title: "Texts", who: (me) => person(me) && me.trains, load: () => import("./texts.js") },
  { id: "releases", title: "Releases", who: person, load: () => import("./releases.js") },
  { id: "blind", title: "Blind test", who: person, load: () => import("./blind.js") },
  { id: "data", title: "Your data", who: person, load: () => import("./data.js") },
  { id: "people", title: "People", who: operator, load: () => import("./people.js") },
  { id: "keys", title: "Keys", who: operator, load: () => import("./keys.js") },
  { id: "server", title: "Server", who: operator, load: () => import("./server.js") },
];
