import { expect, test } from 'vitest'
import { parseDockerfile } from './dockerfile.ts'
import { lint } from './lint.ts'

/** `line rule`, in order. What is not here is in the conformance table. */
function rulesOf(text: string): string[] {
  const dockerfile = parseDockerfile(text, 'Dockerfile')
  const predefined = new Set(['TARGETPLATFORM', 'TARGETARCH'])
  return lint({ dockerfile, predefined, ignoredBy: () => undefined }).map(({ rule, line }) => `${line} ${rule}`)
}

test.each([
  ['ARG TAG\nFROM a:$TAG\n', ['2 InvalidDefaultArgInFrom']],
  ['ARG TAG=1\nFROM a:$TAG\n', []],
  ['FROM a:${TAG:-1}\n', ['1 UndefinedArgInFrom']],
  ['FROM a-$TARGETARCH\n', []],
  ['FROM --platform=linux/amd64 a AS build-amd64\n', []],
  ['FROM a AS x\nWORKDIR /x\nFROM x\nWORKDIR y\n', []],
  ['FROM a\nWORKDIR $X\nWORKDIR y\n', []],
  ['FROM a\nSHELL ["sh"]\nCMD x\n', []],
  ['FROM a\nENV PUBLIC_KEY=x MONKEY=y\n', []],
  ['FROM a\nENV GIT_TOKEN x\n', ['2 LegacyKeyValueFormat', '2 SecretsUsedInArgOrEnv']],
  ['from a\nrun x\nRUN y\n', ['3 ConsistentInstructionCasing']],
  ['FROM a\nENTRYPOINT ["x"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n', ['3 MultipleInstructionsDisallowed']],
  ['# check=experimental=InvalidDefinitionDescription\n# V is it\nARG V\nFROM a\n', []],
])('%j gives %j', (text, rules) => {
  expect(rulesOf(text)).toEqual(rules)
})

test('secrets in ARGs before FROM count, too', () => {
  expect(rulesOf('ARG PASSWORD=x\nFROM a\n')).toEqual(['1 SecretsUsedInArgOrEnv'])
})
