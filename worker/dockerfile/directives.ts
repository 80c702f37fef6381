import { dockerfileFault } from './fault.ts'

/** Dockerfile reference, "Parser directives". */
export interface Directives {
  /** The frontend that was asked for. There is one here, so it is read and shown, and changes nothing. */
  syntax: string | undefined
  escapeChar: string
  check: CheckOptions
}

/** `# check=skip=A,B;error=true`. */
export interface CheckOptions {
  /** Names of rules, or `all`. */
  skip: readonly string[]
  /** Rules on trial that are asked for, or `all`. */
  experimental: readonly string[]
  /** Whether warnings fail the build. */
  isError: boolean
}

export const DEFAULT_ESCAPE = '\\'
const KNOWN = ['syntax', 'escape', 'check']

/**
 * Directives are comments before everything else, each at most once; whatever is none ends them. An unknown one is a
 * comment. Throws `build.dockerfile-invalid`. Pure.
 */
export function readDirectives(lines: readonly string[], file: string): Directives {
  const found = new Map<string, string>()
  for (const [at, line] of lines.entries()) {
    const [, written, value = ''] = /^#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=(.*)$/.exec(line.trimEnd()) ?? []
    if (written === undefined || value.trim() === '') break
    const name = written.toLowerCase()
    if (!KNOWN.includes(name)) continue
    const place = { file, line: at + 1, column: line.indexOf(written) + 1 }
    if (found.has(name)) throw dockerfileFault(place, `The directive ${name} is there twice: leave one out`)
    found.set(name, value.trim())
    if (name === 'escape' && !/^[\\`]$/.test(value.trim())) {
      throw dockerfileFault(place, `The escape character has to be \\ or \`, not ${value.trim()}`)
    }
  }
  return {
    syntax: found.get('syntax'),
    escapeChar: found.get('escape') ?? DEFAULT_ESCAPE,
    check: checkOptions(found.get('check') ?? ''),
  }
}

/** As `readDirectives` has them, and as a build's request gives them. */
export function checkOptions(text: string): CheckOptions {
  const options = new Map(text.split(';').map(part => part.split('=', 2).map(half => half.trim()) as [string, string]))
  const names = (option: string) =>
    (options.get(option) ?? '')
      .split(',')
      .map(name => name.trim())
      .filter(Boolean)
  return { skip: names('skip'), experimental: names('experimental'), isError: options.get('error') === 'true' }
}
