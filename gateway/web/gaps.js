// Stretches of a conversation that the server left out on purpose, told by its frame `gap`. They count as delivered, and are fetched
// when a person wants to read them. A list of gaps is ascending, and its gaps {from, to} never touch.

/** Adds from … to, merged with what it touches. */
export function addGap(gaps, from, to) {
  const apart = gaps.filter((gap) => gap.to < from - 1 || gap.from > to + 1);
  const touched = gaps.filter((gap) => !apart.includes(gap));
  const merged = { from: Math.min(from, ...touched.map((gap) => gap.from)), to: Math.max(to, ...touched.map((gap) => gap.to)) };
  return [...apart, merged].sort((a, b) => a.from - b.from);
}

/** Takes from … to out. */
export function closeGap(gaps, from, to) {
  return gaps.flatMap((gap) => {
    const before = { from: gap.from, to: Math.min(gap.to, from - 1) };
    const after = { from: Math.max(gap.from, to + 1), to: gap.to };
    return [before, after].filter((rest) => rest.from <= rest.to);
  });
}

export const isInGap = (gaps, seq) => gaps.some((gap) => gap.from <= seq && seq <= gap.to);

/** How many messages above `seq` are left out. */
export const leftOutAfter = (gaps, seq) => gaps.reduce((sum, gap) => sum + Math.max(0, gap.to - Math.max(gap.from - 1, seq)), 0);
