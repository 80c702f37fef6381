import type { BuildWarning } from '#shared/domain/build.ts'
import { suggestion } from '#shared/nearest.ts'
import type { Instruction } from './instruction.ts'
import { interpret } from './interpret.ts'
import { warningOf } from './lint.ts'
import { PROXIES, type Scope } from './scope.ts'
import { type StageState, variablesOf } from './stage-state.ts'

/** What RUN has without anybody saying so; in other instructions they are as undefined as others. */
const KNOWN = new Set(['PATH', ...PROXIES])

/** The rule UndefinedVar: variables that an instruction uses and that nothing before it has set. Pure. */
export function undefinedVariables(instruction: Instruction, state: StageState, scope: Scope): BuildWarning[] {
  const unset = new Set<string>()
  interpret(instruction, state, { ...scope, onUnset: name => unset.add(name) })
  const names = [...variablesOf(state)].map(([name]) => name)
  return [...unset]
    .filter(name => !KNOWN.has(name) && !/^\d|^[@*#]$/.test(name))
    .map(name => {
      const help = suggestion(name, names).replace(/^: did you mean (.*)\?$/, ' (did you mean $$$1?)')
      const message = `Usage of undefined variable '$${name}'${help}`
      return warningOf({ rule: 'UndefinedVar', message, instruction, part: `$${name}` }, scope.dockerfile.file)
    })
}
