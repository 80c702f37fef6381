import { expect, test } from 'vitest'
import { imageDefaultsSchema } from '#shared/domain/image.ts'
import { refuseOtherPlatform, refuseTriggers } from './base-image.ts'
import { parseDockerfile } from './dockerfile.ts'

const { from } = parseDockerfile('FROM a\n', 'Dockerfile').stages[0] ?? {}

function codeOf(work: () => void): unknown {
  try {
    return work()
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error
  }
}

test('a base image with ONBUILD instructions is refused with its line', () => {
  if (!from) throw new Error('no stage')
  const refuse = (config: unknown) => () => refuseTriggers(imageDefaultsSchema.parse(config), from, 'Dockerfile')
  expect(codeOf(refuse({ OnBuild: ['RUN x'] }))).toBe('build.instruction-unsupported')
  expect(codeOf(refuse({ OnBuild: [] }))).toBeUndefined()
  expect(codeOf(refuse({ OnBuild: null }))).toBeUndefined()
})

test('an image of another platform than this host is refused', () => {
  expect(codeOf(() => refuseOtherPlatform('a', undefined, 'arm64', 'amd64'))).toBe('image.wrong-architecture')
  expect(codeOf(() => refuseOtherPlatform('a', 'linux/arm64', 'arm64', 'amd64'))).toBe('image.wrong-architecture')
  expect(codeOf(() => refuseOtherPlatform('a', 'linux/amd64', 'amd64', 'amd64'))).toBeUndefined()
})
