import { suggestion } from '#shared/nearest.ts'
import type { StageSource } from './dockerfile.ts'
import { flagOf } from './flags.ts'
import type { Finding, LintScope } from './lint.ts'
import { expandWord, splitWords, WordError } from './words.ts'

/** Rules about FROM and the ARGs before it. */
export function fromRules({ dockerfile, predefined }: LintScope): Finding[] {
  // Those that are there anyway have a value, whatever it is.
  const defaults = new Map([...predefined].map((name): [string, string] => [name, 'x']))
  const declared = new Set(predefined)
  for (const word of dockerfile.globals.flatMap(({ text }) => splitWords(text, dockerfile.escapeChar))) {
    const [name = '', ...value] = word.split('=')
    declared.add(name)
    if (word.includes('=')) defaults.set(name, expanded(value.join('='), defaults))
  }
  return dockerfile.stages.flatMap(stage => [...names(stage), ...platform(stage), ...args(stage, declared, defaults)])
}

function names({ from, writtenName, name }: StageSource): Finding[] {
  const found: Finding[] = []
  const [, as = ''] = splitWords(from.text)
  if (as !== '' && isUpper(as) !== isUpper(from.written)) {
    const message = `'${as}' and '${from.written}' keywords' casing do not match`
    found.push({ rule: 'FromAsCasing', message, instruction: from, part: from.text })
  }
  if (writtenName !== undefined && writtenName !== name) {
    const message = `Stage name '${writtenName}' should be lowercase`
    found.push({ rule: 'StageNameCasing', message, instruction: from, part: writtenName })
  }
  if (name === 'scratch' || name === 'context') {
    const message = `Stage name should not use the same name as reserved stage "${name}"`
    found.push({ rule: 'ReservedStageName', message, instruction: from, part: writtenName })
  }
  return found
}

const isUpper = (word: string) => word === word.toUpperCase()

function platform({ from, name }: StageSource): Finding[] {
  const value = flagOf(from, 'platform')
  if (value === undefined) return []
  if (/^\$(TARGETPLATFORM|\{TARGETPLATFORM\})$/.test(value)) {
    const message = `Setting platform to predefined ${value} in FROM is redundant as this is the default behavior`
    return [{ rule: 'RedundantTargetPlatform', message, instruction: from, part: '--platform' }]
  }
  const parts = value.split('/')
  // A stage that is named for its platform is one of several.
  if (value.includes('$') || parts.some(part => name?.includes(part))) return []
  const message = `FROM --platform flag should not use constant value "${value}"`
  return [{ rule: 'FromPlatformFlagConstDisallowed', message, instruction: from, part: '--platform' }]
}

const REFERENCE = /^[a-z0-9](?:[\w.:/@-]*[a-z0-9])?$/i

function args({ from, base }: StageSource, declared: ReadonlySet<string>, defaults: Map<string, string>): Finding[] {
  const unknown = new Set<string>()
  const text = `${flagOf(from, 'platform') ?? ''} ${base}`
  for (const [, name = ''] of text.matchAll(/\$\{?([A-Za-z_]\w*)/g)) if (!declared.has(name)) unknown.add(name)
  const found = [...unknown].map((name): Finding => {
    const message = `FROM argument '${name}' is not declared${suggestion(name, declared).replace(/^: d/, ', d')}`
    return { rule: 'UndefinedArgInFrom', message, instruction: from, part: base }
  })
  if (!base.includes('$') || REFERENCE.test(expanded(base, defaults))) return found
  const message = `Default value for ARG ${base} results in empty or invalid base image name`
  return [...found, { rule: 'InvalidDefaultArgInFrom', message, instruction: from, part: base }]
}

/** Empty where it cannot be said: its own fault tells. */
function expanded(word: string, values: Map<string, string>): string {
  try {
    return expandWord(word, values)
  } catch (error) {
    if (error instanceof WordError) return ''
    throw error
  }
}
