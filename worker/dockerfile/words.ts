import { WordError } from './word-error.ts'
import { replaced, withoutPrefix, withoutSuffix } from './word-pattern.ts'

export { WordError } from './word-error.ts'

/** Words and variables as Docker's Dockerfile reference has them ("Environment replacement"). Pure. */

export interface Variables extends Iterable<[string, string]> {
  get(name: string): string | undefined
}

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
export function expandWords(
  words: readonly string[],
  variables: Variables,
  escapeChar?: string,
  reading?: Reading,
): string[] {
  let left = SUM_LIMIT
  return words.map(word => {
    const expanded = expandWord(word, variables, escapeChar, reading)
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

/** How a text is read besides its variables. */
export interface Reading {
  /** Quotes are characters like any other, as in a here-document. */
  keepsQuotes?: boolean
  /** Told of each variable that has no value where none stands in for it. */
  onUnset?: ((name: string) => void) | undefined
}

/**
 * Variables replaced, quotes and escapes taken away. Knows `$x`, `${x}` and `${x-y}`, `${x:-y}`, `${x+y}`, `${x:+y}`,
 * `${x?y}`, `${x:?y}`, `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`, `${x/p/y}`, `${x//p/y}`, nested. Throws a WordError whose
 * message says what is wrong.
 */
export function expandWord(text: string, variables: Variables, escapeChar = '\\', reading: Reading = {}): string {
  return new Expansion(text, variables, escapeChar, reading).read('')
}

function bounded(text: string): string {
  if (text.length > WORD_LIMIT) throw tooLarge(WORD_LIMIT, 'A word with its variables replaced is')
  return text
}

/** Deeper ones are no work of a person, and each level is a call. */
const DEPTH_LIMIT = 100

class Expansion {
  #at = 0
  #depth = 0
  readonly #text: string
  readonly #variables: Variables
  readonly #escapeChar: string
  readonly #reading: Reading

  constructor(text: string, variables: Variables, escapeChar: string, reading: Reading) {
    this.#text = text
    this.#variables = variables
    this.#escapeChar = escapeChar
    this.#reading = reading
  }

  /** Up to the character `end`, which stays unread; the empty string is the end of the text. */
  read(end: string, keepsEscapes = false): string {
    const parts: string[] = []
    let left = this.#reading.keepsQuotes ? SUM_LIMIT : WORD_LIMIT
    while (this.#at < this.#text.length && this.#char() !== end) {
      const piece = this.#piece(keepsEscapes)
      left -= piece.length
      if (left < 0) throw tooLarge(WORD_LIMIT, 'A word with its variables replaced is')
      parts.push(piece)
    }
    return parts.join('')
  }

  #char(): string {
    return this.#text[this.#at] ?? ''
  }

  #piece(keepsEscapes: boolean): string {
    const char = this.#char()
    if (!this.#reading.keepsQuotes && char === "'") return this.#singleQuoted()
    if (!this.#reading.keepsQuotes && char === '"') return this.#doubleQuoted()
    if (char === '$') return this.#variable()
    if (char !== this.#escapeChar) return this.#take()
    this.#at++
    return keepsEscapes ? char + this.#take() : this.#take()
  }

  #take(): string {
    const char = this.#char()
    this.#at++
    return char
  }

  #singleQuoted(): string {
    const end = this.#text.indexOf("'", this.#at + 1)
    if (end < 0) throw new WordError('A single quote is not closed', this.#text.slice(this.#at))
    const inside = this.#text.slice(this.#at + 1, end)
    this.#at = end + 1
    return inside
  }

  #doubleQuoted(): string {
    const from = this.#at++
    let result = ''
    for (;;) {
      const char = this.#char()
      if (char === '') throw new WordError('A double quote is not closed', this.#text.slice(from))
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
    const [name = ''] = this.#matched(/([A-Za-z_][A-Za-z0-9_]*|[0-9@*#])/y)
    this.#at += name.length
    return name === '' ? '$' : this.#valueOf(name)
  }

  #matched(pattern: RegExp): string[] {
    pattern.lastIndex = this.#at
    return pattern.exec(this.#text) ?? []
  }

  #valueOf(name: string): string {
    const value = this.#variables.get(name)
    if (value === undefined) this.#reading.onUnset?.(name)
    return value ?? ''
  }

  #braced(): string {
    const from = this.#at - 1
    const [opening, name = '', operator = ''] = this.#matched(
      /\{([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#])(:?[-+?]|##?|%%?|\/\/?)?/y,
    )
    if (opening === undefined) throw new WordError('${ has no variable name behind it', this.#text.slice(from))
    if (++this.#depth > DEPTH_LIMIT) throw new WordError(`Variables are nested deeper than ${DEPTH_LIMIT}`)
    this.#at += opening.length
    const value = operator === '' ? this.#valueOf(name) : this.#modified(name, operator)
    if (this.#char() !== '}') {
      const said = this.#text.slice(from)
      throw new WordError(`\${${name} is not closed, or has a modifier that there is not: see the reference`, said)
    }
    this.#at++
    this.#depth--
    return value
  }

  #modified(name: string, operator: string): string {
    if (!/[#%/]/.test(operator)) return this.#choose(name, operator, this.read('}'))
    const pattern = this.read(operator.startsWith('/') ? '/' : '}', true)
    if (!operator.startsWith('/')) {
      const cut = operator.startsWith('#') ? withoutPrefix : withoutSuffix
      return cut(this.#valueOf(name), pattern, operator.length === 2, this.#escapeChar)
    }
    if (this.#take() !== '/') throw new WordError(`\${${name}/${pattern} has no replacement: write \${${name}/a/b}`)
    const by = this.read('}')
    return bounded(replaced(this.#valueOf(name), pattern, by, operator === '//', this.#escapeChar))
  }

  #choose(name: string, operator: string, other: string): string {
    const value = this.#variables.get(name)
    const isSet = value !== undefined && !(operator.startsWith(':') && value === '')
    if (operator.endsWith('-')) return isSet ? (value ?? '') : other
    if (operator.endsWith('+')) return isSet ? other : ''
    if (!isSet) throw new WordError(`${name} is not set: ${other || 'it has to be'}`, `\${${name}`)
    return value ?? ''
  }
}
