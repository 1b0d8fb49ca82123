// The exact two-sided binomial test of a fair coin: how often a result as unlikely as this, or more so, comes by chance.

export function twoSided(hits, tosses) {
  const chances = [];
  let chance = 0.5 ** tosses;
  for (let count = 0; count <= tosses; count++) {
    chances.push(chance);
    chance *= (tosses - count) / (count + 1);
  }
  // Those that are as unlikely are so up to rounding.
  const most = chances[hits] * (1 + 1e-9);
  return Math.min(1, chances.filter((each) => each <= most).reduce((sum, each) => sum + each, 0));
}
