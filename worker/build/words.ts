/** Words and variables as Docker's Dockerfile reference has them ("Environment replacement"). Pure. */

export type Variables = ReadonlyMap<string, string>

export class WordError extends Error {}

/** Linux takes no longer argument or variable (MAX_ARG_STRLEN). Without a bound, ENV A=$A$A doubles until memory ends. */
const WORD_LIMIT = 128 * 1024
const SUM_LIMIT = 1024 * 1024

const tooLarge = (limit: number, what: string) => new WordError(`${what} longer than ${limit} characters`)
const sumTooLarge = () => tooLarge(SUM_LIMIT, 'Variables, labels and words are together')

/** Throws when all the values together are more than a configuration should have. */
export function refuseTooLarge(values: Iterable<string>): void {
  let left = SUM_LIMIT
  for (const { length } of values) left -= length
  if (left < 0) throw sumTooLarge()
}

/** Each word as `expandWord` has it; bounded together, too. */
export function expandWords(words: readonly string[], variables: Variables, escapeChar?: string): string[] {
  let left = SUM_LIMIT
  return words.map(word => {
    const expanded = expandWord(word, variables, escapeChar)
    left -= expanded.length
    if (left < 0) throw sumTooLarge()
    return expanded
  })
}

/** Splits at blanks outside of quotes. Quotes and escapes stay, for `expandWord`. */
export function splitWords(text: string, escapeChar = '\\'): string[] {
  const words: string[] = []
  let word = ''
  let quote = ''
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? ''
    if (char === escapeChar && quote !== "'") {
      word += char + (text[++at] ?? '')
    } else if (quote === '' && /\s/.test(char)) {
      if (word !== '') words.push(word)
      word = ''
    } else {
      if (quote === char) quote = ''
      else if (quote === '' && (char === '"' || char === "'")) quote = char
      word += char
    }
  }
  return word === '' ? words : [...words, word]
}

/**
 * Variables replaced, quotes and escapes taken away. Knows `$x`, `${x}` and `${x-y}`, `${x:-y}`, `${x+y}`, `${x:+y}`,
 * `${x?y}`, `${x:?y}`, nested. Throws a WordError whose message says what is wrong.
 */
export function expandWord(text: string, variables: Variables, escapeChar = '\\'): string {
  return new Expansion(text, variables, escapeChar).read('')
}

function bounded(text: string): string {
  if (text.length > WORD_LIMIT) throw tooLarge(WORD_LIMIT, 'A word with its variables replaced is')
  return text
}

class Expansion {
  #at = 0
  readonly #text: string
  readonly #variables: Variables
  readonly #escapeChar: string

  constructor(text: string, variables: Variables, escapeChar: string) {
    this.#text = text
    this.#variables = variables
    this.#escapeChar = escapeChar
  }

  /** Up to the character `end`, which stays unread; the empty string is the end of the text. */
  read(end: string): string {
    let result = ''
    while (this.#at < this.#text.length && this.#char() !== end) result = bounded(result + this.#piece())
    return result
  }

  #char(): string {
    return this.#text[this.#at] ?? ''
  }

  #piece(): string {
    const char = this.#char()
    if (char === "'") return this.#singleQuoted()
    if (char === '"') return this.#doubleQuoted()
    if (char === '$') return this.#variable()
    if (char !== this.#escapeChar) return this.#take()
    this.#at++
    return this.#take()
  }

  #take(): string {
    const char = this.#char()
    this.#at++
    return char
  }

  #singleQuoted(): string {
    const end = this.#text.indexOf("'", this.#at + 1)
    if (end < 0) throw new WordError('A single quote is not closed')
    const inside = this.#text.slice(this.#at + 1, end)
    this.#at = end + 1
    return inside
  }

  #doubleQuoted(): string {
    this.#at++
    let result = ''
    for (;;) {
      const char = this.#char()
      if (char === '') throw new WordError('A double quote is not closed')
      if (char === '"') break
      const next = this.#text[this.#at + 1] ?? ''
      if (char === this.#escapeChar && ['"', '$', this.#escapeChar].includes(next)) {
        result += next
        this.#at += 2
      } else {
        result = bounded(result + (char === '$' ? this.#variable() : this.#take()))
      }
    }
    this.#at++
    return result
  }

  #variable(): string {
    this.#at++
    if (this.#char() === '{') return this.#braced()
    const [name = ''] = /^([A-Za-z_][A-Za-z0-9_]*|[0-9@*#])/.exec(this.#text.slice(this.#at)) ?? []
    this.#at += name.length
    return name === '' ? '$' : (this.#variables.get(name) ?? '')
  }

  #braced(): string {
    const [opening, name = '', operator = ''] = /^\{([A-Za-z_][A-Za-z0-9_]*)(:?[-+?])?/.exec(this.#rest()) ?? []
    if (opening === undefined) throw new WordError('${ has no variable name behind it')
    this.#at += opening.length
    const other = operator === '' ? '' : this.read('}')
    if (this.#char() !== '}') throw new WordError(`\${${name} is not closed, or uses a modifier that is not supported`)
    this.#at++
    return this.#choose(name, operator, other)
  }

  #rest(): string {
    return this.#text.slice(this.#at)
  }

  #choose(name: string, operator: string, other: string): string {
    const value = this.#variables.get(name)
    const isSet = value !== undefined && !(operator.startsWith(':') && value === '')
    if (operator.endsWith('-')) return isSet ? (value ?? '') : other
    if (operator.endsWith('+')) return isSet ? other : ''
    if (operator.endsWith('?') && !isSet) throw new WordError(`${name} is not set: ${other || 'it has to be'}`)
    return value ?? ''
  }
}
