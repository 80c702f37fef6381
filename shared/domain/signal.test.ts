import { expect, test } from 'vitest'
import { signalName } from './signal.ts'

test.each([
  ['SIGTERM', 'SIGTERM'],
  ['term', 'SIGTERM'],
  ['9', 'SIGKILL'],
  ['sighup', 'SIGHUP'],
  ['SIGRTMIN+3', 'SIGRTMIN+3'],
  ['37', 'SIGRTMIN+3'],
  ['34', 'SIGRTMIN'],
  ['BOGUS', undefined],
  ['0', undefined],
  ['32', undefined],
  ['65', undefined],
  ['SIGRTMIN+31', undefined],
  ['', undefined],
])('%s is %s', (text, expected) => {
  expect(signalName(text)).toBe(expected)
})
