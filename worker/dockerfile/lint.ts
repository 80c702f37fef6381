import type { BuildWarning } from '#shared/domain/build.ts'
import type { CheckOptions } from './directives.ts'
import type { Dockerfile } from './dockerfile.ts'
import { type Instruction, placeOf } from './instruction.ts'
import { fromRules } from './lint-from.ts'
import { instructionRules } from './lint-instructions.ts'
import { stageRules } from './lint-stages.ts'

/** What a rule finds; `part` is the piece of the instruction that it is about. */
export interface Finding {
  rule: string
  message: string
  instruction: Instruction
  part?: string | undefined
}

export interface LintScope {
  dockerfile: Dockerfile
  /** Names of ARGs that are there without being declared, as those of the platform. */
  predefined: ReadonlySet<string>
  /** The ignore file that leaves a path of the context out, if one does. */
  ignoredBy(path: string): string | undefined
}

/**
 * Advice about a Dockerfile: Docker's build checks by their names (docs.docker.com/reference/build-checks), in order of
 * lines, but for UndefinedVar, which needs the base image (`undefinedVariables`). Pure.
 */
export function lint(scope: LintScope): BuildWarning[] {
  const { dockerfile } = scope
  const findings = [...fromRules(scope), ...stageRules(dockerfile), ...instructionRules(scope)]
  const warnings = findings.map(finding => warningOf(finding, dockerfile.file))
  return kept(warnings, dockerfile.check).sort((a, b) => a.line - b.line || a.column - b.column)
}

export function warningOf({ rule, message, instruction, part }: Finding, file: string): BuildWarning {
  return { rule, message, file, ...placeOf(instruction, part) }
}

/** Without those that are left out, and with those on trial that were asked for. */
export function kept(warnings: readonly BuildWarning[], { skip, experimental }: CheckOptions): BuildWarning[] {
  const isAmong = (names: readonly string[], rule: string) =>
    names.some(name => name.toLowerCase() === 'all' || name.toLowerCase() === rule.toLowerCase())
  return warnings.filter(
    ({ rule }) => !isAmong(skip, rule) && (!ON_TRIAL.includes(rule) || isAmong(experimental, rule)),
  )
}

const ON_TRIAL = ['InvalidDefinitionDescription']
