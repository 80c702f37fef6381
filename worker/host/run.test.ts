import { expect, test } from 'vitest'
import { run, runAny } from './run.ts'

test('returns what the program printed, with input and exit code', async () => {
  expect(await run('cat', [], { input: 'hello' })).toBe('hello')
  expect(await runAny('sh', ['-c', 'echo out; echo err >&2; exit 3'])).toEqual({
    exitCode: 3,
    stdout: 'out\n',
    stderr: 'err\n',
  })
})

test('a failure says what the program said', async () => {
  await expect(run('sh', ['-c', 'echo no such thing >&2; exit 2'])).rejects.toMatchObject({
    code: 'host.command-failed',
    message: 'sh failed with exit code 2: no such thing',
  })
  await expect(run('/does/not/exist', [])).rejects.toMatchObject({ code: 'host.command-failed' })
})

test('a program that outlives its deadline is killed', async () => {
  await expect(run('sleep', ['60'], { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'host.command-failed',
    message: 'sleep took longer than 0.05 s and was killed.',
    facts: { isOverdue: true },
  })
  await expect(run('sh', ['-c', 'kill -9 $$'])).rejects.toMatchObject({
    message: expect.stringContaining('ended by SIGKILL'),
    facts: { isOverdue: false },
  })
})

test('a program that prints without end is stopped', async () => {
  await expect(run('yes', [], { timeoutMs: 10_000 })).rejects.toMatchObject({ code: 'host.command-failed' })
})
