import type { StageSource } from './dockerfile.ts'
import { flagOf } from './flags.ts'
import { hasMeta } from './glob.ts'
import { announced } from './heredoc.ts'
import type { Instruction } from './instruction.ts'
import type { Finding, LintScope } from './lint.ts'
import { gitSource, isHttpUrl } from './remote.ts'
import { isSensitiveName } from './sensitive-name.ts'
import { splitWords } from './words.ts'

/** Rules about instructions one by one. */
export function instructionRules(scope: LintScope): Finding[] {
  const { globals, stages } = scope.dockerfile
  const froms = stages.map(({ from }) => from)
  return [
    ...[...globals, ...froms].flatMap(instruction => [...continuation(instruction), ...secrets(instruction)]),
    ...stages.flatMap(stage => ofStage(stage, scope)),
  ]
}

function ofStage({ instructions }: StageSource, scope: LintScope): Finding[] {
  const shell = instructions.findIndex(({ keyword }) => keyword === 'SHELL')
  return instructions.flatMap((instruction, at) => [
    ...continuation(instruction),
    ...(shell >= 0 && shell < at ? [] : shellForm(instruction)),
    ...maintainer(instruction),
    ...oldForm(instruction),
    ...secrets(instruction),
    ...protocols(instruction),
    ...ignored(instruction, scope),
  ])
}

function continuation(instruction: Instruction): Finding[] {
  if (!instruction.source.hasEmptyContinuation) return []
  return [{ rule: 'NoEmptyContinuation', message: `Empty continuation line in ${instruction.keyword}`, instruction }]
}

function shellForm(instruction: Instruction): Finding[] {
  const { keyword, json } = instruction
  if ((keyword !== 'CMD' && keyword !== 'ENTRYPOINT') || json) return []
  const message = `JSON arguments recommended for ${keyword} to prevent unintended behavior related to OS signals`
  return [{ rule: 'JSONArgsRecommended', message, instruction }]
}

function maintainer(instruction: Instruction): Finding[] {
  if (instruction.keyword !== 'MAINTAINER') return []
  const message =
    'Maintainer instruction is deprecated in favor of using label: LABEL org.opencontainers.image.authors=…'
  return [{ rule: 'MaintainerDeprecated', message, instruction }]
}

function oldForm(instruction: Instruction): Finding[] {
  const { keyword, text } = instruction
  if ((keyword !== 'ENV' && keyword !== 'LABEL') || splitWords(text)[0]?.includes('=')) return []
  const message = `"${keyword} key=value" should be used instead of legacy "${keyword} key value" format`
  return [{ rule: 'LegacyKeyValueFormat', message, instruction }]
}

function secrets(instruction: Instruction): Finding[] {
  const { keyword, text } = instruction
  if (keyword !== 'ARG' && keyword !== 'ENV') return []
  const words = splitWords(text)
  const isOldForm = keyword === 'ENV' && !words[0]?.includes('=')
  const names = (isOldForm ? words.slice(0, 1) : words).map(word => word.split('=')[0] ?? '')
  return names.filter(isSensitiveName).map(name => ({
    rule: 'SecretsUsedInArgOrEnv',
    message: `Do not use ARG or ENV instructions for sensitive data (${keyword} "${name}")`,
    ...{ instruction, part: name },
  }))
}

function protocols(instruction: Instruction): Finding[] {
  if (instruction.keyword !== 'EXPOSE') return []
  return splitWords(instruction.text).flatMap(word => {
    const [, protocol] = word.split('/')
    if (protocol === undefined || protocol.includes('$') || protocol === protocol.toLowerCase()) return []
    const message = `Defined protocol '${word}' in EXPOSE instruction should be lowercase`
    return [{ rule: 'ExposeProtoCasing', message, instruction, part: word }]
  })
}

function ignored(instruction: Instruction, { ignoredBy }: LintScope): Finding[] {
  const { keyword, json, text } = instruction
  if ((keyword !== 'COPY' && keyword !== 'ADD') || flagOf(instruction, 'from') !== undefined) return []
  const sources = (json ?? splitWords(text)).slice(0, -1)
  return sources.flatMap(source => {
    if (hasMeta(source) || source.includes('$') || announced(source) || isHttpUrl(source) || gitSource(source))
      return []
    const file = ignoredBy(source.replace(/^(\.?\/)+/, ''))
    if (file === undefined) return []
    const message = `Attempting to ${keyword} file "${source}" that is excluded by ${file}`
    return [{ rule: 'CopyIgnoredFile', message, instruction, part: source }]
  })
}
