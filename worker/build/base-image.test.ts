import { expect, test } from 'vitest'
import { refuseOtherPlatform } from './base-image.ts'

function codeOf(work: () => void): unknown {
  try {
    return work()
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error
  }
}

test('an image of another platform than this host is refused', () => {
  expect(codeOf(() => refuseOtherPlatform('a', undefined, 'arm64', 'amd64'))).toBe('image.wrong-architecture')
  expect(codeOf(() => refuseOtherPlatform('a', 'linux/arm64', 'arm64', 'amd64'))).toBe('image.wrong-architecture')
  expect(codeOf(() => refuseOtherPlatform('a', 'linux/amd64', 'amd64', 'amd64'))).toBeUndefined()
})
