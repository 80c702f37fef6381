import { expandWord, splitWords } from './words.ts'

/** Dockerfile reference, "Here-documents". */
export interface Heredoc {
  name: string
  /** Variables in it are replaced: its name was written without quotes. */
  isExpanded: boolean
  /** `<<-`: tabs that lines begin with are left out. */
  stripsTabs: boolean
  /** All lines up to the one that is the name alone, each with its end. */
  text: string
}

const NO_VARIABLES = new Map<string, string>()

/** What the word `<<EOF`, `<<-"EOF"` or `3<<EOF` announces; undefined for a word that announces none. Pure. */
export function announced(word: string): Omit<Heredoc, 'text'> | undefined {
  const [, dash, quoted = ''] = /^\d*<<(-?)([^<]+)$/s.exec(word) ?? []
  if (dash === undefined) return undefined
  try {
    const name = expandWord(quoted, NO_VARIABLES, '\\')
    return name === '' ? undefined : { name, isExpanded: name === quoted, stripsTabs: dash === '-' }
  } catch {
    return undefined // A quote that is not closed: a word like any other.
  }
}

/** All that a line announces, in order. */
export function announcedIn(line: string): Omit<Heredoc, 'text'>[] {
  if (!line.includes('<<')) return []
  return splitWords(line).flatMap(word => announced(word) ?? [])
}

/** As it is to be used. */
export function bodyOf({ text, stripsTabs }: Pick<Heredoc, 'text' | 'stripsTabs'>): string {
  return stripsTabs ? text.replace(/^\t+/gm, '') : text
}
