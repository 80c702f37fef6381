import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { supervise } from './processes.ts'

const folder = mkdtempSync(join(tmpdir(), 'slipway-supervised-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function shell(script: string, name: string) {
  return { name, command: 'sh', args: ['-c', script], logPath: join(folder, name) }
}

test('one whose configuration cannot work is not started again, and says why', async () => {
  const deaths: string[] = []
  await using child = supervise(shell(`echo '{"msg":"no such driver"}'; exit 78`, 'wrong'), how => deaths.push(how))
  expect(await child.gaveUp).toBe('no such driver')
  expect(deaths).toEqual([])
})

test('one that dies otherwise is started again', async () => {
  const died = Promise.withResolvers<string>()
  const mark = join(folder, 'mark')
  await using _ = supervise(shell(`test -e ${mark} && exec sleep 60; touch ${mark}; exit 3`, 'dying'), died.resolve)
  expect(await died.promise).toContain('exit code 3')
})
