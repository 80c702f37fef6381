/** A larger distance is no slip of the keyboard. */
const DISTANCE_LIMIT = 3
/** Longer words are not compared: the work grows with the product of both lengths. */
const WORD_LIMIT = 256

/** Of `names` the one that was probably meant by `word`; undefined when none is near. Pure. */
export function nearestOf(word: string, names: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Math.min(DISTANCE_LIMIT, Math.ceil(word.length / 2)) + 1
  for (const name of names) {
    const distance = distanceOf(word.slice(0, WORD_LIMIT), name.slice(0, WORD_LIMIT))
    if (distance >= least) continue
    least = distance
    best = name
  }
  return best
}

/** `: did you mean X?`, or nothing. */
export function suggestion(word: string, names: Iterable<string>): string {
  const found = nearestOf(word, names)
  return found === undefined ? '' : `: did you mean ${found}?`
}

/** Damerau's and Levenshtein's: two letters in the wrong order are one slip. The last two rows are kept. */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  let before = row
  for (let y = 1; y <= a.length; y++) {
    const next = [y]
    for (let x = 1; x <= b.length; x++) {
      const replaced = (row[x - 1] ?? 0) + (a[y - 1] === b[x - 1] ? 0 : 1)
      const isSwapped = y > 1 && x > 1 && a[y - 1] === b[x - 2] && a[y - 2] === b[x - 1]
      const swapped = isSwapped ? (before[x - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY
      next.push(Math.min(replaced, swapped, (row[x] ?? 0) + 1, (next[x - 1] ?? 0) + 1))
    }
    before = row
    row = next
  }
  return row[b.length] ?? 0
}
