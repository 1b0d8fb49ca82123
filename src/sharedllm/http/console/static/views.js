// The places of the page, in the order of its menu. A new one is a file that exports a component by default, and a line
// here: `who` says for whom it is there, from what `/v1/me` told. It is given `session`, `{ me, api }`.

const person = (me) => me.user !== null;

export const VIEWS = [
  { id: "write", title: "Write", who: person, load: () => import("./write.js") },
];
