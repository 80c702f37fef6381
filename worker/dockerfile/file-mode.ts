import { WordError } from './words.ts'

/** A mode of `--chmod`, as a function of the one before and of what it is for. */
export type ModeChange = (mode: number, isFolder: boolean) => number

const WHO = { u: 0o4700, g: 0o2070, o: 0o1007, a: 0o7777 } as const
const SHIFT = { u: 6, g: 3, o: 0 } as const
const CLAUSE = /^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$/

/** `0755`, or symbolic as chmod(1) has it: `u=rwX,go-w`. Throws a WordError for what is no mode. Pure. */
export function parseMode(text: string): ModeChange {
  if (/^[0-7]{1,4}$/.test(text)) {
    const mode = Number.parseInt(text, 8)
    return () => mode
  }
  const changes = text.split(',').flatMap(clause => clauseChanges(clause, text))
  return (mode, isFolder) => changes.reduce((now, change) => change(now, isFolder), mode & 0o7777)
}

function clauseChanges(clause: string, whole: string): ModeChange[] {
  const [, who = '', actions] = CLAUSE.exec(clause) ?? []
  if (actions === undefined) {
    const why = `--chmod takes an octal mode such as 0755 or a symbolic one such as u=rwX,go=rX, not ${JSON.stringify(whole)}`
    throw new WordError(why, whole)
  }
  const mask = [...(who || 'a')].reduce((bits, one) => bits | WHO[one as keyof typeof WHO], 0)
  return [...actions.matchAll(/([-+=])([ugo]|[rwxXst]*)/g)].map(([, sign = '', what = '']) => {
    return (mode: number, isFolder: boolean) => changed(mode, isFolder, mask, sign, what)
  })
}

function changed(mode: number, isFolder: boolean, mask: number, sign: string, what: string): number {
  const bits = bitsOf(what, mode, isFolder) & mask
  if (sign === '+') return mode | bits
  if (sign === '-') return mode & ~bits
  return (mode & ~mask) | bits
}

function bitsOf(what: string, mode: number, isFolder: boolean): number {
  if (what === 'u' || what === 'g' || what === 'o') return ((mode >> SHIFT[what]) & 7) * 0o111
  const isRunnable = isFolder || (mode & 0o111) !== 0
  const bits: Record<string, number> = { r: 0o444, w: 0o222, x: 0o111, X: isRunnable ? 0o111 : 0, s: 0o6000, t: 0o1000 }
  return [...what].reduce((sum, letter) => sum | (bits[letter] ?? 0), 0)
}
