import { expect, test } from 'vitest'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import { plainLog } from './plain-log.ts'

const of = (step: number, at: number, text: string, mark?: BuildLogLine['mark']): BuildLogLine => ({
  ...{ at, stream: mark ? 'step' : 'stdout', step, text },
  ...(mark ? { mark } : {}),
})

test('steps that run side by side can be told apart', () => {
  const lines = [
    of(1, 1000, '[a 2/2] RUN make', 'begin'),
    of(2, 1500, '[b 2/2] RUN test', 'begin'),
    of(1, 1412, 'made'),
    of(2, 1501, ''),
    of(1, 2000, '1.0 MB of 2.0 MB', 'progress'),
    of(2, 2000, 'CACHED', 'cached'),
    of(1, 4200, 'DONE 3.2s', 'done'),
  ]
  expect(lines.map(plainLog()).join('')).toBe(
    [
      ...['#1 [a 2/2] RUN make', '#2 [b 2/2] RUN test', '#1 0.412 made', '#2 0.001 '],
      ...['#1 1.000 1.0 MB of 2.0 MB', '#2 CACHED', '#1 DONE 3.2s', ''],
    ].join('\n'),
  )
})

test('a reader that begins in the middle has no seconds', () => {
  expect(plainLog()(of(3, 5, 'x'))).toBe('#3 x\n')
})

test('lines of the build as a whole, and of logs that are older than steps, have no number', () => {
  const plain = plainLog()
  expect(plain({ at: 1, stream: 'step', text: '[1/2] FROM a' })).toBe('[1/2] FROM a\n')
  expect(plain({ at: 1, stream: 'stderr', text: 'no' })).toBe('  no\n')
})
