import { expect, test } from 'vitest'
import { parseMode } from './file-mode.ts'
import { WordError } from './words.ts'

test.each([
  ['755', 0o600, false, 0o755],
  ['4755', 0o600, false, 0o4755],
  ['u+x', 0o644, false, 0o744],
  ['go-w', 0o777, false, 0o755],
  ['a=rX', 0o600, false, 0o444],
  ['a=rX', 0o600, true, 0o555],
  ['u=rwX,go=rX', 0o700, false, 0o755],
  ['g=u', 0o640, false, 0o660],
  ['+x', 0o644, false, 0o755],
  ['u+s,+t', 0o755, false, 0o5755],
  ['u=rw-w', 0o777, false, 0o477],
])('%s makes of %i (a folder: %s) what chmod makes of it', (text, before, isFolder, after) => {
  expect(parseMode(text)(before, isFolder).toString(8)).toBe(after.toString(8))
})

test.each(['', '999', 'rwx', 'u', 'z+x', 'u+y', '77777'])('%j is no mode', text => {
  expect(() => parseMode(text)).toThrow(WordError)
})
